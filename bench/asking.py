"""How long `find` and `explain` take in a home with a long past (`bench.history`), by everything that can be asked.

Each question is asked in a process of its own, first with the home's files thrown out of the page cache (cold), then
ten times more (warm). Run: `python -m bench.asking HOME`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bench.figures import quantile, table
from bench.history import TARGETS
from remit import offline
from remit.flow.ports import Reads
from remit.flow.queries import Stories
from remit.flow.query import Query
from remit.gates.story import Story
from remit.model.words import MINUTE, Action, Effect, Proposal, State

AIM_MILLISECONDS = 1_000.0
_TIMES = 10


class Took(msgspec.Struct):
    """Milliseconds: of the first time, its CPU, and of each later one. `found` is how many."""

    found: int
    first: float
    cpu: float
    later: list[float]


def questions(reads: Reads) -> dict[str, Query]:
    """Each filter, and the bad cases. What stands in the middle of the home's past is asked for by name."""
    middle = proposed(reads, reads.counts()["records"] // 2)
    about = {"run": middle.run, "case": middle.case, "target": middle.targets[0]}
    hour = Query(since=middle.opened_at - 30 * MINUTE, until=middle.opened_at + 30 * MINUTE)
    return {
        "nothing but the newest": Query(),
        "a frequent target": Query(target="WS-7"),
        "a target of one in 40,000": Query(target=f"WS-{TARGETS - 1}"),
        "a target that never was": Query(target="nowhere"),
        "an agent": Query(agent="hunter"),
        "an agent that never was": Query(agent="nobody"),
        "a run": Query(run=about["run"]),
        "a case": Query(case=about["case"]),
        "a category": Query(category="category.3"),
        "a connector": Query(connector="edr-2"),
        "a state that few have": Query(states=(State.VOID,)),
        "a state that none has": Query(states=(State.UNKNOWN,)),
        "a state that most have": Query(states=(State.DONE,)),
        "a clause": Query(clause="ISO-1"),
        "a clause and the other's state": Query(clause="READ-1", states=(State.REJECTED,)),
        "an approver": Query(approver="bob"),
        "a verdict": Query(verdict="malicious"),
        "a skill": Query(skill="host triage@2"),
        "a feed": Query(intel="rare feed"),
        "a piece of evidence": Query(evidence=_cited(reads, middle)),
        "words of a signal": Query(signal="word9 word13"),
        "a rare word": Query(words="xylophone"),
        "a word of one action": Query(words="T-77"),
        "three frequent words": Query(words="word0 word1 word2"),
        "five frequent words": Query(words="word0 word1 word2 word3 word4"),
        "an hour long ago": hour,
        "an hour, a target": replace(hour, target=about["target"]),
        "two frequent terms that never meet": Query(states=(State.REJECTED,), clause="READ-1"),
        "two frequent words that never meet": Query(words="odd even"),
        "three frequent terms that never meet": Query(words="odd even", agent="triage"),
        "a thousand of an agent's": Query(agent="triage", limit=1000),
    }


def proposed(reads: Reads, position: int, effect: Effect = Effect.READ) -> Action:
    """The action of that effect that was proposed next from a position on, and was done."""
    while True:
        for record in reads.records_from(position, 100):
            action = reads.action(record.action) if record.kind == "proposal" else None
            if action is not None and action.effect is effect and action.state is State.DONE:
                return action
        position += 100


def _cited(reads: Reads, action: Action) -> str:
    payload = reads.payload(action.proposal)
    assert payload is not None
    said = msgspec.json.decode(payload.data, type=Proposal)
    assert said.rationale is not None
    return said.rationale.signals[0].evidence


def told(reads: Reads) -> dict[str, str]:
    """What is explained: a read, changes that people approved from each part of the past, and a run."""
    size = reads.counts()["records"]
    places = {"the beginning": size // 100, "the middle": size // 2, "the end": size - size // 100}
    found = {f"explain a change from {name}": proposed(reads, at, Effect.CHANGE).id for name, at in places.items()}
    read = proposed(reads, size // 2)
    return found | {"explain a read": read.id, "explain a run": read.run}


def measured(home: Path, name: str) -> Took:
    """One question, in this process."""
    reads = offline.open_reads(home)
    ask: Callable[[], int]
    if name.startswith("explain"):
        ask = partial(_explained, home, told(reads)[name])
    else:
        ask = partial(_found, home, questions(reads)[name])
    evict(home)
    took, cpu = [], time.process_time()
    for number in range(_TIMES + 1):
        began = time.perf_counter()
        found = ask()
        took.append(1000 * (time.perf_counter() - began))
        if not number:
            cpu = 1000 * (time.process_time() - cpu)
    return Took(found, took[0], cpu, took[1:])


def _found(home: Path, query: Query) -> int:
    reads = offline.open_reads(home)
    found = Stories(reads, searching=offline.open_search(home, reads)).find(query)
    assert not found.behind, found.why
    return len(found.actions) + len(found.verdicts)


def _explained(home: Path, name: str) -> int:
    reads = offline.open_reads(home)
    story = Stories(reads, searching=offline.open_search(home, reads)).explain(name)
    return len(story.entries) if isinstance(story, Story) else 1


def evict(home: Path) -> None:
    """Throw the home's databases out of the page cache. What is not written yet stays: sync first."""
    for path in (home / "state").glob("*.db*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def run(home: Path) -> str:
    """Ask everything."""
    reads = offline.open_reads(home)
    rows = []
    for name in (*questions(reads), *told(reads)):
        done = subprocess.run([sys.executable, "-m", "bench.asking", str(home), name], capture_output=True, check=True)
        took = msgspec.json.decode(done.stdout, type=Took)
        missed = "  MISS" if max(took.first, quantile(took.later, 0.5)) > AIM_MILLISECONDS else ""
        figures = f"{took.first:.0f}", f"{took.cpu:.0f}", f"{quantile(took.later, 0.5):.0f}"
        rows.append((name, str(took.found), *figures, missed))
    head = ("asked", "found", "cold ms", "of it CPU", "warm ms", "")
    records = reads.counts()["records"]
    return f"find and explain among {records:,} records (aim: {AIM_MILLISECONDS:.0f} ms)\n" + table(head, rows)


def main() -> None:
    """Ask everything, or with a second argument one question."""
    if len(sys.argv) > 2:
        print(msgspec.json.encode(measured(Path(sys.argv[1]), sys.argv[2])).decode())
    else:
        print(run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
