"""The page that tells an action, or a whole case, to somebody who has never seen Remit.

What lives here: which part says what, and in which order. What never may: a word of an agent's outside of a quotation,
a script, anything that the page would have to fetch, markup that `markup` did not make.
"""

from __future__ import annotations

from collections.abc import Iterator

from remit.gates.story import sentences
from remit.gates.story.dossier import Dossier, Exact, LeftOut
from remit.gates.story.markup import Markup, document, each, element, together
from remit.gates.story.sentences import Clock
from remit.gates.story.words import Cited, RecordStory, Story
from remit.model.display import safe_line
from remit.model.words import Decision, Effect, Instant, State

VERSION = 1
"""Raised whenever the same facts would be told in other bytes."""

_LONGEST_QUOTE = 4_000
_WHY_LEFT_OUT = {
    "withheld": "withheld by whoever made this file",
    "secret": "kept back, because it holds something secret",
    "large": "left out, because it is too large for this file",
    "ended": "no longer kept: it was destroyed when the action had ended, as is always done with these",
    "erased": "erased by a person’s signed order",
    "pruned": "no longer kept: its time was over",
    "gone": "no longer kept, and nothing on record says why",
}
_ROLES = {
    "proposal": "the exact arguments and the agent’s reasons",
    "result": "what a system answered",
    "statement": "a person’s signed statement",
    "verdict": "the agent’s conclusion on the case",
    "file": "a file that was in force",
    "signatures": "the signatures of a file",
    "order": "who ordered a stop, and why",
    "mandate": "who opened the agent’s piece of work, and on what",
    "report": "what a comparison with a system’s own trail found",
    "why": "why something was erased",
    "secrets": "the values of the secret arguments",
}


def render_page(dossier: Dossier) -> str:
    """The page as HTML; the same facts give the same bytes. Raises `ZoneInfoNotFoundError` for an unknown zone."""
    page = _Page(dossier, Clock(dossier.zone))
    stories = dossier.stories
    if dossier.case:
        title = f"Case {safe_line(dossier.case, 80)}"
        body = together(page.case_head(), *(page.article(story) for story in stories))
    else:
        title = sentences.headline(stories[0], dossier, page.clock) if stories else "A record of Remit"
        body = together(*(page.story(story, "h1") for story in stories))
    main = element(
        "main",
        element(
            "p",
            "Record of what a software agent did" + (", in a practice home" if dossier.practice else ""),
            class_="kind",
        ),
        body,
        page.common(),
    )
    return document(safe_line(title, 160), main)


class _Page:
    """The parts of one page."""

    def __init__(self, dossier: Dossier, clock: Clock) -> None:
        self.dossier = dossier
        self.clock = clock

    # --- a case ------------------------------------------------------------------------------------------------------

    def case_head(self) -> Markup:
        """The sentence about a case, and one line for each action."""
        stories = self.dossier.stories
        changes = [story for story in stories if story.effect is not Effect.READ]
        done = sum(story.state is State.DONE for story in changes)
        agents = sentences.names(
            [f"“{safe_line(name, 60)}”" for name in sorted({each.agent for each in stories})], self.dossier
        )
        says = (
            f"In case {safe_line(self.dossier.case, 80)}, {agents} looked something up "
            f"{_count(len(stories) - len(changes), 'time')} and asked for {_count(len(changes), 'change')}, of which "
            f"{done or 'none'} {'was' if done == 1 else 'were'} carried out."
        )
        lines = [
            element(
                "li",
                self.time(story.proposed_at),
                element("a", self._short(story), href=f"#{story.id}"),
                " ",
                self._mark(story),
            )
            for story in stories
        ]
        return together(element("h1", says), element("ol", *lines, class_="time"))

    def _short(self, story: Story) -> str:
        return f"{story.agent}: {sentences.does(story, self.dossier)}, {', '.join(story.targets[:3]) or 'no target'}"

    def article(self, story: Story) -> Markup:
        """One action of a case; what only looked something up is folded away."""
        if story.effect is not Effect.READ:
            return element("article", self.story(story, "p"), id=story.id)
        head = element("summary", sentences.headline(story, self.dossier, self.clock))
        return element("details", head, element("div", self.story(story, "p")), id=story.id)

    # --- one action --------------------------------------------------------------------------------------------------

    def story(self, story: Story, head: str) -> Markup:
        """One action from the sentence down to what is missing."""
        headline = sentences.headline(story, self.dossier, self.clock)
        return together(
            element(head, headline, class_="lead"),
            self._marks(story),
            self._facts(story),
            self._gaps(story),
            *self._part("What happened, step by step", self._steps(story)),
            *self._part("Who decided, and under which rule", self._rule(story)),
            *self._part("What the agent knew, and why it asked", self._known(story)),
            *self._part("Who was asked", self._people(story)),
            *self._part("What came back", self._result(story)),
            *self._part("How to undo it", self._undo(story)),
        )

    def _part(self, title: str, body: Markup) -> tuple[Markup, ...]:
        return (element("section", element("h2", title), body),) if body else ()

    def _mark(self, story: Story) -> Markup:
        colour, says = sentences.MARKS[story.state]
        return element("span", says, class_=f"mark {colour}".strip())

    def _marks(self, story: Story) -> Markup:
        marks = [self._mark(story)]
        if story.gaps:
            marks.append(element("span", f"{_count(len(story.gaps), 'thing')} missing or wrong", class_="mark bad"))
        left = [each for each in self.dossier.left_out if each.why != "gone"]
        if left:
            marks.append(element("span", "Parts are left out of this file", class_="mark warn"))
        if self.dossier.practice:
            marks.append(element("span", "Practice: its signatures prove nothing", class_="mark warn"))
        return element("ul", each("li", marks), class_="marks")

    def _facts(self, story: Story) -> Markup:
        purpose = self.dossier.purposes.get(story.agent, "")
        who = f"{sentences.agent(story)}{f', there for {purpose}' if purpose else ''}"
        rows = [
            ("Agent", who[:1].upper() + who[1:]),
            ("Wanted to", f"{sentences.does(story, self.dossier)}"),
            ("On", ", ".join(story.targets) or "nothing that it names"),
            ("Case", story.case + (f", which the agent holds to be {story.run.verdict}" if story.run.verdict else "")),
            ("Sent in by", self._sender(story)),
            ("Through", f"{story.connector}, with {sentences.CREDENTIALS[story.credential]}"),
            ("Number", story.id),
        ]
        return element("dl", *(together(element("dt", name), element("dd", text)) for name, text in rows if text))

    def _sender(self, story: Story) -> str:
        if story.ordered_by:
            return f"{sentences.person(story.ordered_by, self.dossier)} ordered this action"
        return sentences.person(story.run.opened_by, self.dossier) if story.run.opened_by else "not on record"

    def _gaps(self, story: Story) -> Markup:
        if not story.gaps:
            return Markup()
        told = each("li", [f"{gap[:1].upper()}{gap[1:]}." for gap in story.gaps])
        return element(
            "div",
            element("strong", "What is missing, or does not hold"),
            element("ul", told, class_="plain"),
            class_="box alarm",
        )

    def _steps(self, story: Story) -> Markup:
        steps: list[tuple[Instant, str]] = [(story.proposed_at, f"{_capital(sentences.agent(story))} asked.")]
        if story.decision is Decision.FORBID:
            steps.append((story.proposed_at, "The signed rules refused it at once."))
        steps += [(vote.at, sentences.answered(vote, self.dossier)) for vote in story.votes]
        if story.intended_at is not None:
            says = "Every check was made once more and the order was written down; only then was it sent."
            steps.append((story.intended_at, says))
        if story.stopping and story.stopping.at is not None and story.stopping.by:
            by = sentences.person(story.stopping.by, self.dossier)
            steps.append((story.stopping.at, f"{by} ordered a stop ({story.stopping.effect})."))
        if story.ended_at is not None and story.executed:
            took = (
                f" It took {sentences.length(story.ended_at - story.intended_at)}."
                if story.intended_at is not None
                else ""
            )
            steps.append((story.ended_at, f"{sentences.became(story)}.{took}"))
        elif story.ended_at is not None and story.decision is not Decision.FORBID:
            late = "Nobody answered in time, which counts as no. " if story.state is State.EXPIRED else ""
            steps.append((story.ended_at, f"{late}{sentences.became(story)}."))
        items = [element("li", self.time(at), says) for at, says in sorted(steps, key=lambda step: step[0])]
        return element("ol", *items, class_="time")

    def time(self, at: Instant) -> Markup:
        """A time for people, and for programs."""
        return element("time", self.clock.moment(at), datetime=self.clock.exact(at))

    # --- why ---------------------------------------------------------------------------------------------------------

    def _rule(self, story: Story) -> Markup:
        boundary = story.boundary
        name = f"“{boundary.name}”, version {boundary.version}" if boundary.name else "whose name is not in this file"
        signed = (
            f"signed by {sentences.names(boundary.signers, self.dossier)}"
            if boundary.signers
            else "WITHOUT A SIGNATURE ON RECORD"
        )
        since = f", in force since {self.clock.moment(boundary.loaded_at)}" if boundary.loaded_at is not None else ""
        verdict = {
            Decision.AUTO: "the agent may do this without asking",
            Decision.APPROVE: "a person must say yes first",
            Decision.FORBID: "this is not allowed, and nobody can say yes to it",
        }[story.decision]
        rules = [
            element("li", element("strong", clause.id), ": ", sentences.clause(clause.id, clause.says, self.dossier))
            for clause in story.clauses
        ]
        return together(
            element("p", f"Remit decided, not the agent. The rule book {name}, {signed}{since}, says: {verdict}."),
            element("ul", *rules, class_="plain"),
            element(
                "p",
                "Neither the agent’s reasons nor its confidence can change what the rules say.",
                class_="soft small",
            ),
        )

    def _known(self, story: Story) -> Markup:
        rationale = story.rationale
        if rationale is None:
            return element("p", self._absent(story))
        parts = [_quote("The agent’s own words. Nobody has checked them.", rationale.summary)]
        signals = self._signals(story)
        if signals:
            parts += [element("h3", "What it pointed to, and what that is worth"), *signals]
        beside = [f"“{each}”" for each in rationale.alternatives]
        rows = [
            ("Considered instead", "; ".join(beside)),
            (
                "Sure of itself",
                f"{rationale.confidence:.0%}, by its own account" if rationale.confidence is not None else "",
            ),
            ("Relied on", ", ".join(f"{each.name} {each.version}".strip() for each in rationale.intel)),
            ("Used the skill", f"{rationale.skill.name} {rationale.skill.version}".strip() if rationale.skill else ""),
        ]
        more = [together(element("dt", name), element("dd", safe_line(text, 600))) for name, text in rows if text]
        return together(*parts, element("dl", *more, class_="small") if more else None)

    def _absent(self, story: Story) -> str:
        role = next((each for each in self.dossier.left_out if each.id == f"{story.id}.proposal"), None)
        if role is not None:
            return f"The agent’s reasons are not in this file: {_WHY_LEFT_OUT.get(role.why, role.why)}."
        return "The agent gave no reasons." if story.arguments else "The agent’s reasons are no longer kept."

    def _signals(self, story: Story) -> list[Markup]:
        """A box for each piece of evidence with all that the agent claims of it, the bare claims last."""
        cited = {each.evidence: each for each in story.cited}
        claims: dict[str, list[str]] = {}
        for signal in story.rationale.signals if story.rationale else ():
            claims.setdefault(signal.evidence, []).append(signal.says)
        found = [self._evidence(says, cited.get(name)) for name, says in claims.items() if name]
        return found + [_quote("Claimed, with nothing to point to", says) for says in claims.get("", [])]

    def _evidence(self, claims: list[str], cited: Cited | None) -> Markup:
        grade = "alarm" if cited is None or not cited.grounded else "care" if cited.third_party else ""
        worth = sentences.worth(cited, self.clock) if cited else "Not borne out: there is no such evidence."
        return element(
            "div",
            element("span", "Claimed by the agent", class_="says"),
            *(element("p", f"“{safe_line(says, 600)}”") for says in claims),
            element("span", "Checked by Remit", class_="says"),
            element("p", worth, element("span", f" ({cited.evidence})", class_="soft") if cited else None),
            class_=f"box {grade}".strip(),
        )

    def _people(self, story: Story) -> Markup:
        lines = [sentences.answered(vote, self.dossier) for vote in story.votes]
        asked = element("p", sentences.asked(story))
        return together(asked, element("ul", each("li", lines), class_="plain") if lines else None)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def _result(self, story: Story) -> Markup:
        if not story.executed:
            return element("p", "Nothing: no system was asked to do anything.")
        says = [element("p", f"{sentences.became(story)}.")]
        if story.settled_by:
            says.append(element("p", f"What became of it was settled by {safe_line(story.settled_by, 120)}."))
        found = story.result
        if found is None:
            return together(*says, element("p", "No answer of the system is on record.", class_="soft"))
        kept = {
            True: "",
            False: " THE KEPT ANSWER IS NOT THE ONE ON RECORD.",
            None: " The answer itself is not in this file.",
        }
        origin = sentences.origin(found.label.integrity)
        label = f"Answer of “{safe_line(story.connector, 60)}”; it {origin}.{kept[found.intact]}"
        return together(*says, _quote(label, found.excerpt) if found.excerpt else element("p", label, class_="soft"))

    def _undo(self, story: Story) -> Markup:
        command = element("pre", story.undo.command) if story.undo.command and not story.undone_by else None
        late = (
            element("p", "A stop cannot be sure to catch it: once sent, it may still take effect.")
            if story.cuttable is False and story.executed and story.effect is not Effect.READ
            else None
        )
        return together(element("p", sentences.undo(story)), command, late)

    # --- the proof ---------------------------------------------------------------------------------------------------

    def common(self) -> Markup:
        """What is said once: refusals, completeness, what is left out, the proof, the records."""
        return together(
            *self._part("What else was refused", self._refusals()),
            *self._part("Did anything happen past Remit?", self._completeness()),
            *self._part("What this file leaves out", self._left_out()),
            *self._part("Why this can be believed", self._proof()),
            *self._part("The exact records", self._records()),
            self._foot(),
        )

    def _refusals(self) -> Markup:
        found = self.dossier.refusals
        if not found:
            return Markup()
        lines = [element("li", self._refusal(each)) for each in found]
        return together(
            element("p", "Calls in the same piece of work that Remit refused before they were an action:"),
            element("ul", *lines, class_="plain"),
        )

    def _refusal(self, refusal: RecordStory) -> str:
        entry = refusal.entry
        return f"{self.clock.moment(entry.at)}: {safe_line(entry.says, 240)} (entry {_place(entry.position)})"

    def _completeness(self) -> Markup:
        return each("p", [sentences.reconciled(found, self.clock) for found in self.dossier.reconciled])

    def _left_out(self) -> Markup:
        if not self.dossier.left_out:
            return Markup()
        lines = [self._left(one) for one in self.dossier.left_out]
        says = "The log holds a fingerprint of each of these, so it can be told later whether one is the right one."
        return together(element("ul", each("li", lines), class_="plain"), element("p", says, class_="soft small"))

    def _left(self, one: LeftOut) -> str:
        note = f" ({one.note})" if one.note else ""
        return f"{_capital(_ROLES.get(one.role, one.role))} ({one.id}): {_WHY_LEFT_OUT.get(one.why, one.why)}{note}."

    def _proof(self) -> Markup:
        proof, records = self.dossier.proof, self.dossier.records
        which = (
            f"Entry {_place(records[0].position)}" if len(records) == 1 else f"Each of the {len(records)} records below"
        )
        seen = f" whose newest entry is of {self.clock.moment(proof.until)}" if proof.until else ""
        holds = (
            f"{which} is a numbered entry of a log of {proof.size:,} entries{seen}. One number, the log’s fingerprint, "
            "depends on every entry: change a letter in any of them, take one away or slip one in, and the fingerprint "
            "is another. It was signed with the log’s own key. The signed fingerprint is in this file, with the steps "
            "from each record to it."
        )
        return together(
            element("p", holds),
            self._witnesses(),
            element("p", self._absence()),
            element(
                "p",
                "Anyone can check all of this without a network and without asking us: ",
                element("code", "remit log verify FILE --key KEY"),
                ", or with a program of their own, as README.txt in this file tells.",
            ),
            element(
                "dl",
                *(
                    together(element("dt", name), element("dd", element("code", text)))
                    for name, text in self._numbers()
                ),
                class_="small",
            ),
        )

    def _numbers(self) -> Iterator[tuple[str, str]]:
        proof = self.dossier.proof
        yield "Log", proof.origin
        yield "Entries", str(proof.size)
        yield "Fingerprint", proof.root
        for key in proof.keys:
            yield "Signed with", key

    def _witnesses(self) -> Markup:
        cosigned = self.dossier.proof.cosigned
        if not cosigned:
            says = (
                "No independent witness has countersigned it. So whoever holds the log’s key could have written the "
                "whole log anew, and this file alone does not exclude that."
            )
            return element("p", says, class_="box care")
        who = " and ".join(f"{safe_line(one.name, 80)} ({self.clock.moment(one.at)})" for one in cosigned)
        says = (
            f"It was countersigned by {who}. A witness countersigns only a log that goes on from the one it saw "
            "before; to change an entry, whoever holds the log’s key and every one of these witnesses would have to "
            "work together."
        )
        return element("p", says, class_="box")

    def _absence(self) -> str:
        return (
            "What this file proves is that its records stand in that log. That no further record about the same matter "
            "was left out of the file is proved by the log itself, which an auditor can have checked whole."
        )

    def _records(self) -> Markup:
        return together(
            element(
                "p",
                "For whoever checks: what the log holds, letter by letter. Names stand as keyed numbers.",
                class_="soft small",
            ),
            *(self._record(one) for one in self.dossier.records),
        )

    def _record(self, one: Exact) -> Markup:
        head = element(
            "summary", f"Entry {_place(one.position)}, {self.clock.moment(one.at)}: {safe_line(one.says, 140)}"
        )
        body = element("div", element("pre", one.text), element("p", f"SHA-256 {one.sha256}", class_="small soft"))
        return element("details", head, body)

    def _foot(self) -> Markup:
        says = (
            f"Times are in {self.clock.zone}. Home {self.dossier.home}. Text that agents or systems wrote stands in "
            "quotation; signs that could deceive are shown as ⟦ ⟧."
        )
        return element("footer", says)


def _quote(label: str, text: str) -> Markup:
    return element("blockquote", element("span", label, class_="says"), element("p", text[:_LONGEST_QUOTE]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _place(position: int) -> str:
    """A position as people count it in the log: from 0, as the format does."""
    return f"{position:,}"
