"""What works without a node, while no gateway runs: stopping on the latch file alone, and looking into the store.

What lives here: what must start fast, so it imports next to nothing. What never may: a connector, a node, writing into
the store.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from remit.adapters.clock import SystemClock
from remit.adapters.home.folder import Home, Lock
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.watching import INTERVAL
from remit.adapters.ids import RandomIds
from remit.flow.ports import Reads
from remit.flow.stopping import Stops
from remit.gates.stop import order_of
from remit.model.errors import Fault, Misuse
from remit.model.words import SECOND, Instant, Json

if TYPE_CHECKING:
    from remit.adapters.home.settings import Settings
    from remit.adapters.index.rebuilding import Built
    from remit.flow.auditing.files import LogFiles
    from remit.flow.auditing.ledger import Ledger
    from remit.flow.auditing.payloads import Disclosure
    from remit.flow.auditing.selecting import Selection
    from remit.flow.searching import Search
    from remit.gates.log.notes import VerifierKey


def stop_without_gateway(path: Path, params: dict[str, Json], user: str) -> dict[str, Json]:
    """Latch a stop while no gateway answers. It holds when one starts.

    Where a process has the home all the same (a gateway that is starting or ending, a command that acts by itself), it
    sees the latch at its next look, and this returns only after that.
    """
    home = Home(path)
    home.identity()
    order = order_of(params, user, RandomIds().new("stp"), SystemClock().now())
    latch = FileLatch(home.latch)
    problem = Stops(latch).place(order)
    if problem:
        raise Fault(f"the stop could not be latched: {problem}", hint=f"put a file named STOP into {home.path}")
    running = Lock(home).held()
    if running:
        time.sleep(4 * INTERVAL)
    return {
        "stop": order.id,
        "mode": order.mode,
        "scope": order.scope.kind,
        "name": order.scope.name,
        "gateway": False,
        "milliseconds": 0.0,
        "severed": [],
        "not_sent": [],
        "collateral": [],
        "may_still_land": [],
        "problem": "",
        "running": running,
    }


def log_at_rest(path: Path) -> dict[str, Json]:
    """How far the log is, from the signer's memory and the store alone. Raises `RemitError`."""
    from remit.adapters.home.settings import load_settings
    from remit.adapters.log.apart import RemoteSigner
    from remit.adapters.log.signing import LocalSigner
    from remit.adapters.log.writing import folder_of
    from remit.gates.log.checkpoints import parse
    from remit.gates.log.notes import parse_note

    home = Home(path)
    home.identity()
    settings = load_settings(home)
    signer = RemoteSigner(settings.log_signer) if settings.log_signer is not None else LocalSigner(home.keys)
    note = parse_note(signer.last())
    signer.close()
    checkpoint = parse(note.text)
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "records": open_reads(path).counts()["records"],
        "signed": "",
        "trouble": "",
        "witnesses": _witnesses_at_rest(settings, folder_of(settings.log_folder, checkpoint.origin), checkpoint.origin),
        "folder": str(folder_of(settings.log_folder, checkpoint.origin)),
        "signatures": len(note.lines),
    }


def log_witnesses(path: Path) -> list[tuple[str, str]]:
    """URL and name of each witness in a home's settings. Raises `RemitError`."""
    from remit.adapters.home.settings import load_settings

    home = Home(path)
    home.identity()
    return [(url, key.name) for url, key in load_settings(home).witnesses]


def log_quorum(path: Path) -> tuple[tuple[VerifierKey, ...], int]:
    """The keys of the witnesses in a home's settings, and how many of them are enough. Raises `RemitError`."""
    from remit.adapters.home.settings import load_settings

    home = Home(path)
    home.identity()
    settings = load_settings(home)
    return tuple(key for _, key in settings.witnesses), settings.quorum


def _witnesses_at_rest(settings: Settings, folder: Path, origin: str) -> dict[str, Json]:
    """What lies in the folder of the log: no witness is asked."""
    from remit.adapters.log.folder import LogFolder
    from remit.adapters.log.witnesses import witnessed_size

    keys = [key for _, key in settings.witnesses]
    each: list[Json] = [{"name": key.name, "url": url, "size": 0, "away": ""} for url, key in settings.witnesses]
    size = witnessed_size(LogFolder(folder), origin, keys, settings.quorum)
    return {"quorum": settings.quorum, "size": size, "away": "", "each": each}


def log_keys(path: Path) -> list[str]:
    """The log's verifier keys as auditors are given them: two while the key is being replaced. Raises `RemitError`."""
    from remit.adapters.disk import read

    home = Home(path)
    home.identity()
    return read(home.log_key).decode().split()


def rotate_log_key(path: Path, *, begin: bool, folder: Path | None) -> tuple[str, str]:
    """Begin or end replacing the log's key. Returns the old and the new verifier key. `folder` is that of a signer of
    its own; then the home's `log.pub` is left alone. Raises `RemitError`."""
    from remit.adapters.disk import write
    from remit.adapters.log.signing import SEED_SIZE, begin_rotation, end_rotation

    home = Home(path)
    at = folder or home.keys
    if folder is None and not begin and (ended := _rotation_half_ended(home)) is not None:
        return ended
    old, new = begin_rotation(at, os.urandom(SEED_SIZE)) if begin else end_rotation(at)
    if folder is None:
        known = [old.text, new.text] if begin else [new.text]
        write(home.log_key, "".join(f"{each}\n" for each in known).encode(), 0o644)
    return old.text, new.text


def _rotation_half_ended(home: Home) -> tuple[str, str] | None:
    """Finish the end of a rotation between whose two files a crash came: the new key signs alone, and `log.pub` names
    the old one still. None where nothing is left to do."""
    from remit.adapters.disk import read, write
    from remit.adapters.log.signing import LocalSigner

    known, now = read(home.log_key).decode().split(), [key.text for key in LocalSigner(home.keys).verifiers()]
    old = [each for each in known if each not in now]
    if len(now) != 1 or now[0] not in known or not old:
        return None
    write(home.log_key, f"{now[0]}\n".encode(), 0o644)
    return old[0], now[0]


def serve_log_signer(folder: Path, socket: Path, users: Sequence[str], ready: Callable[[], None]) -> None:
    """Sign for a gateway of one of these users until SIGTERM or SIGINT. Raises `RemitError`."""
    from remit.adapters.log.apart import SignerServer
    from remit.adapters.log.signing import LocalSigner

    signer = LocalSigner(folder)
    signer.last()  # says what is wrong now, not at the first question
    server = SignerServer(socket, signer, frozenset({os.geteuid(), *(_user(name) for name in users)}))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.close())
    try:
        ready()
        server.serve()
    finally:
        server.close()


def make_log_witness(folder: Path, name: str, logs: Sequence[str]) -> str:
    """Make a witness that knows the logs of these verifier keys. Returns its own. Raises `RemitError`."""
    from remit.adapters.log.signing import SEED_SIZE
    from remit.adapters.witness.state import log_key, make_witness

    return make_witness(folder, name, tuple(map(log_key, logs)), os.urandom(SEED_SIZE)).text


def serve_log_witness(folder: Path, listen: str, ready: Callable[[str], None]) -> None:
    """Be a witness at `listen` until SIGTERM or SIGINT; `ready` gets the URL. Raises `RemitError`."""
    import threading

    from remit.adapters.witness.server import WitnessServer
    from remit.adapters.witness.state import Witness

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Misuse(f"`{listen}` cannot be listened on", hint="expected `ADDRESS:PORT`, like `127.0.0.1:8701`")
    clock = SystemClock()
    server = WitnessServer((host.strip("[]"), int(port)), Witness(folder), lambda: clock.now() // SECOND)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        ready(server.url)
        server.serve_forever()
    finally:
        server.server_close()


def _user(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise Misuse(f"this machine has no user `{name}`") from None


def now() -> Instant:
    """The machine's present, in microseconds since the epoch, for commands that sign or show something."""
    return SystemClock().now()


def open_reads(path: Path) -> Reads:
    """Look into a home's store without a gateway and without a lock. Raises `RemitError` where there is none."""
    home = Home(path)
    home.identity()
    from remit.adapters.payloads.sealing import sealer
    from remit.adapters.store.reads import open_reads as open_store_reads

    return open_store_reads(home.store, sealer(home.keys))


def open_search(path: Path, reads: Reads) -> Search:
    """What finds records in a home's store, through its index. Who may not read the home's key for names searches
    record by record, and finds nothing by target or person that the store itself does not name."""
    from remit.adapters.index.following import SearchIndex
    from remit.flow.searching import Search
    from remit.gates.journal import Pseudonyms

    home = Home(path)
    try:
        key = home.key("names.key")
    except Fault:
        return Search(reads)
    return Search(reads, SearchIndex(home.index, key, reads), Pseudonyms(key))


def reindex(path: Path, progress: Callable[[int, int], None]) -> Built:
    """Build a home's index anew. Works beside a gateway. `progress` is told how many records are done, of how many."""
    from remit.adapters.index.rebuilding import rebuild

    return rebuild(Home(path), open_reads(path), progress)


def log_at(where: str) -> LogFiles:
    """A log to look at, in a folder or below a URL. Raises `Misuse` where there can be none."""
    from remit.adapters.home.auditing import files_at

    return files_at(where)


def log_of(path: Path) -> tuple[LogFiles, tuple[VerifierKey, ...]]:
    """A home's own log and the keys that its checkpoints must fit. Raises `Misuse` where there is none."""
    from remit.adapters.home.auditing import home_log

    return home_log(Home(path))


def payloads_of(path: Path) -> Disclosure:
    """The payloads in a home's store, as a verifier sees them."""
    from remit.adapters.log.disclosing import StorePayloads

    return StorePayloads(open_reads(path))


def payloads_in(file: Path) -> Disclosure:
    """The payloads in a disclosure file. Raises `Misuse` for a file that is none."""
    from remit.adapters.log.disclosing import DisclosureFile

    return DisclosureFile(file)


def disclose(path: Path, selection: Selection, target: IO[bytes]) -> dict[str, int]:
    """Write the selected payloads of a home as a disclosure file; how many of each role there are, and how many are
    `gone` (erased or pruned). Raises `Fault` where the log cannot be read."""
    from remit.adapters.log.disclosing import write

    files, _ = log_of(path)
    return write(files, open_reads(path), selection, target)


@contextlib.contextmanager
def ledger() -> Iterator[Ledger]:
    """What one pass over a log remembers, in a temporary file."""
    from remit.adapters.log.ledger import TemporaryLedger

    found = TemporaryLedger()
    try:
        yield found
    finally:
        found.close()
