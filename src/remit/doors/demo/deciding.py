"""The person on call: decides what waits, as the viewer or as a practice person with a rule of thumb.

What lives here: showing the card and carrying a decision to `remit approve` or `remit reject`. What never may: deciding
in any other way than a person at a terminal does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from remit.doors.demo.home import ON_CALL, must, remit
from remit.doors.demo.story import Story

THINKING_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
SHORTEST_QUOTE = 12
_CARD_LINES = 14


@dataclass
class OnCall:
    """See the module. Remembers which actions it has decided."""

    story: Story
    mandate: frozenset[str] = frozenset()
    """What the case names."""
    seen: set[str] = field(default_factory=set)

    def look(self) -> list[dict[str, Any]]:
        """What waits and was not decided yet."""
        waiting = self.story.ask("approvals")["waiting"]
        return [each for each in waiting if each["action"] not in self.seen]

    def decide(self, waiting: dict[str, Any]) -> None:
        """Show the card of one action, decide, and show what followed."""
        story, action = self.story, str(waiting["action"])
        self.seen.add(action)
        if len(self.seen) == 1 or story.options.interactive:
            story.show("approvals", action, most=_CARD_LINES)
            story.screen.line()
        else:
            story.screen.line()
            story.screen.point(
                "one more", f"the agent asks for {waiting['category']} on {', '.join(waiting['targets'])}"
            )
        verb, why = self._verdict(waiting)
        story.screen.point("on call", why)
        story.screen.command(["remit", verb, action])
        said = must(story.programs.run(remit(verb, action, "--yes", "--person", ON_CALL)), f"`remit {verb}`")
        story.screen.output(said.out, most=6)
        story.decisions.append({"action": action, "verb": verb, "person": ON_CALL})

    def _verdict(self, waiting: dict[str, Any]) -> tuple[str, str]:
        story = self.story
        if story.options.interactive:
            answer = story.asked("your decision: [a]pprove or [r]eject, then Enter", PATIENCE_SECONDS)
            if answer is None:
                return "reject", "nobody answered, so it is rejected."
            return ("approve", "you say yes.") if answer.startswith(("a", "y")) else ("reject", "you say no.")
        time.sleep(THINKING_SECONDS)
        claim = str(((waiting["card"] or {}).get("rationale") or {}).get("summary", ""))
        if quotes(claim, story.inject):
            return "reject", "its only reason is a line that somebody wrote into a log. No."
        if self._fits(waiting):
            return "approve", "it is what this case is about, it fits the evidence, and it can be undone. Yes."
        return "reject", "this case does not name that. No."

    def _fits(self, waiting: dict[str, Any]) -> bool:
        targets = waiting["card"]["targets"]
        return bool(targets) and all(each["id"] in self.mandate or each["kind"] == "address" for each in targets)


def quotes(claim: str, planted: str) -> bool:
    """Whether a claim rests on the planted text: it repeats a stretch of it."""
    said, text = " ".join(claim.casefold().split()), " ".join(planted.casefold().split())
    length = min(SHORTEST_QUOTE, len(text))
    return length > 0 and any(text[at : at + length] in said for at in range(len(text) - length + 1))
