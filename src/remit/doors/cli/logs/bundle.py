"""`remit log bundle`: everything about an action or a case in one file that somebody else can check."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from remit.doors.cli.answering import Answered, home_path, show
from remit.doors.cli.calling import file_bytes, identity, reads
from remit.doors.cli.files import connector_files

if TYPE_CHECKING:
    from remit.flow.auditing.files import Trust
    from remit.gates.log.notes import VerifierKey

SAYS = "one file with an action's or a case's story and its whole proof"
_BEHIND = (
    "too few witnesses have seen all of it yet, and whoever checks it with their keys is told so; make it again once "
    "`remit log status` says that they have"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it is about, and where it goes."""
    about = parser.add_mutually_exclusive_group(required=True)
    about.add_argument("id", nargs="?", metavar="ID", help="one action (act_…)")
    about.add_argument("--case", metavar="CASE", help="every action of a case")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: remit-ID.zip, here)")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="ROLE",
        help="withhold payloads of this role, `result` say (repeatable)",
    )
    parser.add_argument("--whole", action="store_true", help="let in payloads beyond 128 KiB as well")
    parser.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="VKEY",
        help="a witness's key, or a file of it (default: the home's witnesses)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle. Works without a gateway."""
    from remit import offline
    from remit.doors.cli.explain import manifests_in
    from remit.flow.bundling.making import make_bundle
    from remit.flow.bundling.words import About

    home = home_path(arguments)
    identity(home)
    files, keys = offline.log_of(home)
    trust = _trust(arguments, home, keys)
    about = About(action=arguments.id or "", case=arguments.case or "")
    data = make_bundle(
        reads(home),
        files,
        trust,
        about,
        {path.stem: file_bytes(path) for path in connector_files(home)},
        manifests_in(home),
        without=arguments.without,
        whole=arguments.whole,
    )
    path = Path(arguments.output or _name(arguments.id or f"case-{arguments.case}"))
    _write(path, data)
    key = next(iter(keys)).text
    witnessed = _witnessed(data, trust)
    answer = {"file": str(path), "bytes": len(data), "about": arguments.id or arguments.case, "key": key}
    text = f"{path} ({len(data):,} bytes)\nwhoever checks it: remit log verify {path} --key {key}"
    text = f"{text}\ngive them the key on another road than the file"
    show(arguments, answer | {"witnessed": witnessed}, f"{text}\n{_BEHIND}" if trust.quorum and not witnessed else text)
    return 0


def _trust(arguments: argparse.Namespace, home: Path, keys: tuple[VerifierKey, ...]) -> Trust:
    """The home's own log and witnesses; or those that were named, and then all of them."""
    from remit import offline
    from remit.doors.cli.logs.verify import keys_of
    from remit.flow.auditing.files import Trust
    from remit.gates.log.notes import WITNESS

    named = keys_of(arguments.witness, WITNESS)
    witnesses, quorum = (named, len(named)) if named else offline.log_quorum(home)
    return Trust(keys=keys, witnesses=witnesses, quorum=quorum)


def _witnessed(data: bytes, trust: Trust) -> bool:
    """Whether enough witnesses have cosigned the checkpoint in a bundle."""
    from remit.flow.auditing.files import has_quorum
    from remit.flow.bundling.members import CHECKPOINT
    from remit.flow.bundling.zipping import unpack

    return trust.quorum > 0 and has_quorum(unpack(data)[CHECKPOINT], trust)


def _name(about: str) -> str:
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in about)
    return f"remit-{plain[:80]}.zip"


def _write(path: Path, data: bytes) -> None:
    """INVARIANT: only whoever runs this may read it: names and reasons are in it."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        fresh.replace(path)
    except OSError as error:
        raise Answered(3, f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}") from None
