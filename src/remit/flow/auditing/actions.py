"""The life of every action: what may follow what, under which ruling, with whose yes.

What lives here: docs/LOG-FORMAT.md, section 6, and the rules `action-twice`, `no-proposal`, `intent-without-ruling`,
`not-approved` and `outcome-without-intent`. What never may: signatures (those are `people`'s).

INVARIANT: memory holds only actions that have not ended. Of those that have, the ledger knows that they were proposed.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from remit.flow.auditing.findings import Findings, Word
from remit.flow.auditing.ledger import Ledger, key_of
from remit.flow.auditing.people import People
from remit.flow.auditing.records import Entry
from remit.model.display import shown
from remit.model.words import REMIT, Json

_DECIDING = frozenset({"vote", "approved", "withdrawn", "expired", "void"})

AFTER: dict[str, frozenset[str]] = {
    "executing": frozenset({"intent"}),
    "waiting": _DECIDING,
    "approved": frozenset({"intent", "asked.again", "refused", "withdrawn", "expired", "void"}),
    "concluding": frozenset(),
    "intended": frozenset({"outcome"}),
}
"""What may follow, by where an action stands. What has ended stands nowhere, and nothing follows; that an outcome which
is not known may be settled is remembered in the ledger alone."""

LIFE = frozenset({"proposal", "settled"}).union(*AFTER.values())
"""The kinds of records that move an action on."""

MENTIONS = frozenset({"alert", "hold", "statement", "erased"})
"""The kinds that may name an action at any time after its proposal."""

_BEGUN = ("intended", "concluding")
_ENDS = frozenset({"outcome", "refused", "withdrawn", "expired", "void"})
_STANDS = {"executing": "executing", "awaiting_approval": "waiting"}


def ends(kind: str, fields: Mapping[str, Json]) -> bool:
    """Whether an action that was open neither waits nor is on its way after a record of this kind with these fields."""
    return kind in _ENDS or (kind == "vote" and fields.get("verb") == "reject")


class Life(Struct):
    """Where one action stands. `position` is that of its intent, once it has one."""

    position: int
    stands: str
    digest: str
    effect: str
    ruling: dict[str, Json]
    undoes: str
    concludes: bool
    opener: str
    voted: list[str]
    warrant: str = ""


class Actions:
    """Follows every action. Owned by one pass."""

    def __init__(self, findings: Findings, ledger: Ledger, people: People) -> None:
        self._findings = findings
        self._ledger = ledger
        self._people = people
        self._open: dict[str, Life] = {}
        self._openers: list[str] = []
        self._opener_index: dict[str, int] = {}
        self.proposed = 0

    def run_opened(self, entry: Entry) -> None:
        """Remember who opened a run: nobody approves in a run that they opened."""
        by = entry.text("by")
        index = self._opener_index.setdefault(by, len(self._openers))
        if index == len(self._openers):
            self._openers.append(by)
        self._ledger.first(key_of("run", entry.run), index)

    def take(self, entry: Entry, paper: bytes | None) -> None:
        """One record about an action, in the log's order. `paper` is a vote's statement, where it was disclosed."""
        kind = entry.kind
        if kind == "proposal":
            self._propose(entry)
            return
        if kind == "settled":
            self._settled(entry)
            return
        life = self._open.get(entry.action)
        if life is None:
            self._unexpected(entry, "nothing was proposed under this id that has not ended")
            return
        if kind not in AFTER[life.stands]:
            self._unexpected(entry, f"it cannot follow while the action is {life.stands}")
        if kind == "intent":
            self._intent(entry, life)
        elif kind == "outcome":
            self._outcome(entry, life)
        else:
            self._move(entry, life, paper)

    def effect_of(self, action: str) -> str:
        """The effect of an action that has not ended; empty for any other."""
        life = self._open.get(action)
        return life.effect if life is not None else ""

    def is_open(self, action: str) -> bool:
        """Whether an action waits or is on its way after all that was taken."""
        return action in self._open

    def open_at_end(self) -> tuple[tuple[int, str], ...]:
        """Position of the intent and id of each action whose outcome is not in the log yet, in order."""
        found = ((life.position, action) for action, life in self._open.items() if life.stands in _BEGUN)
        return tuple(sorted(found))

    # --- steps -----------------------------------------------------------------------------------------------------

    def _propose(self, entry: Entry) -> None:
        before = self._ledger.first(key_of("action", entry.action), entry.position)
        if before is not None:
            says = f"action {shown(entry.action)} was proposed before, at position {before}"
            self._findings.add(Word.ACTION_TWICE, entry.position, says)
            return
        self.proposed += 1
        fields = entry.fields
        stands = _STANDS.get(fields["state"])
        if stands is None:
            return
        opener = self._ledger.recall(key_of("run", entry.run)) if stands == "waiting" else None
        self._open[entry.action] = Life(
            position=entry.position,
            stands=stands,
            digest=fields["digest"],
            effect=fields["effect"],
            ruling=fields["ruling"],
            undoes=entry.text("undoes"),
            concludes=fields["connector"] == REMIT and fields["tool"] == "conclude",
            opener=self._openers[opener] if opener is not None else "",
            voted=[],
        )

    def concluded(self, entry: Entry) -> None:
        """A verdict that a person had to agree to stands between the intent and the outcome of its action; any other
        names no action."""
        life = self._open.get(entry.action)
        if life is not None and life.stands == "concluding":
            life.stands = "intended"
        elif entry.action:
            self._unexpected(entry, "no action to conclude has its intent just before it")

    def mention(self, entry: Entry) -> None:
        """A record that may name an action at any time after its proposal."""
        if self._ledger.recall(key_of("action", entry.action)) is None:
            self._unexpected(entry, "nothing was proposed under this id before")

    def _unexpected(self, entry: Entry, says: str) -> None:
        word = Word.OUTCOME_WITHOUT_INTENT if entry.kind == "outcome" else Word.NO_PROPOSAL
        self._findings.add(word, entry.position, f"`{entry.kind}` of action {shown(entry.action)}: {says}")

    def _move(self, entry: Entry, life: Life, paper: bytes | None) -> None:
        match entry.kind:
            case "vote":
                self._vote(entry, life, paper)
            case "approved":
                life.stands = "approved"
            case "asked.again":
                life.stands, life.ruling = "waiting", entry.fields["ruling"]
            case _:
                del self._open[entry.action]

    def _vote(self, entry: Entry, life: Life, paper: bytes | None) -> None:
        self._people.vote(entry, paper, life.digest)
        person = entry.text("person")
        if entry.text("verb") == "reject":
            del self._open[entry.action]
            return
        if person in life.voted:
            says = f"one person has approved action {shown(entry.action)} twice"
            self._findings.add(Word.NOT_APPROVED, entry.position, says)
        elif person == life.opener:
            says = f"the person who approves action {shown(entry.action)} opened its run"
            self._findings.add(Word.BAD_APPROVAL, entry.position, says)
        else:
            life.voted.append(person)

    def _intent(self, entry: Entry, life: Life) -> None:
        ruling: dict[str, Json] = entry.fields["ruling"]
        problem = self._unruled(entry, life, ruling)
        if problem:
            says = f"the intent of action {shown(entry.action)}: {problem}"
            self._findings.add(Word.INTENT_WITHOUT_RULING, entry.position, says)
        elif ruling["decision"] == "approve":
            self._approved(entry, life, max(ruling["quorum"], 1))
        stands = "concluding" if life.concludes else "intended"
        life.stands, life.warrant, life.position = stands, entry.fields["warrant"], entry.position

    def _unruled(self, entry: Entry, life: Life, ruling: dict[str, Json]) -> str:
        """What is wrong with the ruling that an intent rests on, or nothing."""
        if ruling["decision"] == "forbid":
            return "its ruling forbids it"
        if entry.fields["digest"] != life.digest:
            return "it is about another form of the action than was proposed (its digest)"
        if life.stands == "executing" and ruling != life.ruling:
            return "its ruling is another than its proposal's, in the same moment"
        if not self._people.in_force(str(ruling["boundary"]), entry.at):
            return "the boundary of its ruling is not in force"
        return ""

    def _approved(self, entry: Entry, life: Life, needed: int) -> None:
        named = entry.texts("approvers")
        if life.undoes and not life.voted and needed == 1 and len(named) == 1:
            if not self._people.use("undo", named[0], entry.at, life.undoes):
                says = f"action {shown(entry.action)} undoes another, and nobody's signed order to do so came before"
                self._findings.add(Word.NOT_APPROVED, entry.position, says)
            return
        problem = ""
        if len(life.voted) < needed:
            problem = f"needs {needed} people, and {len(life.voted)} have approved it"
        elif not set(named) <= set(life.voted):
            problem = "names approvers who have not approved it"
        if problem:
            self._findings.add(Word.NOT_APPROVED, entry.position, f"action {shown(entry.action)} {problem}")

    def _outcome(self, entry: Entry, life: Life) -> None:
        if life.stands in _BEGUN and entry.fields["warrant"] != life.warrant:
            self._unexpected(entry, "its warrant is not the intent's")
        del self._open[entry.action]
        state = entry.fields["state"]
        if state == "unknown" or (state == "cut" and entry.fields.get("handed_over") is True):
            self._ledger.first(key_of("unsettled", entry.action), entry.position)

    def _settled(self, entry: Entry) -> None:
        if self._ledger.recall(key_of("unsettled", entry.action)) is None:
            self._unexpected(entry, "no outcome came before that is not known")
        elif self._ledger.first(key_of("settled", entry.action), entry.position) is not None:
            self._unexpected(entry, "it was settled before")
