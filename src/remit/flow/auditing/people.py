"""Rosters and boundaries in force, with their signatures, and what people signed.

What lives here: the rules `roster-unsigned`, `boundary-unsigned`, `bad-approval`, `approval-replayed`, `bad-statement`
and `statement-replayed` of docs/LOG-FORMAT.md. What never may: counting approvals (that is `actions`').

INVARIANT: who a pseudonym stands for is learned from good signatures alone, and one person has one pseudonym.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque

import msgspec
from msgspec import Struct

from remit.flow.auditing.findings import Findings, Word
from remit.flow.auditing.ledger import Ledger, key_of
from remit.flow.auditing.records import MOST_BACK, Entry, role_of
from remit.flow.loading import Accepted, Signed, check_parsed
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.model.canonical import encode, sha256_hex
from remit.model.display import shown
from remit.model.errors import RemitError
from remit.model.people import COMMANDS, Person, Roster, load_roster, verify_successor
from remit.model.signatures import Namespace, verify
from remit.model.statements import LONGEST_VALIDITY, ApprovalStatement, ControlStatement
from remit.model.words import Instant

GRACE: Instant = MOST_BACK
"""What a record's time may lie beside the moment at which its statement was checked."""


class _Paper(Struct, frozen=True):
    """A statement payload: what was signed, in base64, and the armoured signature."""

    statement: str
    signature: str


class _Unsigned(Exception):
    """The paper proves nothing; the message says why."""


class Ordered(Struct, frozen=True):
    """A command that was accepted. `about` is the action that it names; empty where it was not disclosed."""

    command: str
    person: str
    nonce: str
    about: str
    at: Instant


BY_ORDER: dict[str, tuple[str, ...]] = {
    "run.opened": ("run.open",),
    "settled": ("settle",),
    "latch.mended": ("latch.mend",),
    "log.continued": ("log.continue",),
    "resume": ("resume", "clock"),
}
"""The kinds of records that only a person's command brings about, and which. One command may lift many stops; any
other is good for one record. `settled` only where it is by a person's word."""

TO_HAND = frozenset({"undo", "erase"}).union(*BY_ORDER.values())
"""The commands without which another record cannot stand."""


_paper = msgspec.json.Decoder(_Paper).decode
_armours = msgspec.json.Decoder(list[str]).decode


class People:
    """Who may sign, as the log goes on. Owned by one pass."""

    def __init__(self, findings: Findings, ledger: Ledger) -> None:
        self._findings = findings
        self._ledger = ledger
        self.home = ""
        self.roster: Roster | None = None
        self.boundary: Boundary | None = None
        self._before: Accepted | None = None
        self._standing: Boundary | None = None
        self._last_parsed: tuple[str, Boundary] | None = None
        self._in_force = ""
        self._replaced: dict[str, Instant] = {}  # by digest: when it was replaced, of the last 5 s
        self._version = 0
        self._names: dict[str, str] = {}  # pseudonym -> person id in lower case
        self._pseudonyms: dict[str, str] = {}  # the other way round
        self._orders: deque[Ordered] = deque()
        self._tombstones: list[tuple[int, str]] = []  # of the row that is being read, without an order before it
        self._carried_out = ""  # the person of the order to erase that the last record carried out
        self.checked: dict[str, int] = {}
        self.unchecked: dict[str, int] = {}

    # --- what is in force ------------------------------------------------------------------------------------------

    def created(self, entry: Entry, file: bytes | None) -> None:
        """The home and its first roster."""
        self.home = entry.text("home")
        self._version = int(entry.fields["version"])
        self._committed(entry, Word.ROSTER_UNSIGNED, "file")
        if file is None:
            self._unmade("rosters")
            return
        roster = self._file(entry, file, entry.text("roster"))
        if roster is not None:
            self.roster = roster
            self._made("rosters")

    def roster_loaded(self, entry: Entry, file: bytes | None, signatures: bytes | None) -> None:
        """A later roster: its version is higher, and a leader of the one before has signed it."""
        version = int(entry.fields["version"])
        self._committed(entry, Word.ROSTER_UNSIGNED, "file", "signatures")
        if version <= self._version:
            says = f"the roster's version is {version}, after {self._version}"
            self._findings.add(Word.ROSTER_UNSIGNED, entry.position, says)
        self._version = max(version, self._version)
        if file is None or signatures is None or self.roster is None:
            self._unmade("rosters")
            self.roster = None if file is None else self._file(entry, file, entry.text("digest"))
            return
        roster = self._file(entry, file, entry.text("digest"))
        if roster is None:
            return
        try:
            _, signers = verify_successor(self.roster, file, _signatures(signatures), now=entry.at)
            if len(signers) < len(entry.texts("signers")):
                raise _Unsigned("the record names more signers than have signed")
        except (RemitError, _Unsigned) as error:
            self._findings.add(Word.ROSTER_UNSIGNED, entry.position, str(error))
        self.roster = roster
        self._made("rosters")

    def _file(self, entry: Entry, file: bytes, digest: str) -> Roster | None:
        """The roster in a file, if it is the one that the record names."""
        try:
            if sha256_hex(file) != digest:
                raise _Unsigned("the roster file is not the one that the record names")
            roster = load_roster(file)
            if roster.version != entry.fields["version"]:
                raise _Unsigned(f"the roster file says version {roster.version}, the record another")
            if roster.home is not None and roster.home != self.home:
                raise _Unsigned("the roster is for another home")
        except (RemitError, _Unsigned) as error:
            self._findings.add(Word.ROSTER_UNSIGNED, entry.position, _line(error))
            return None
        return roster

    def boundary_loaded(self, entry: Entry, file: bytes | None, signatures: bytes | None) -> None:
        """A boundary in force: enough leaders of the roster in force have signed exactly these bytes."""
        digest, version = entry.text("digest"), int(entry.fields["version"])
        self._committed(entry, Word.BOUNDARY_UNSIGNED, "file", "signatures")
        if digest != self._in_force:
            self._replaced = {each: at for each, at in self._replaced.items() if at >= entry.at - MOST_BACK}
            self._replaced[self._in_force] = entry.at
            self._in_force = digest
        before, self._before = self._before, Accepted(digest, version)
        if before is not None and before.digest != digest and version <= before.version:
            says = f"the boundary's version is {version}, after {before.version}"
            self._findings.add(Word.BOUNDARY_UNSIGNED, entry.position, says)
        standing, self._standing = self._standing, None
        self.boundary = None
        if file is None:
            self._unmade("boundaries")
            return
        self._check_boundary(entry, file, signatures, before, standing)

    def _check_boundary(
        self, entry: Entry, file: bytes, signatures: bytes | None, before: Accepted | None, standing: Boundary | None
    ) -> None:
        try:
            if sha256_hex(file) != entry.text("digest"):
                raise _Unsigned("the boundary file is not the one that the record names")
            self.boundary = self._standing = self._parsed(entry.text("digest"), file)
            if self.boundary.version != entry.fields["version"]:
                raise _Unsigned(f"the boundary file says version {self.boundary.version}, the record another")
            if signatures is None or self.roster is None or (before is not None and standing is None):
                self._unmade("boundaries")
                return
            signed = Signed(file, {str(index): each for index, each in enumerate(_signatures(signatures))})
            loaded = check_parsed(self.boundary, signed, self.roster, before, standing, entry.at + GRACE)
            if len(loaded.signers) < len(entry.texts("signers")):
                raise _Unsigned("the record names more signers than have signed")
        except (RemitError, _Unsigned) as error:
            self._findings.add(Word.BOUNDARY_UNSIGNED, entry.position, _line(error))
        self._made("boundaries")

    def _parsed(self, digest: str, file: bytes) -> Boundary:
        """The boundary in a file; one that is loaded again and again is read once."""
        if self._last_parsed is None or self._last_parsed[0] != digest:
            self._last_parsed = (digest, load(file))
        return self._last_parsed[1]

    def in_force(self, digest: str, at: Instant) -> bool:
        """Whether the boundary of that digest was in force then, or was replaced at most 5 s before."""
        plain = digest.removeprefix("sha256:")
        replaced = self._replaced.get(plain)
        return plain != "" and (plain == self._in_force or (replaced is not None and at <= replaced + MOST_BACK))

    # --- what people sign ------------------------------------------------------------------------------------------

    def vote(self, entry: Entry, paper: bytes | None, digest: str) -> None:
        """One person's yes or no: signed by them, about this action, here and then."""
        self._committed(entry, Word.BAD_APPROVAL, "statement")
        if paper is None or self.roster is None:
            self._unmade("approvals")
            return
        try:
            data, person = self._signer(entry, paper, Namespace.APPROVAL)
            statement = ApprovalStatement.parse(data)
            self._same_person(entry.text("person"), statement.person, person)
            self._once(Word.APPROVAL_REPLAYED, entry, "paper", sha256_hex(data))
            self._fits(statement, entry.at)
            _expect(statement.action == entry.action, "the statement is about another action")
            _expect(statement.digest == digest, "the statement is about another form of the action (its digest)")
            _expect(statement.verb == entry.text("verb"), f"the statement says `{statement.verb}`")
            _expect(self.in_force(statement.boundary_digest, entry.at), "the statement names a boundary not in force")
            if statement.verb == "approve":
                self._may_approve(entry, person)
        except (RemitError, _Unsigned) as error:
            self._findings.add(Word.BAD_APPROVAL, entry.position, _line(error))
        self._made("approvals")

    def _may_approve(self, entry: Entry, person: Person) -> None:
        if self.boundary is None:
            return
        asks = [self.boundary.approvals, *(rule.ask for rule in self.boundary.rules)]
        roles = {role for ask in asks for role in ask.roles}
        _expect(not roles.isdisjoint(map(str, person.roles)), "nobody of that person's roles is asked by the boundary")
        agent = self.boundary.agent(entry.text("agent"))
        if agent is not None and not any(ask.owner_may_approve for ask in asks):
            _expect(agent.owner.casefold() != person.id.casefold(), "the person owns the agent")

    def command(self, entry: Entry, paper: bytes | None) -> None:
        """A signed command, where it was accepted and where it was carried out."""
        accepted = entry.text("stage") == "accepted"
        if accepted:
            self._committed(entry, Word.BAD_STATEMENT, "statement")
        nonce = key_of("nonce", entry.text("nonce"))
        if accepted and self._ledger.first(nonce, entry.position) is not None:
            says = "the command's nonce was accepted before"
            self._findings.add(Word.STATEMENT_REPLAYED, entry.position, says)
        if not accepted and self._ledger.recall(nonce) is None:
            says = "a command was carried out that was not accepted before"
            self._findings.add(Word.BAD_STATEMENT, entry.position, says)
        about = ""
        if paper is not None and self.roster is not None:
            about = self._command(entry, paper)
        elif accepted:
            self._unmade("commands")
        if entry.text("command") in TO_HAND:
            self._remember(entry, about, accepted=accepted)

    def _remember(self, entry: Entry, about: str, *, accepted: bool) -> None:
        command, person, nonce = entry.text("command"), entry.text("person"), entry.text("nonce")
        if accepted:
            self._orders.append(Ordered(command, person, nonce, about, entry.at))
        while self._orders and self._orders[0].at < entry.at - LONGEST_VALIDITY:
            self._orders.popleft()

    def _command(self, entry: Entry, paper: bytes) -> str:
        about = ""
        try:
            data, person = self._signer(entry, paper, Namespace.CONTROL)
            statement = ControlStatement.parse(data)
            self._same_person(entry.text("person"), statement.person, person)
            self._fits(statement, entry.at if entry.text("stage") == "accepted" else statement.issued)
            roles = COMMANDS.get(statement.command)
            _expect(roles is None or not person.roles.isdisjoint(roles), "the person's roles may not order this")
            _expect(statement.command == entry.text("command"), f"the statement commands {shown(statement.command)}")
            _expect(statement.nonce == entry.text("nonce"), "the statement has another nonce")
            for name, found in (("statement", data), ("parameters", encode(statement.parameters))):
                said = entry.fields.get(name)
                _expect(said in (None, sha256_hex(found)), f"the record has another digest of its {name}")
            about = str(statement.parameters.get("action", ""))
        except (RemitError, _Unsigned) as error:
            self._findings.add(Word.BAD_STATEMENT, entry.position, _line(error))
        self._made("commands")
        return about

    def ordered(self, command: str, person: str, at: Instant, about: str = "") -> bool:
        """Whether that person's signed command was accepted within the day before, and is not used up."""
        return self._order(command, person, at, about) is not None

    def use(self, command: str, person: str, at: Instant, about: str) -> bool:
        """The same, and uses it up."""
        order = self._order(command, person, at, about)
        if order is not None:
            self._orders.remove(order)
        return order is not None

    def by_order(self, entry: Entry) -> None:
        """A record that only a person's command brings about follows one."""
        if entry.kind == "settled" and entry.fields.get("hand") is not True:
            return
        person, commands = entry.text("by"), BY_ORDER[entry.kind]
        known = self.ordered if entry.kind == "resume" else self.use
        if not any(known(command, person, entry.at, entry.action) for command in commands):
            says = f"`{entry.kind}`: no command `{commands[0]}` of that person was accepted before"
            self._findings.add(Word.BAD_STATEMENT, entry.position, says)

    def may_erase(self, entry: Entry) -> bool:
        """Whether the tombstone's person ordered an erasure before. That it was carried out stands beside the
        tombstones: before the first of a row, or behind the last."""
        person = entry.text("by")
        if not self.ordered("erase", person, entry.at):
            return False
        if self._carried_out != person:
            self._tombstones.append((entry.position, person))
        return True

    def beside(self, entry: Entry) -> None:
        """What stands beside a row of tombstones. Called for every record that is none."""
        if entry.kind != "statement" and not self._tombstones and not self._carried_out:
            return
        person = ""
        if entry.kind == "statement" and entry.text("command") == "erase" and entry.text("stage") == "carried-out":
            person = entry.text("person")
        if self._tombstones:
            self.close(person)
        self._carried_out = person

    def close(self, person: str = "") -> None:
        """The end of a row of tombstones: those that this person did not order to carry out are forged."""
        for position, by in self._tombstones:
            if by != person:
                says = "no order to erase that was carried out stands beside the tombstone"
                self._findings.add(Word.TOMBSTONE_FORGED, position, says)
        self._tombstones.clear()

    def _order(self, command: str, person: str, at: Instant, about: str) -> Ordered | None:
        for order in self._orders:
            fits = order.command == command and order.person == person and order.about in ("", about)
            if fits and order.at >= at - LONGEST_VALIDITY:
                return order
        return None

    # --- shared ----------------------------------------------------------------------------------------------------

    def _signer(self, entry: Entry, paper: bytes, namespace: Namespace) -> tuple[bytes, Person]:
        """The signed bytes, and the person on the roster in force whose key signed them."""
        assert self.roster is not None
        try:
            found = _paper(paper)
            data = base64.b64decode(found.statement, validate=True)
        except (msgspec.MsgspecError, UnicodeError, binascii.Error, ValueError):
            raise _Unsigned("the payload holds no statement and signature") from None
        keys = [key for person in self.roster.people for key in person.keys]
        person = self.roster.owner(verify(found.signature.encode("utf-8", "replace"), data, namespace, keys))
        if person is None or not person.current(entry.at - GRACE):
            raise _Unsigned("the keys of who signed no longer counted")
        return data, person

    def _committed(self, entry: Entry, word: Word, *roles: str) -> None:
        """That the record commits to what proves it: else it could be left out, as if it were only not disclosed."""
        missing = set(roles).difference(map(role_of, entry.payloads))
        if missing:
            self._findings.add(word, entry.position, f"the record commits to no {' and no '.join(sorted(missing))}")

    def _same_person(self, pseudonym: str, named: str, signer: Person) -> None:
        """That the statement is the signer's own, and that the pseudonym has always stood for them."""
        who = signer.id.casefold()
        _expect(named.casefold() == who, "the statement names another person than who signed it")
        known = self._names.setdefault(pseudonym, who) == who
        known = self._pseudonyms.setdefault(who, pseudonym) == pseudonym and known
        _expect(known, "the record names another person than who signed")

    def _fits(self, statement: ApprovalStatement | ControlStatement, at: Instant) -> None:
        _expect(statement.home == self.home, "the statement is for another home")
        _expect(statement.issued <= at + 2 * GRACE, "the statement was issued later")
        _expect(at < statement.expires + GRACE, "the statement had expired")
        _expect(statement.expires - statement.issued <= LONGEST_VALIDITY, "the statement is valid for too long")

    def _once(self, word: Word, entry: Entry, kind: str, name: str) -> None:
        before = self._ledger.first(key_of(kind, name), entry.position)
        if before is not None:
            self._findings.add(word, entry.position, f"the same statement was counted at position {before}")

    def _made(self, what: str) -> None:
        self.checked[what] = self.checked.get(what, 0) + 1

    def _unmade(self, what: str) -> None:
        self.unchecked[what] = self.unchecked.get(what, 0) + 1


def _signatures(payload: bytes) -> list[bytes]:
    try:
        return [each.encode() for each in _armours(payload)]
    except (msgspec.MsgspecError, UnicodeError):
        raise _Unsigned("the payload holds no list of signatures") from None


def _expect(holds: bool, says: str) -> None:
    if not holds:
        raise _Unsigned(says)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "it cannot be read"
