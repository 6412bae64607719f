"""Correct journals of any length, made from a seed by reading docs/LOG-FORMAT.md and nothing else.

What lives here: the stories that a journal tells, and how they are woven into each other. What never may: remit's own
code for records, statements or signatures. It is a second reading of the page: where the two disagree, the page or one
of them is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.scribe import Action, Record, Scribe
from tests.support.signers import HOUR, NEWCOMER, PEOPLE, boundary_file, compact, roster_file, sha256

Story = Iterator[None]


class Stories(Scribe):
    """What can happen in a home, each as a story that is told up to a `yield` at a time."""

    def new_boundary(self) -> Story:
        self.boundary_version += 1
        self.boundary = boundary_file(self.boundary_version)
        self.command("reload", {}, PEOPLE["olga"], self.load_boundary)
        yield

    def new_roster(self) -> Story:
        self.roster_version += 1
        self.people = (*PEOPLE.values(), NEWCOMER)
        data = roster_file(self.home, self.roster_version, self.people)
        signature = PEOPLE["lena"].sign(data, "roster@remit").decode()
        stem = f"ros_{sha256(data)[:16]}"
        payloads = {f"{stem}.file": self.payload(data), f"{stem}.signatures": self.payload(compact([signature]))}
        signers = [self.person(PEOPLE["lena"])]
        self.add("roster.loaded", payloads, digest=sha256(data), version=self.roster_version, signers=signers)
        self.load_boundary()
        yield

    def restart(self) -> Story:
        self.add("node.stopped", pid=1)
        self.start()
        yield

    def new_run(self) -> Story:
        self.add("run.closed", run=self.run, agent="triage", by="remit", verdict="none", calls=self.position)
        self.open_run()
        yield

    def read(self) -> Story:
        ruling = self.ruling("auto")
        action = self.propose("read", "executing", ruling)
        self.intent(action, ruling)
        yield
        self.outcome(action, erase=self.random.random() < 0.02)
        yield

    def blocked(self) -> Story:
        action = self.propose("destroy", "blocked", self.ruling("forbid"))
        self.alert(action, "forbidden")
        yield

    def waiting(self, quorum: int = 1) -> Action:
        return self.propose("change", "awaiting_approval", self.ruling("approve", quorum))

    def approved(self, quorum: int = 1, again: bool = False) -> Story:
        action = self.waiting(quorum)
        yield
        voters = tuple(self.random.sample([PEOPLE["olga"], PEOPLE["ann"], PEOPLE["bob"]], quorum + again))
        for signer in voters[:quorum]:
            self.vote(action, signer)
            if signer is not voters[quorum - 1]:
                yield
        self.add("approved", **self.about(action))
        if again:
            yield
            ruling = self.ruling("approve", quorum + 1)
            self.add("asked.again", **self.about(action), clauses=["Q-ISO"], ruling=ruling)
            yield
            self.vote(action, voters[-1])
            self.add("approved", **self.about(action))
        yield
        self.intent(action, self.ruling("approve", quorum + again), voters)
        yield
        self.outcome(action)
        yield

    def approved_by_two(self) -> Story:
        return self.approved(2)

    def asked_again(self) -> Story:
        return self.approved(1, again=True)

    def rejected(self) -> Story:
        action = self.waiting()
        yield
        self.vote(action, PEOPLE["bob"], "reject")
        self.alert(action, "rejected")
        yield

    def expired(self) -> Story:
        action = self.waiting()
        yield
        self.add("expired", **self.about(action))
        self.alert(action, "expired")
        yield

    def withdrawn(self) -> Story:
        action = self.waiting()
        yield
        self.add("withdrawn", **self.about(action), by="agent")
        yield

    def refused(self) -> Story:
        action = self.waiting()
        yield
        self.vote(action, PEOPLE["ann"])
        self.add("approved", **self.about(action))
        yield
        self.add("refused", **self.about(action), ruling=self.ruling("forbid"))
        self.alert(action, "refused")
        yield

    def stopped(self) -> Story:
        action = self.waiting()
        yield
        flying = self.waiting()
        self.vote(flying, PEOPLE["ann"])
        self.add("approved", **self.about(flying))
        self.intent(flying, self.ruling("approve", 1), (PEOPLE["ann"],))
        stop, bob = self.id("stp"), self.person(PEOPLE["bob"])
        placed = self.at
        order = {f"{stop}.order": self.payload(compact({"by": "bob", "reason": "exercise"}))}
        said = {"mode": "cut", "scope": "everything", "name": "", "by": bob, "automatic": False}
        self.add("stop", order, stop=stop, placed=placed - HOUR, **said)
        state = {"warrant": flying.warrant, "handed_over": True, "stop": stop, "state": "cut"}
        self.add("outcome", **self.about(flying), **state)
        severed = {"not_sent": [], "severed": [flying.id], "may_still_land": [], "collateral": []}
        self.add("cut", stop=stop, microseconds=41_000, **severed)
        self.add("void", **self.about(action), stop=stop)
        yield
        self.command(
            "resume",
            {"stop": stop},
            PEOPLE["olga"],
            lambda: self.add("resume", stop=stop, by=self.person(PEOPLE["olga"]), placed_by=bob, since=placed),
        )
        self.command(
            "settle",
            {"action": flying.id},
            PEOPLE["olga"],
            lambda: self.add("settled", **self.about(flying), applied=False, hand=True, by=self.person(PEOPLE["olga"])),
        )
        yield

    def crashed(self) -> Story:
        action = self.waiting()
        yield
        self.vote(action, PEOPLE["olga"])
        self.add("approved", **self.about(action))
        self.intent(action, self.ruling("approve", 1), (PEOPLE["olga"],))
        self.start()
        self.add("outcome", **self.about(action), state="unknown", why="crash", warrant=action.warrant)
        self.alert(action, "unknown")
        yield
        self.add("settled", **self.about(action), applied=True, hand=False, by="remit")
        yield

    def concluded(self) -> Story:
        stem = self.id("vrd")
        payloads = {f"{stem}.verdict": self.payload(compact({"verdict": "malicious", "summary": "it beacons"}))}
        about = {"run": self.run, "agent": "triage", "case": "CASE-7"}
        self.add("verdict", payloads, **about, verdict="malicious", evidence=[], not_shown=0)
        yield

    def agreed(self) -> Story:
        """A verdict that a person had to agree to."""
        action = self.propose("change", "awaiting_approval", self.ruling("approve", 1), tool=("remit", "conclude"))
        yield
        self.vote(action, PEOPLE["ann"])
        self.add("approved", **self.about(action))
        yield
        self.intent(action, self.ruling("approve", 1), (PEOPLE["ann"],))
        payloads = {f"{self.id('vrd')}.verdict": self.payload(compact({"verdict": "benign", "summary": "an exercise"}))}
        said = {"case": "CASE-7", "verdict": "benign", "evidence": [], "not_shown": 0}
        self.add("verdict", payloads, **self.about(action), **said)
        done = {"state": "done", "warrant": action.warrant, "handed_over": True}
        self.add("outcome", **self.about(action), **done)
        yield

    def undone(self) -> Story:
        """A change, and a person's order to undo it."""
        ruling, olga = self.ruling("approve", 1), PEOPLE["olga"]
        action = self.waiting()
        self.vote(action, PEOPLE["ann"])
        self.add("approved", **self.about(action))
        self.intent(action, ruling, (PEOPLE["ann"],))
        self.outcome(action)
        yield
        undoing: list[Action] = []

        def proposed() -> None:
            undoing.append(self.propose("change", "executing", ruling, undoes=action.id))
            self.intent(undoing[0], ruling, (olga,))

        self.command("undo", {"action": action.id, "reason": "a false alarm"}, olga, proposed)
        yield
        self.outcome(undoing[0])
        yield

    def secret(self) -> Story:
        """A call with a secret argument, of which nobody knows what became, and which was settled later."""
        action = self.propose("change", "awaiting_approval", self.ruling("approve", 1), secret="ended")
        yield
        self.vote(action, PEOPLE["bob"])
        self.add("approved", **self.about(action))
        self.intent(action, self.ruling("approve", 1), (PEOPLE["bob"],))
        yield
        self.add("outcome", **self.about(action), state="unknown", warrant=action.warrant, handed_over=True)
        self.alert(action, "unknown")
        yield
        self.add("settled", **self.about(action), applied=True, hand=False, by="remit")
        yield

    def secret_rejected(self) -> Story:
        action = self.propose("change", "awaiting_approval", self.ruling("approve", 1), secret="ended")
        yield
        self.vote(action, PEOPLE["ann"], "reject")
        self.alert(action, "rejected")
        yield

    def secret_kept(self) -> Story:
        """A call with a secret argument that nobody has answered when the log ends."""
        self.propose("change", "awaiting_approval", self.ruling("approve", 1), secret="kept")
        yield

    def erased(self) -> Story:
        if not self.doomed:
            ruling = self.ruling("auto")
            action = self.propose("change", "executing", ruling)
            self.intent(action, ruling)
            self.outcome(action, erase=True)
        yield
        if self.doomed:
            self.erase()


ONE_OF_EACH: tuple[str, ...] = (
    "read",
    "approved",
    "approved_by_two",
    "asked_again",
    "blocked",
    "rejected",
    "expired",
    "withdrawn",
    "refused",
    "stopped",
    "crashed",
    "concluded",
    "agreed",
    "undone",
    "secret",
    "secret_rejected",
    "secret_kept",
    "erased",
    "restart",
    "new_run",
    "new_roster",
    "new_boundary",
)
_RARE = ("crashed", "stopped", "erased", "restart", "new_run", "new_roster", "new_boundary")
_AT_ONCE = 4
SHORTEST = 100


@dataclass(frozen=True)
class Made:
    """A journal to be: its home, and its records when they are asked for, once."""

    home: str
    records: Iterator[Record]

    @property
    def origin(self) -> str:
        return f"remit/{self.home}"


def journal(seed: int = 0, length: int = 200) -> Made:
    """A correct journal of at least `length` records, and of at least `SHORTEST`: every story is told to its end."""
    scribe = Stories(seed, max(length, SHORTEST))
    return Made(scribe.home, records_of(scribe))


def records_of(scribe: Stories, chosen: Callable[[random.Random], str] | None = None) -> Iterator[Record]:
    """First one of each story, woven into each other; then mostly reads, or what is `chosen`."""
    chosen = chosen or _next
    scribe.begin()
    first = [*ONE_OF_EACH, *["read"] * 6]
    scribe.random.shuffle(first)
    open_stories: list[Story] = []
    pruned = False
    while True:
        yield from scribe.out
        scribe.out.clear()
        if not scribe.pruned_before and scribe.position * 3 > scribe.length:
            scribe.pruned_before = scribe.at + 1
        if scribe.pruned_before and not pruned and scribe.position * 3 > scribe.length * 2:
            pruned = True
            scribe.prune()
        if len(open_stories) < _AT_ONCE and (first or scribe.position < scribe.length):
            open_stories.append(getattr(scribe, first.pop() if first else chosen(scribe.random))())
        if not open_stories:
            if scribe.doomed:
                scribe.erase()
            yield from scribe.out
            return
        story = scribe.random.choice(open_stories)
        if next(story, story) is story:
            open_stories.remove(story)


def _next(chance: random.Random) -> str:
    draw = chance.random()
    if draw < 0.93:
        return "read"
    return chance.choice(ONE_OF_EACH) if draw < 0.995 else chance.choice(_RARE)
