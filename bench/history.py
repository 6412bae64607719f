"""A practice home with a long past: its log, signed, and its store with payloads, as if a gateway had written them.

What lives here: many agents, runs, cases and reasons for the journals of `tests.support`, and writing them in bulk.
What never may: a shorter way for what is measured; searches, the index's building and verifiers find a home like any.

Run: `python -m bench.history FOLDER RECORDS`. 10 million records take about 20 GB.
"""

from __future__ import annotations

import base64
import hashlib
import random
import resource
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from remit.adapters.home.folder import Home
from remit.adapters.home.init import init_home
from remit.adapters.home.settings import load_settings
from remit.adapters.log.signing import LocalSigner
from remit.adapters.log.writing import folder_of
from remit.adapters.payloads.sealing import Sealer, sealer
from remit.adapters.store import statements as sql
from remit.adapters.store.sqlite import open_store
from remit.flow.reloading import BOUNDARY_FILE, PEOPLE, ROSTER, kept_fact
from remit.gates import intake
from remit.gates.journal import Pseudonyms
from remit.gates.search import of_record
from remit.model.words import (
    CHANGE_RESULT,
    READ_RESULT,
    Action,
    Clause,
    Decision,
    Effect,
    Evidence,
    Label,
    Mandate,
    Payload,
    Ruling,
    Run,
    State,
)
from tests.support import signers
from tests.support.journals import ONE_OF_EACH, Stories, records_of
from tests.support.scribe import Action as Scribed
from tests.support.scribe import Record
from tests.support.tile_log import TileLog, checkpoint_text

SEED = 11
AGENTS = ("triage", "triage", "triage", "hunter", "cloud", "responder")
CONNECTORS = 6
CATEGORIES = 12
TARGETS = 20_000
VOCABULARY = 20_000
RUN_EVERY = 0.04  # of the stories: some 20 actions a run
MOST_DOOMED = 300  # payloads that one order erases: their tombstone must fit into an entry
_LIVES = ("approved", "approved_by_two", "asked_again", "blocked", "rejected", "expired", "withdrawn", "agreed")
_AT_ONCE = 20_000
_compact = msgspec.json.Encoder(order="sorted").encode


@dataclass
class Told(Scribed):
    """An action with what is told of it besides."""

    about: dict[str, str]
    known: dict[str, Any]


class Telling(Stories):
    """The journals' stories of this home, about many agents, runs, cases, targets and reasons.

    `standing` has the actions that have not ended, and `stored` is told of everything that a store keeps.
    """

    def __init__(self, seed: int, length: int, home: str, names: Pseudonyms, stored: Stored) -> None:
        self._names = names
        self._stored = stored
        self.number = 0
        self.agent, self.case, self.runs = "triage", "alert-0", 0
        self._cited = ["ev_aaaaaaaaaaaaaaaa"] * 64
        super().__init__(seed, length)
        self.home = home

    def id(self, prefix: str) -> str:
        return f"{prefix}_{base64.b32encode(self.random.randbytes(10)).decode().lower()}"

    def pseudonym(self, name: str) -> str:
        return self._names.of(name)

    def about(self, action: Scribed) -> dict[str, Any]:
        return dict(action.about) if isinstance(action, Told) else super().about(action)

    def open_run(self) -> None:
        self.runs += 1
        self.agent = self.random.choice(AGENTS)
        self.case = f"alert-{self.runs // 2}"
        super().open_run()

    def propose(
        self, effect: str, state: str, ruling: Any, *, tool: Any = None, undoes: str = "", secret: str = ""
    ) -> Told:
        """A proposal with reasons of its own, as `Scribe.propose` writes it."""
        self.number += 1
        pick = self.random.random
        action_id, target = self.id("act"), f"WS-{int(TARGETS * pick() ** 2)}"
        kind = int(CATEGORIES * pick())
        connector, name = tool or (f"edr-{kind % CONNECTORS}", "query" if effect == "read" else "isolate")
        cited = self._cited[int(64 * pick())]
        said = self._reasons(target, cited)
        about = {"action": action_id, "run": self.run, "agent": self.agent}
        fields = {
            "case": self.case,
            "connector": connector,
            "tool": name,
            "category": f"category.{kind}",
            "effect": effect,
            "definition": "0" * 64,
            "targets": [self.pseudonym(target)],
            "digest": self._digest(about, connector, name, target, said),
            "state": state,
            "ruling": ruling,
            "undoes": undoes,
            "reasons": {"signals": [{"evidence": cited, "mark": "grounded"}], "intel": []},
        }
        made = Told(action_id, effect, fields["digest"], self.id("wrt"), state, about, fields | {"target": target})
        self._stored.proposed(made, self.at)
        holds = {f"{action_id}.proposal": said}
        if secret:
            hidden = f'{{"password":"{self.token()}"}}'
            holds[f"{action_id}.secrets"] = {"arguments": hidden, "asked": hidden, "salt": said["salt"]}
        payloads = {name: self.payload(_compact(each)) for name, each in holds.items()}
        self.add("proposal", payloads, (f"{action_id}.secrets",) if secret == "ended" else (), **about, **fields)
        return made

    def _reasons(self, target: str, cited: str) -> dict[str, Any]:
        """What the agent says, in words of which some are frequent: the n-th is used about n to the -2/3 as often."""
        pick = self.random.random
        words = [f"word{int(VOCABULARY * pick() ** 3)}" for _ in range(20)]
        words.append("even" if self.number % 2 == 0 else "odd")
        if self.number % 50_000 == 77:
            words.append("xylophone")
        rationale = {
            "summary": " ".join(words[:12]),
            "signals": [{"says": " ".join(words[12:]), "evidence": cited}],
            "intel": [{"name": "urlhaus" if self.number % 7 else "rare feed", "version": "3"}],
            "skill": {"name": "host triage", "version": "2"} if self.number % 3 else None,
        }
        arguments = f'{{"host":"{target}","ticket":"T-{self.number}"}}'
        return {
            "arguments": arguments,
            "targets": [target],
            "asked": target,
            "salt": self.token()[:32],
            "rationale": rationale,
        }

    def _digest(self, about: dict[str, str], connector: str, tool: str, target: str, said: dict[str, Any]) -> str:
        call = {"connector": connector, "tool": tool, "definition": "0" * 64, "salt": said["salt"]}
        return intake.digest(**about, **call, targets=(target,), arguments=said["arguments"])

    def outcome(self, action: Scribed, state: str = "done", erase: bool = False) -> None:
        super().outcome(action, state, erase and len(self.doomed) < MOST_DOOMED)

    def concluded(self) -> Any:
        stem, chance = self.id("vrd"), self.random.random()
        verdict = "malicious" if chance < 0.01 else "undetermined" if chance < 0.2 else "benign"
        words = " ".join(f"word{int(VOCABULARY * self.random.random() ** 3)}" for _ in range(12))
        data = _compact({"verdict": verdict, "rationale": {"summary": words}})
        about = {"run": self.run, "agent": self.agent, "case": self.case}
        payloads = {f"{stem}.verdict": self.payload(data)}
        self.add("verdict", payloads, **about, verdict=verdict, evidence=[self._cited[0]], not_shown=0)
        yield

    def add(self, kind: str, payloads: Any = None, withheld: tuple[str, ...] = (), /, **fields: Any) -> None:
        if kind in ("run.opened", "run.closed"):
            fields |= {"agent": self.agent, "case": self.case}
        super().add(kind, payloads, withheld, **fields)
        if kind == "outcome" and "evidence" in fields:
            self._cited[self.position % 64] = fields["evidence"]
        self._stored.took(self.out[-1], self.position - 1)


def _next(chance: random.Random) -> str:
    draw = chance.random()
    if draw < RUN_EVERY:
        return "concluded" if draw < RUN_EVERY / 2 else "new_run"
    if draw < 0.95:
        return "read"
    if draw < 0.9995:
        return chance.choice(_LIVES)
    return chance.choice(ONE_OF_EACH) if draw < 0.9999 else "erased"


class Stored:
    """Fills a home's store in batches, with the rows that a gateway leaves. Owned by one run; `close` ends it."""

    def __init__(self, home: Home, seal: Sealer, names: Pseudonyms) -> None:
        open_store(home.store, sealer=seal).close()
        self._seal = seal
        self._people = {names.person(name): name for name in (*signers.PEOPLE, signers.NEWCOMER.name)}
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._standing: dict[str, Action] = {}
        self._runs: dict[str, Run] = {}
        self._file = sqlite3.connect(home.store, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
            self._file.execute(f"PRAGMA {pragma}").fetchall()
        listed = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        self._indexes = self._file.execute(listed).fetchall()
        for name, _ in self._indexes:  # made at the end, which is faster than row by row
            self._file.execute(f"DROP INDEX {name}")

    def proposed(self, told: Told, at: int) -> None:
        """An action begins."""
        known = told.known
        ruling = known["ruling"]
        decision = Decision(ruling["decision"])
        clauses = tuple(Clause(each, decision, "the boundary says so") for each in ruling["clauses"])
        self._standing[told.id] = Action(
            id=told.id,
            revision=1,
            state=State(told.state),
            agent=told.about["agent"],
            run=told.about["run"],
            case=known["case"],
            connector=known["connector"],
            tool=known["tool"],
            category=known["category"],
            definition=known["definition"],
            digest=known["digest"],
            effect=Effect(told.effect),
            targets=(known["target"],),
            bounded=True,
            fingerprint="",
            proposal=f"{told.id}.proposal",
            ruling=Ruling(decision=decision, clauses=clauses, boundary=ruling["boundary"]),
            opened_at=at,
            undoes=known["undoes"],
        )

    def took(self, record: Record, position: int) -> None:
        """A record, and what it changes."""
        fields, data = record.fields, record.data
        kind, at = fields["kind"], fields["at"]
        action, run, agent = (fields.get(each, "") for each in ("action", "run", "agent"))
        self._add(_RECORD, (position, kind, at, action, run, agent, data, hashlib.sha256(data).digest()))
        for name, payload in record.payloads.items():
            self._put(name, payload, position, fields)
        if action in self._standing:
            self._moved(record, action)
        if kind == "run.opened":
            self._opened(fields)
        if len(self._rows[_RECORD]) >= _AT_ONCE:
            self.flush()

    def _put(self, name: str, payload: signers.Payload, position: int, fields: dict[str, Any]) -> None:
        role = name.rpartition(".")[2]
        kind = role
        if role == "result":
            read = self._standing[fields["action"]].effect is Effect.READ
            kind = READ_RESULT if read else CHANGE_RESULT
        slot, sealed = self._seal.seal(Payload(id=name, kind=kind, salt=payload.salt, data=payload.data))
        statement = sql.PUT_PAYLOAD[sql.payload_table(name, kind)].replace("INSERT", "INSERT OR IGNORE")
        self._add(statement, (name, kind, position, slot, sealed))
        if kind == "file" and fields["kind"] != "boundary.refused":
            what = BOUNDARY_FILE if fields["kind"] == "boundary.loaded" else ROSTER
            digest = hashlib.sha256(payload.data).hexdigest()
            self._add(sql.SET_FACT, (what, payload.data))
            self._add(sql.SET_FACT, (kept_fact(what, digest), payload.data))
            self._add(sql.SET_FACT, (kept_fact(PEOPLE, digest), _compact(self._people)))

    def _moved(self, record: Record, action_id: str) -> None:
        fields, before = record.fields, self._standing[action_id]
        kind, at = fields["kind"], fields["at"]
        state = of_record(kind, action_id, before.run, before.agent, fields).state or before.state
        after = replace(before, state=State(state), revision=before.revision + 1)
        if kind == "vote":
            self._voted(record, at)
        elif kind == "intent":
            after = replace(after, intended_at=at, handed_over=True, warrant=fields["warrant"])
        elif kind == "outcome":
            after = replace(after, evidence=fields.get("evidence", ""), ended_at=at)
            for payload in record.payloads.values():
                self._shown(after, at, hashlib.sha256(payload.data).hexdigest())
        self._standing[action_id] = after
        if after.state not in sql.LIVE or (kind == "alert" and after.state is State.BLOCKED):
            self._ended(self._standing.pop(action_id))

    def _voted(self, record: Record, at: int) -> None:
        fields = record.fields
        said = msgspec.json.decode(next(iter(record.payloads.values())).data)
        statement, signature = base64.b64decode(said["statement"]), said["signature"].encode()
        person = self._people[fields["person"]]
        self._add(sql.PUT_APPROVAL, (fields["action"], person, fields["verb"], at, statement, signature))

    def _shown(self, action: Action, at: int, digest: str) -> None:
        payload = f"{action.evidence}.result"
        label = Label()
        shown = Evidence(
            id=action.evidence, run=action.run, action=action.id, at=at, digest=digest, label=label, payload=payload
        )
        self._add(sql.PUT_EVIDENCE, (shown.id, shown.run, sql.encode(shown)))

    def _opened(self, fields: dict[str, Any]) -> None:
        run = Run(
            id=fields["run"],
            agent=fields["agent"],
            case=fields["case"],
            opened_by="oz",
            opened_at=fields["at"],
            expires_at=fields["expires"],
            mandate=Mandate((), tuple(fields["categories"])),
            token_hash=hashlib.sha256(fields["run"].encode()).hexdigest(),
            label=Label(),
        )
        label = (run.label.integrity.value, run.label.confidentiality.value, run.label.source)
        opened = (run.id, run.token_hash, run.agent, run.case, run.opened_at, None, 20, *label)
        self._add(sql.PUT_RUN, (*opened, sql.encode(run)))

    def _ended(self, action: Action) -> None:
        live = action.state in sql.LIVE
        named = (action.agent, action.run, action.case, action.category, action.connector, action.tool)
        standing = (action.id, action.revision, action.state.value, live)
        self._add(sql.OPEN_ACTION, (*standing, *named, action.opened_at, None, sql.encode(action)))

    def _add(self, statement: str, row: tuple[Any, ...]) -> None:
        self._rows.setdefault(statement, []).append(row)

    def flush(self) -> None:
        """Write what was gathered."""
        self._file.execute("BEGIN")
        for statement, rows in self._rows.items():
            self._file.executemany(statement, rows)
            rows.clear()
        self._file.execute("COMMIT")

    def close(self) -> None:
        """Write what is left, and the store's indexes."""
        for action in self._standing.values():
            self._ended(action)
        self.flush()
        self._file.execute("PRAGMA threads = 0")
        for _, statement in self._indexes:
            self._file.execute(statement)
        self._file.execute("PRAGMA journal_mode = WAL").fetchall()
        self._file.close()
        self._seal.close()


_RECORD = sql.append(1)


def make(folder: Path, records: int, tell: Callable[[str], None] = lambda _: None) -> Home:
    """A practice home in a new folder, with a past of at least so many records."""
    home = init_home(folder, now=signers.START).home
    names = Pseudonyms(home.key("names.key"))
    seal = sealer(home.keys)
    stored = Stored(home, seal, names)
    telling = Telling(SEED, records, home.identity().id, names, stored)
    origin = f"remit/{telling.home}"
    log = TileLog(folder_of(load_settings(home).log_folder, origin))
    began = time.process_time()
    for record in records_of(telling, _next):
        log.add(record.data)
        if log.size % 100_000 == 0:
            tell(f"{log.size:,} records, {time.process_time() - began:.0f} s of CPU")
    root = log.close()
    note = LocalSigner(home.keys).sign(0, (), checkpoint_text(origin, log.size, root))
    (log.folder / "checkpoint").write_bytes(note)
    tell(f"{log.size:,} records, {time.process_time() - began:.0f} s of CPU; the store's indexes are next")
    stored.close()
    return home


def main() -> None:
    """Make one, and say what it took."""
    folder, records = Path(sys.argv[1]), int(sys.argv[2])
    began = time.monotonic()
    make(folder, records, lambda said: print(said, file=sys.stderr, flush=True))
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = f"{time.monotonic() - began:.0f} s, {time.process_time():.0f} s of CPU"
    print(f"{took}, {size / 2**20:,.0f} MiB, {most:,.0f} MiB of memory")


if __name__ == "__main__":
    main()
