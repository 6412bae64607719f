"""How fast both verifiers read a log, and in how much memory: remit's own, and the one in tests/conformance.

The log is a correct journal, made from a seed, with real signatures; nine of ten records are about reads. Each pass is
a process of its own, so that its CPU and its memory are nobody else's. Run: `python -m bench.verify RECORDS`.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.figures import table

RECORDS = 100_000
SEED = 7
MOST_SECONDS = 30.0
"""For a million records, without payloads: DESIGN's figure."""


class Pass(msgspec.Struct):
    """What one pass took. Seconds are of CPU, memory in MiB: what the process had before, and the most it had."""

    records: int
    findings: int
    seconds: float
    before: float
    most: float


def run(folder: Path, records: int = RECORDS) -> dict[tuple[str, bool], Pass]:
    """Make a log of so many records, and have both verifiers read it, without payloads and with them."""
    from tests.support.journals import journal
    from tests.support.tile_log import write_log

    made = journal(SEED, records)
    written = write_log(folder / "log", made.origin, made.records)
    found = {}
    for disclosed in (False, True):
        for name in PASSES:
            payloads = [str(written.payloads)] if disclosed else []
            command = [sys.executable, "-m", "bench.verify", name, str(written.folder), written.key.text, *payloads]
            done = subprocess.run(command, capture_output=True, check=True)
            found[name, disclosed] = msgspec.json.decode(done.stdout, type=Pass)
    return found


def report(found: dict[tuple[str, bool], Pass]) -> str:
    """The figures as a table."""
    rows = []
    for (name, disclosed), took in found.items():
        million = took.seconds / took.records * 1e6
        missed = "  MISS" if not disclosed and million > MOST_SECONDS else ""
        wrong = f"  {took.findings} findings" if took.findings else ""
        given = "with payloads" if disclosed else "records alone"
        figures = f"{took.records / took.seconds:,.0f}", f"{million:.1f}", f"{took.before:.0f}", f"{took.most:.0f}"
        rows.append((f"{name}, {given}", *figures, missed + wrong))
    size = next(iter(found.values())).records
    head = ("verifier", "records/s", "CPU s for a million", "MiB before", "MiB at most", "")
    return f"verify: {size:,} records, one core (aim: {MOST_SECONDS:.0f} s for a million)\n" + table(head, rows)


def _remit(folder: str, key: str, payloads: str | None) -> tuple[int, int]:
    from remit import offline
    from remit.adapters.log.ledger import TemporaryLedger
    from remit.flow.auditing.audit import audit
    from remit.flow.auditing.files import Trust
    from remit.flow.auditing.payloads import Disclosure, Nothing
    from remit.gates.log.notes import VerifierKey

    given: Disclosure = offline.payloads_in(Path(payloads)) if payloads else Nothing()
    _started()
    found = audit(offline.log_at(folder), Trust(keys=(VerifierKey.parse(key),)), given, TemporaryLedger())
    return found.read, len(found.findings)


def _independent(folder: str, key: str, payloads: str | None) -> tuple[int, int]:
    from tests.conformance.log import verifier

    _started()
    found = verifier.verify(Path(folder), [key], payloads=Path(payloads) if payloads else None)
    return found.size, len(found.findings)


PASSES = {"remit": _remit, "independent": _independent}
_begun = [0.0, 0.0]


def _started() -> None:
    """Everything is imported: count from here."""
    _begun[:] = time.process_time(), _memory()


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print; with a verifier's name, be one pass."""
    if len(sys.argv) > 2:
        name, folder, key, *payloads = sys.argv[1:]
        records, findings = PASSES[name](folder, key, payloads[0] if payloads else None)
        took = Pass(records, findings, time.process_time() - _begun[0], _begun[1], _memory())
        sys.stdout.buffer.write(msgspec.json.encode(took))
        return
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory(prefix="remit-bench-", dir=os.environ.get("TMPDIR")) as made:
        print(report(run(Path(made), records)))


if __name__ == "__main__":
    main()
