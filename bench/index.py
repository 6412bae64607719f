"""How long `find` and `explain` take over many records, how fast the index is built, and how large it is.

The records are made up as they are read, so that ten million need no disk but the index's own. Run:
`python -m bench.index RECORDS`.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import quantile, table
from remit.adapters.index.following import SearchIndex
from remit.flow.ports import StoredRecord
from remit.flow.queries import Stories
from remit.flow.query import Query
from remit.flow.searching import Search
from remit.gates.journal import Pseudonyms
from remit.model.words import (
    MINUTE,
    SECOND,
    Action,
    Approval,
    Clause,
    Decision,
    Effect,
    Evidence,
    Payload,
    Proposal,
    Rationale,
    Ruling,
    Run,
    Signal,
    Source,
    State,
)

RECORDS = 1_000_000
PER_ACTION = 4
START = 1_795_312_800 * SECOND
KEY = b"bench" * 6
_NAMES = Pseudonyms(KEY)
_AGENTS = ("triage", "triage", "triage", "hunter", "cloud", "remit")
_VOCABULARY = 20_000
_encode = msgspec.json.Encoder(order="sorted").encode
_FINAL = ("done",) * 18 + ("failed", "unknown")


class MadeUp:
    """The `Reads` of a past that never was: every four records are an action's life. Nothing is kept."""

    def __init__(self, records: int) -> None:
        self.records_in_all = records - records % PER_ACTION

    def counts(self) -> dict[str, int]:
        """How many there are."""
        return {"records": self.records_in_all}

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        """See `Reads`."""
        return [_record(each) for each in range(position, min(position + limit, self.records_in_all))]

    def records_at(self, positions: Sequence[int]) -> list[StoredRecord]:
        """See `Reads`."""
        return [_record(each) for each in sorted(set(positions)) if each < self.records_in_all]

    def payload(self, payload_id: str) -> Payload | None:
        """The reasons and arguments of an action."""
        number = _number(payload_id)
        return None if number is None else _payload(number)

    def action(self, action_id: str) -> Action | None:
        """An action as it stands at the end."""
        number = _number(action_id)
        return None if number is None else _action(number)

    def run(self, run_id: str) -> Run | None:
        """None: what the store alone tells is not measured here."""
        return None

    def fact(self, name: str) -> bytes | None:
        """None, likewise."""
        return None

    def evidence(self, evidence_id: str) -> Evidence | None:
        """None, likewise."""
        return None

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        """None, likewise."""
        return ()


def _number(name: str) -> int | None:
    digits = name.removeprefix("act_").partition(".")[0]
    return int(digits) if name.startswith("act_") and digits.isdigit() else None


def _facts(number: int) -> dict[str, Any]:
    """What every record of an action and the action itself agree on."""
    pick = random.Random(number)
    category = pick.randrange(12)
    return {
        "agent": _AGENTS[pick.randrange(len(_AGENTS))],
        "run": f"run_{number // 20:016}",
        "case": f"alert-{number // 40}",
        "connector": f"edr-{category % 6}",
        "category": f"category.{category}",
        "target": f"WS-{int(20_000 * pick.random() ** 2)}",
        "clause": "ISO-1" if number % 2 == 0 else "ISO-2",
        "state": "expired" if number % 5 == 4 else _FINAL[pick.randrange(len(_FINAL))],
    }


@lru_cache(maxsize=64)
def _life(number: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    facts = _facts(number)
    shared = {"action": f"act_{number:016}", "run": facts["run"], "agent": facts["agent"]}
    ruling = {"decision": "approve", "clauses": [facts["clause"]], "boundary": "b" * 64, "quorum": 1}
    proposal = {
        **{each: facts[each] for each in ("case", "connector", "category")},
        "tool": "isolate",
        "effect": "change",
        "definition": "d" * 64,
        "digest": "e" * 64,
        "targets": [_NAMES.of(facts["target"])],
        "ruling": ruling,
        "state": "awaiting_approval",
        "payloads": {f"act_{number:016}.proposal": "c" * 64},
        "reasons": {"signals": [{"evidence": f"ev_{number // 3:016}", "mark": "grounded"}], "intel": []},
    }
    first: list[tuple[str, dict[str, Any]]] = [("proposal", proposal)]
    if number % 5 == 4:
        first += [("expired", {}), ("alert", {"code": "expired"}), ("verdict", _verdict(number))]
    else:
        vote = {"person": _NAMES.person(f"person-{number % 30}"), "verb": "approve"}
        outcome = {"state": facts["state"], "warrant": f"wrt_{number:016}", "handed_over": True}
        first += [("vote", vote), ("intent", {"ruling": ruling, "approvers": [vote["person"]]}), ("outcome", outcome)]
    about = {"run": shared["run"], "agent": shared["agent"]}
    return tuple((kind, fields | (about if kind == "verdict" else shared)) for kind, fields in first)


def _verdict(number: int) -> dict[str, Any]:
    said = "malicious" if number % 400 == 199 else "undetermined" if number % 10 == 4 else "benign"
    return {"case": f"alert-{number // 40}", "verdict": said, "evidence": [], "payloads": {f"vrd_{number}.verdict": ""}}


def _record(position: int) -> StoredRecord:
    number, step = divmod(position, PER_ACTION)
    kind, fields = _life(number)[step]
    at = START + position * SECOND // 2
    data = _encode({"v": 1, "kind": kind, "at": at, **fields})
    about = {each: str(fields.get(each, "")) for each in ("action", "run", "agent")}
    return StoredRecord(position=position, kind=kind, at=at, data=data, sha256=sha256(data).digest(), **about)


def _payload(number: int) -> Payload:
    pick = random.Random(-number - 1)
    words = [f"word{int(_VOCABULARY * pick.random() ** 3)}" for _ in range(20)]
    words.append("even" if number % 2 == 0 else "odd")
    if number % 50_000 == 77:
        words.append("xylophone")
    feed = Source("urlhaus" if number % 7 else "rare feed", "3")
    rationale = Rationale(
        summary=" ".join(words[:12]),
        signals=(Signal(" ".join(words[12:]), f"ev_{number // 3:016}"),),
        intel=(feed,),
        skill=Source("host triage", "2") if number % 3 else None,
    )
    facts = _facts(number)
    arguments = msgspec.json.encode({"host": facts["target"], "ticket": f"T-{number}"}).decode()
    proposal = Proposal(arguments=arguments, targets=(facts["target"],), asked="{}", salt="00", rationale=rationale)
    return Payload(id=f"act_{number:016}.proposal", kind="proposal", salt=b"", data=_encode(proposal))


def _action(number: int) -> Action:
    facts = _facts(number)
    clause = Clause(facts["clause"], Decision.APPROVE, "a human looks at this first")
    at = START + number * PER_ACTION * SECOND // 2
    return Action(
        id=f"act_{number:016}",
        revision=4,
        state=State(facts["state"]),
        tool="isolate",
        effect=Effect.CHANGE,
        definition="d" * 64,
        targets=(facts["target"],),
        bounded=True,
        digest="e" * 64,
        fingerprint="",
        proposal=f"act_{number:016}.proposal",
        ruling=Ruling(decision=Decision.APPROVE, clauses=(clause,), boundary="b" * 64),
        opened_at=at,
        ended_at=at + SECOND,
        **{each: facts[each] for each in ("agent", "run", "case", "connector", "category")},
    )


def questions(records: int) -> dict[str, Query]:
    """What is asked: each filter, and the bad cases."""
    actions = records // PER_ACTION
    middle = START + records * SECOND // 4
    return {
        "nothing but the newest": Query(),
        "a target": Query(target="WS-7"),
        "a target that never was": Query(target="nowhere"),
        "an agent": Query(agent="hunter"),
        "an agent that never was": Query(agent="nobody"),
        "the first run": Query(run=f"run_{0:016}"),
        "the first case": Query(case="alert-0"),
        "a category": Query(category="category.3"),
        "a connector": Query(connector="edr-2"),
        "a state that few have": Query(states=(State.UNKNOWN,)),
        "a state that none has": Query(states=(State.CUT,)),
        "a clause": Query(clause="ISO-1"),
        "an approver": Query(approver="person-7"),
        "a verdict": Query(verdict="malicious"),
        "a skill": Query(skill="host triage@2"),
        "a feed": Query(intel="rare feed"),
        "an old piece of evidence": Query(evidence=f"ev_{actions // 300:016}"),
        "words of a signal": Query(signal="word9 word13"),
        "a rare word": Query(words="xylophone"),
        "a word of one action": Query(words="T-77"),
        "three frequent words": Query(words="word0 word1 word2"),
        "an hour long ago": Query(since=middle, until=middle + 60 * MINUTE),
        "an hour, a target, a state": Query(
            since=middle, until=middle + 60 * MINUTE, target="WS-7", states=(State.DONE,)
        ),
        "two frequent terms that never meet": Query(clause="ISO-1", words="odd"),
        "four frequent terms that never meet": Query(clause="ISO-1", words="odd", agent="triage", states=(State.DONE,)),
        "a thousand of an agent's": Query(agent="triage", limit=1000),
    }


def run(folder: Path, records: int = RECORDS, tell: Callable[[str], None] = lambda _: None) -> str:
    """Build an index over so many records, ask everything, and say what it took."""
    reads: Any = MadeUp(records)
    path = folder / f"index-{records}.db"
    index = SearchIndex(path, KEY, reads)
    began = time.perf_counter()
    index.catch_up(lambda done, of: tell(f"{done} of {of}, {time.perf_counter() - began:.0f} s"))
    built = time.perf_counter() - began
    index.close()
    stories = Stories(reads, searching=Search(reads, index, _NAMES))
    rows = [_asked(name, partial(_count, stories, query)) for name, query in questions(records).items()]
    middle = f"act_{records // PER_ACTION // 2:016}"
    rows.append(_asked("explain one from the middle", lambda: len(stories.story(middle).entries)))
    size = sum(each.stat().st_size for each in folder.glob(f"{path.name}*"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    head = (
        f"index: {reads.records_in_all:,} records in {built:.0f} s ({reads.records_in_all / built:,.0f}/s, made up as"
    )
    head += f" they are read), {size / 2**20:,.0f} MiB, {size / reads.records_in_all:.0f} bytes a record,"
    return f"{head} memory at most {memory:,.0f} MiB\n" + table(("asked", "found", "first ms", "p50 ms"), rows)


def _count(stories: Stories, query: Query) -> int:
    found = stories.find(query)
    return len(found.actions) + len(found.verdicts)


def _asked(name: str, ask: Callable[[], int]) -> tuple[str, str, str, str]:
    took = []
    found = 0
    for _ in range(5):
        began = time.perf_counter()
        found = ask()
        took.append(1000 * (time.perf_counter() - began))
    return name, str(found), f"{took[0]:.1f}", f"{quantile(took, 0.5):.1f}"


def main() -> None:
    """Measure and print."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory(prefix="remit-bench-", dir=os.environ.get("TMPDIR")) as made:
        print(run(Path(made), records, lambda said: print(said, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    main()
