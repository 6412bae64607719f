"""Writes the records of one home in the order and with the payloads that docs/LOG-FORMAT.md asks for.

What lives here: one method for each kind of record, and signed commands. What never may: remit's own code for records;
which story comes when is `journals`' to say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.support.signers import (
    HOUR,
    MINUTE,
    PEOPLE,
    START,
    Fields,
    Payload,
    Signer,
    boundary_file,
    compact,
    encode,
    roster_file,
    sha256,
)


@dataclass
class Record:
    """One entry before it is bytes, and the payloads that are disclosed with it."""

    fields: Fields
    payloads: dict[str, Payload] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return encode(self.fields)


@dataclass
class Action:
    id: str
    effect: str
    digest: str
    warrant: str
    state: str


class Scribe:
    """Writes the records of one home, one story at a time. `out` holds what was written and not yet taken."""

    def __init__(self, seed: int, length: int) -> None:
        self.random = random.Random(seed)
        self.length = length
        self.home = self.id("home")
        self.names_key = self.random.randbytes(32)
        self.at = START
        self.position = 0
        self.out: list[Record] = []
        self.people = tuple(PEOPLE.values())
        self.roster_version = 0
        self.boundary_version = 0
        self.boundary = b""
        self.run = ""
        self.doomed: list[tuple[str, str]] = []  # payloads that are withheld, to be erased by a later story
        self.pruned_before = 0

    # --- small things ----------------------------------------------------------------------------------------------

    def id(self, prefix: str) -> str:
        value = self.random.getrandbits(80)
        return prefix + "_" + "".join("abcdefghijklmnopqrstuvwxyz234567"[value >> 5 * at & 31] for at in range(16))

    def token(self) -> str:
        return f"{self.random.getrandbits(256):064x}"

    def pseudonym(self, name: str) -> str:
        return hmac.new(self.names_key, name.encode(), hashlib.sha256).hexdigest()[:20]

    def person(self, signer: Signer) -> str:
        return self.pseudonym("person:" + signer.name.lower())

    def payload(self, data: bytes) -> Payload:
        return Payload(self.random.randbytes(16), data)

    def add(
        self, kind: str, payloads: dict[str, Payload] | None = None, withheld: tuple[str, ...] = (), /, **fields: Any
    ) -> None:
        """Write one record; `withheld` payloads are committed to and not disclosed."""
        self.at += self.random.randint(1_000, 400_000)
        fields |= {"v": 1, "kind": kind, "at": self.at}
        if payloads:
            fields["payloads"] = {name: payload.commitment for name, payload in payloads.items()}
        kept = {name: payload for name, payload in (payloads or {}).items() if name not in withheld}
        self.out.append(Record(fields, kept))
        self.position += 1

    # --- the home, its files and its runs --------------------------------------------------------------------------

    def begin(self) -> None:
        self.roster_version = 1
        data = roster_file(self.home, 1, self.people)
        payloads = {f"ros_{sha256(data)[:16]}.file": self.payload(data)}
        self.add("home.created", payloads, home=self.home, practice=False, roster=sha256(data), version=1)
        self.boundary_version, self.boundary = 1, boundary_file(1)
        self.start()
        self.open_run()

    def start(self) -> None:
        self.add("node.started", pid=self.random.randint(2, 30_000), what="gateway")
        self.load_boundary()

    def load_boundary(self) -> None:
        data = self.boundary
        leaders = [PEOPLE["lena"], PEOPLE["lars"]]
        # A deterministic salt: the same file at every start is the same payload, with the same commitment.
        signatures = msgspec.json.encode([each.sign(data, "boundary@remit").decode() for each in leaders])
        stem = f"bnd_{sha256(data)[:16]}"
        payloads = {
            f"{stem}.file": Payload(hashlib.sha256(b"file" + data).digest()[:16], data),
            f"{stem}.signatures": Payload(hashlib.sha256(b"signatures" + data).digest()[:16], signatures),
        }
        self.add(
            "boundary.loaded",
            payloads,
            name="soc-triage",
            digest=sha256(data),
            version=self.boundary_version,
            signers=[self.person(each) for each in leaders],
            expired=False,
            pins={},
        )

    def open_run(self) -> None:
        run, oz = self.id("run"), PEOPLE["oz"]
        mandate = self.payload(compact({"opened_by": "oz", "targets": ["WS-1"]}))

        def opened() -> None:
            self.add(
                "run.opened",
                {f"{run}.mandate": mandate},
                run=run,
                agent="triage",
                case="CASE-7",
                by=self.person(oz),
                expires=self.at + 8 * HOUR,
                targets=[self.pseudonym("WS-1")],
                categories=["evidence.read", "host.isolate"],
                boundary=sha256(self.boundary),
                integrity="third-party",
                declared={},
            )

        self.command("run.open", {"agent": "triage", "case": "CASE-7"}, oz, opened)
        self.run = run

    def command(self, command: str, parameters: Fields, signer: Signer, carried_out: Callable[[], None]) -> None:
        """A signed command: accepted, and then what it does beside the record that it was carried out."""
        said = {
            "kind": "remit-control-1",
            "home": self.home,
            "person": signer.name,
            "issued": self.at - 3_000_000,
            "expires": self.at + 5 * MINUTE,
            "command": command,
            "parameters": parameters,
            "nonce": self.token()[:32],
        }
        data = compact(said)
        fields: Fields = {
            "command": command,
            "person": self.person(signer),
            "nonce": said["nonce"],
        }
        statement = self.statement(data, signer.sign(data, "control@remit"))
        name = self.id("sta") + ".statement"
        self.add("statement", {name: statement}, stage="accepted", **fields)
        carried_out()
        self.add("statement", {name: statement}, (name,), stage="carried-out", **fields)

    def statement(self, data: bytes, signature: bytes) -> Payload:
        """The payload of a vote or a command."""
        return self.payload(compact({"statement": base64.b64encode(data).decode(), "signature": signature.decode()}))

    # --- actions ---------------------------------------------------------------------------------------------------

    def about(self, action: Action) -> Fields:
        return {"action": action.id, "run": self.run, "agent": "triage"}

    def ruling(self, decision: str, quorum: int = 0) -> Fields:
        clause = {"auto": "READ-1", "approve": "ISO-1", "forbid": "category.grant"}[decision]
        return {"decision": decision, "clauses": [clause], "boundary": sha256(self.boundary), "quorum": quorum}

    def propose(
        self,
        effect: str,
        state: str,
        ruling: Fields,
        *,
        tool: tuple[str, str] | None = None,
        undoes: str = "",
        secret: str = "",
    ) -> Action:
        """A proposal. With a `secret` argument, which is `kept` to the end of the log or `ended` with its action."""
        connector, name = tool or ("edr", "query" if effect == "read" else "isolate")
        action = Action(self.id("act"), effect, self.token(), self.id("wrt"), state)
        said = {
            "arguments": {"host": "WS-1", "reason": f"beacon {self.position}"},
            "targets": ["WS-1"],
            "asked": "WS-1",
            "salt": self.token()[:32],
            "rationale": {"summary": "the host talks to a known address", "confidence": "high"},
            "secrets": [],
        }
        payloads = {f"{action.id}.proposal": said}
        if secret:
            hidden = {"password": self.token()}
            payloads[f"{action.id}.secrets"] = {"arguments": hidden, "asked": hidden, "salt": said["salt"]}
            struck = {"host": "WS-1", "password": "⟦secret⟧"}
            said |= {"arguments": struck, "salt": "", "secrets": ["password"]}
        self.add(
            "proposal",
            {each: self.payload(compact(holds)) for each, holds in payloads.items()},
            (f"{action.id}.secrets",) if secret == "ended" else (),
            **self.about(action),
            case="CASE-7",
            connector=connector,
            tool=name,
            category="evidence.read" if effect == "read" else "host.isolate",
            effect=effect,
            definition="0" * 64,
            targets=[self.pseudonym("WS-1")],
            digest=action.digest,
            state=state,
            ruling=ruling,
            undoes=undoes,
        )
        return action

    def vote(self, action: Action, signer: Signer, verb: str = "approve") -> None:
        said = {
            "kind": "remit-approval-1",
            "home": self.home,
            "person": signer.name,
            "issued": self.at - 2_000_000,
            "expires": self.at + 30 * MINUTE,
            "verb": verb,
            "action": action.id,
            "digest": action.digest,
            "card_digest": sha256(b"card" + action.id.encode()),
            "boundary_digest": sha256(self.boundary),
        }
        data = compact(said)
        payloads = {self.id("vot") + ".statement": self.statement(data, signer.sign(data, "approval@remit"))}
        self.add("vote", payloads, **self.about(action), person=self.person(signer), verb=verb)

    def intent(self, action: Action, ruling: Fields, approvers: tuple[Signer, ...] = ()) -> None:
        self.add(
            "intent",
            **self.about(action),
            digest=action.digest,
            definition="0" * 64,
            ruling=ruling,
            approvers=[self.person(each) for each in approvers],
            credential="warrant",
            warrant=action.warrant,
        )

    def outcome(self, action: Action, state: str = "done", erase: bool = False) -> None:
        evidence = self.id("ev")
        payload = self.payload(compact({"content": [{"type": "text", "text": f"row {self.position}"}]}))
        prune = action.effect == "read" and not self.pruned_before
        if erase:
            self.doomed.append((f"{evidence}.result", payload.commitment))
        self.add(
            "outcome",
            {f"{evidence}.result": payload},
            (f"{evidence}.result",) if erase or prune else (),
            **self.about(action),
            state=state,
            warrant=action.warrant,
            handed_over=True,
            evidence=evidence,
            label={"integrity": "third-party", "confidentiality": "internal", "source": "edr"},
        )

    def alert(self, action: Action, code: str) -> None:
        self.add("alert", **self.about(action), code=code, clauses=["ISO-1"])

    def erase(self) -> None:
        """Carry out a signed order to erase everything that is withheld for it."""
        doomed, lena = self.doomed, PEOPLE["lena"]
        self.doomed = []
        said = {"who": "lena", "why": "request of a data subject", "basis": "Art. 17 GDPR"}

        def tombstone() -> None:
            why = {self.id("era") + ".why": self.payload(compact(said))}
            self.add("erased", why, erased=dict(doomed), basis="Art. 17 GDPR", by=self.person(lena))

        self.command("erase", {"payloads": [gone for gone, _ in doomed]}, lena, tombstone)

    def prune(self) -> None:
        """Say that the results of reads up to `pruned_before` were pruned."""
        about: Fields = {"class": "read_results", "before": self.pruned_before, "count": 1}
        self.add("pruned", **about)
