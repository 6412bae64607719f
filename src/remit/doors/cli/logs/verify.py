"""`remit log verify`: everything in a log checked again, and what was found, in plain words.

What lives here: choosing what is verified against what, and telling it. What never may: a check (`flow.auditing`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import file_bytes, now
from remit.doors.cli.logs.telling import as_json, told
from remit.flow.auditing.audit import Progress, Report, audit
from remit.flow.auditing.files import LogFiles, Trust
from remit.flow.auditing.payloads import Disclosure, Nothing
from remit.gates.log.checkpoints import Checkpoint, opened
from remit.gates.log.notes import LOG, WITNESS, VerifierKey
from remit.model.display import shown
from remit.model.errors import Misuse, NotVerified
from remit.model.reading import duration
from remit.model.signatures import NotAKey

SAYS = "check a log from its first entry to its last, without trusting who keeps it"
KEY_HINT = "a key is one line `NAME+KEYID+KEY`, or a file with such lines; `remit log key` shows the log's"
OLDER_HINT = "give a checkpoint of this log, as it was published then"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to verify, and what to believe."""
    parser.add_argument(
        "log", nargs="?", metavar="LOG", help="a log's folder or URL, or a bundle (default: the own log)"
    )
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="the log's verifier key, or a file with it"
    )
    parser.add_argument(
        "--witness", action="append", default=[], metavar="VKEY", help="a witness's verifier key, or a file with it"
    )
    parser.add_argument("--quorum", type=int, metavar="K", help="how many witnesses must have cosigned (default: all)")
    parser.add_argument(
        "--older", metavar="FILE", help="a checkpoint of this log that you kept: it must go on from there"
    )
    parser.add_argument(
        "--max-age",
        metavar="1h",
        help="how long ago enough witnesses may have seen it; without `--witness`: how old its newest record may be",
    )
    parser.add_argument("--payloads", metavar="FILE", help="disclosed payloads (default for the own log: the store's)")


def run(arguments: argparse.Namespace) -> int:
    """Verify. Exit code 0 where nothing is wrong, 1 where something is."""
    from remit import offline

    if arguments.log and Path(arguments.log).is_file():
        from remit.doors.cli.logs.bundled import verify_bundle

        trust = _trust(arguments, _keys_given(arguments))
        return verify_bundle(arguments, file_bytes(Path(arguments.log)), trust)
    files, keys, disclosure = _subject(arguments)
    trust = _trust(arguments, keys)
    with offline.ledger() as ledger:
        report = audit(files, trust, disclosure, ledger, _progress())
    return answer(arguments, report)


def answer(arguments: argparse.Namespace, report: Report) -> int:
    """Tell a report, and the exit code that it means."""
    show(arguments, as_json(report), told(report))
    return 0 if report.verified else 1


def _subject(arguments: argparse.Namespace) -> tuple[LogFiles, tuple[VerifierKey, ...], Disclosure]:
    """The log, the keys that it must be signed with, and the payloads."""
    from remit import offline

    disclosure: Disclosure = offline.payloads_in(Path(arguments.payloads)) if arguments.payloads else Nothing()
    if arguments.log:
        return offline.log_at(arguments.log), _keys_given(arguments), disclosure
    home = home_path(arguments)
    files, own = offline.log_of(home)
    return files, keys_of(arguments.key, LOG) or own, disclosure if arguments.payloads else offline.payloads_of(home)


def _keys_given(arguments: argparse.Namespace) -> tuple[VerifierKey, ...]:
    """The log's keys. Raises `Misuse` where there is none: held against a key that it brings along, all is genuine."""
    given = keys_of(arguments.key, LOG)
    if not given:
        hint = "ask whoever runs the home, on another road than this came: `remit log key` shows it"
        raise Misuse("a log or bundle is verified with its log's key, and no `--key` was given", hint=hint)
    return given


def _trust(arguments: argparse.Namespace, keys: tuple[VerifierKey, ...]) -> Trust:
    witnesses = keys_of(arguments.witness, WITNESS)
    quorum = len(witnesses) if arguments.quorum is None else arguments.quorum
    if not 0 <= quorum <= len(witnesses):
        hint = "give the key of each witness with `--witness`"
        raise Misuse(f"`--quorum` is `{quorum}`, expected 0 to the number of witnesses ({len(witnesses)})", hint=hint)
    age = duration(arguments.max_age) if arguments.max_age else 0
    if age is None:
        raise Misuse(f"`--max-age` is `{arguments.max_age}`, expected a duration like `30m`, `1h` or `7d`")
    older = _older(Path(arguments.older), keys) if arguments.older else None
    return Trust(keys=keys, witnesses=witnesses, quorum=quorum, older=older, max_age=age, now=now())


def keys_of(given: list[str], algorithm: int) -> tuple[VerifierKey, ...]:
    """The keys as they were given, each a line or a file of lines. Raises `Misuse` for keys of another type."""
    keys: list[VerifierKey] = []
    for text in given:
        keys += map(
            _key, [text] if "+" in text else file_bytes(Path(text), KEY_HINT).decode("utf-8", "replace").split()
        )
    for key in keys:
        if key.algorithm != algorithm:
            option, other = ("--key", "a witness's") if algorithm == LOG else ("--witness", "a log's")
            raise Misuse(f"`{option}` was given {other} key, `{key.name}`")
    return tuple(dict.fromkeys(keys))


def _key(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except NotAKey as error:  # of what may be a private key by mistake, only the name is repeated
        raise Misuse(f"{shown(text.partition('+')[0])} is no key: {error.message}", hint=KEY_HINT) from None


def _older(path: Path, keys: tuple[VerifierKey, ...]) -> Checkpoint:
    """The checkpoint that was kept. One that the log's key has not signed proves nothing against the log."""
    try:
        return opened(file_bytes(path, OLDER_HINT), keys).checkpoint
    except NotVerified as error:
        raise Misuse(f"the older checkpoint `{path}` cannot be used: {error.message}", hint=OLDER_HINT) from None


def _progress() -> Progress | None:
    if not sys.stderr.isatty():
        return None

    def tell(read: int, size: int) -> None:
        end = "\n" if read >= size else ""
        sys.stderr.write(f"\r{read:,} of {size:,} entries{end}")
        sys.stderr.flush()

    return tell
