"""The card that a human is shown before deciding on an action.

What lives here: the card as a value, its digest, and its two screens as text. What never may: anything that changes
while the card is looked at (time left, other people's votes) inside the digest, and untrusted text that is not made
safe on its way to the screen.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from remit.model.canonical import encode, sha256_hex
from remit.model.display import SECRET, safe_line, safe_text, without_values
from remit.model.grounding import Mark, mark_of
from remit.model.manifest import Support
from remit.model.words import (
    SECOND,
    Action,
    Ask,
    Clause,
    CredentialClass,
    Decision,
    Effect,
    Evidence,
    Instant,
    Label,
    Proposal,
    Rationale,
    Source,
    Target,
)

_MOST_TARGETS_SHOWN: Final = 12
_LONGEST_EXCERPT: Final = 1_200
_WIDTH: Final = 13

_CREDENTIALS: Final[dict[CredentialClass, str]] = {
    CredentialClass.WARRANT: "a warrant for this one action, which the connector checks",
    CredentialClass.EXCHANGED: "a short-lived credential made for this one action",
    CredentialClass.STATIC: "a standing secret of the gateway's: the connector cannot tell one action from another",
    CredentialClass.NONE: "none: the connector asks for no proof",
}
_CANNOT_UNDO: Final[dict[Effect, str]] = {
    Effect.DESTROY: "none: what it destroys is gone",
    Effect.SEND: "none: what it sends cannot be called back",
}


class Cited(Struct, frozen=True, kw_only=True):
    """A signal that the agent weighed, and the evidence that it cites for it (empty where it cites none): both claimed.
    Observed by Remit are mark, label and text. Without a label the run was never shown such evidence."""

    evidence: str
    says: str
    mark: Mark = Mark.UNGROUNDED
    label: Label | None = None
    excerpt: str = ""


class Card(Struct, frozen=True, kw_only=True):
    """What a human decides on. `expires_at` is when silence becomes a rejection.

    The digest of the card covers all of it, so everything in it stands still while people look at it.
    """

    home: str
    action: str
    digest: str
    boundary: str
    agent: str
    owner: str
    purpose: str
    run: str
    case: str
    connector: str
    tool: str
    category: str
    does: str
    effect: Effect
    targets: tuple[Target, ...]
    bounded: bool
    worst_case: str
    undo: str
    opened_at: Instant
    expires_at: Instant | None
    credential: CredentialClass
    cuttable: bool
    arguments: str
    clauses: tuple[Clause, ...]
    ask: Ask
    rationale: Rationale | None = None
    cited: tuple[Cited, ...] = ()
    practice: bool = False


def card(
    action: Action,
    proposal: Proposal,
    targets: Sequence[Target],
    *,
    home: str,
    owner: str = "",
    purpose: str = "",
    does: str = "",
    undo: Support | None = None,
    cuttable: bool = False,
    evidence: Mapping[str, tuple[Evidence, str]] | None = None,
    practice: bool = False,
    secrets: Collection[str] = (),
    worst: str = "",
) -> Card:
    """The card of an action as it was ruled.

    `targets` are the action's, as the inventory has them now. `evidence` holds the run's own pieces by id, each with
    the text to show of it; a cited id that is not among them is shown as such. `secrets` names the arguments that
    the manifest says are secret now, beside those that it said were when the action was proposed. `worst` is the worst
    case where it is none of the targets' own.
    """
    return Card(
        home=home,
        action=action.id,
        digest=action.digest,
        boundary=action.ruling.boundary,
        agent=action.agent,
        owner=owner,
        purpose=purpose,
        run=action.run,
        case=action.case,
        connector=action.connector,
        tool=action.tool,
        category=action.category,
        does=does,
        effect=action.effect,
        targets=tuple(targets),
        bounded=action.bounded,
        worst_case=worst or worst_case(action.effect, targets, bounded=action.bounded),
        undo=_undo(action.effect, undo),
        opened_at=action.opened_at,
        expires_at=action.expires_at,
        credential=action.credential,
        cuttable=cuttable,
        arguments=without_values(proposal.arguments, {*proposal.secrets, *secrets}),
        clauses=tuple(each for each in action.ruling.clauses if each.then is Decision.APPROVE),
        ask=action.ruling.ask or Ask(),
        rationale=proposal.rationale,
        cited=_cited(action, proposal.rationale, evidence or {}),
        practice=practice,
    )


def card_digest(shown_card: Card) -> str:
    """SHA-256 (hexadecimal) over RFC 8785 of the card."""
    return sha256_hex(encode(msgspec.to_builtins(shown_card)))


def worst_case(effect: Effect, targets: Sequence[Target], *, bounded: bool) -> str:
    """The worst that the action can do, in one sentence."""
    does = {
        Effect.READ: "shows the agent what is there",
        Effect.CHANGE: "changes",
        Effect.DESTROY: "destroys for good",
        Effect.SEND: "sends content away about",
    }[effect]
    if not bounded:
        return f"{does} more than is named here: nothing bounds what it touches"
    named = f"{len(targets)} targets" if len(targets) != 1 else f"`{targets[0].id}`"
    remarks = [f"`{each.id}` is not in the inventory and could be anything" for each in targets if not each.known]
    remarks += [f"`{each.id}` is a privileged {each.kind or 'target'}" for each in targets if each.privileged]
    remarks += [
        f"nobody knows whether `{each.id}` is privileged" for each in targets if each.known and each.privileged is None
    ]
    more = f" and {len(remarks) - 3} more like it" if len(remarks) > 3 else ""
    return (
        f"{does} {named if targets else 'what the tool is about'}" + "".join(f"; {each}" for each in remarks[:3]) + more
    )


def _undo(effect: Effect, undo: Support | None) -> str:
    if undo is not None:
        return f"`{undo.tool}`, by `remit undo`"
    return _CANNOT_UNDO.get(effect, "none: the connector declares nothing that takes it back")


def _cited(
    action: Action, rationale: Rationale | None, evidence: Mapping[str, tuple[Evidence, str]]
) -> tuple[Cited, ...]:
    cited = []
    for signal in rationale.signals if rationale is not None else ():
        found = evidence.get(signal.evidence)
        if found is None or found[0].run != action.run:
            cited.append(Cited(evidence=signal.evidence, says=signal.says))
            continue
        shown = Cited(
            evidence=signal.evidence,
            says=signal.says,
            mark=mark_of(found[0], action.run, action.opened_at),
            label=found[0].label,
            excerpt=found[1][:_LONGEST_EXCERPT],
        )
        cited.append(shown)
    return tuple(cited)


def render_text(shown_card: Card, page: Literal[1, 2] = 1, *, now: Instant, said_yes: Sequence[str] = ()) -> str:
    """One screen of the card for a terminal, ending in a line feed: 1 is what a decision needs, 2 all the rest.

    Everything untrusted in it is inert. `said_yes` are the people whose approval counts already.
    """
    lines = _first_screen(shown_card, now) if page == 1 else _second_screen(shown_card, said_yes)
    return "\n".join(lines) + "\n"


def _first_screen(shown_card: Card, now: Instant) -> list[str]:
    practice = "PRACTICE  " if shown_card.practice else ""
    does = f"{safe_line(shown_card.does)} " if shown_card.does else ""
    lines = [
        f"{practice}{safe_line(shown_card.action)}",
        "",
        f"{safe_line(shown_card.agent)} wants to {does}({safe_line(shown_card.category)}, {shown_card.effect})",
        *_target_lines(shown_card),
        "",
        _row("Worst case", shown_card.worst_case),
        _row("Undo", shown_card.undo),
        _row("Time left", _time_left(shown_card, now)),
        _row("No answer", "it is rejected, and nothing happens"),
        _row("Credential", f"{shown_card.credential}: {_CREDENTIALS[shown_card.credential]}"),
    ]
    if not shown_card.cuttable:
        lines.append(_row("Stop", "may still land: once started, a stop cannot sever it for certain"))
    action = safe_line(shown_card.action)
    lines += ["", f"remit approve {action}    remit reject {action}    remit approvals {action} --more"]
    return lines


def _target_lines(shown_card: Card) -> list[str]:
    if not shown_card.targets:
        return ["  on no target that it names"]
    lines = [f"  {_target_line(target)}" for target in shown_card.targets[:_MOST_TARGETS_SHOWN]]
    left = len(shown_card.targets) - _MOST_TARGETS_SHOWN
    return [*lines, f"  and {left} more"] if left > 0 else lines


def _target_line(target: Target) -> str:
    if not target.known:
        return f"{safe_line(target.id)}  (not in the inventory)"
    privileged = {True: "privileged", False: "not privileged", None: "privilege unknown"}[target.privileged]
    owner = f", owner {target.owner}" if target.owner else ""
    return safe_line(f"{target.id}  ({target.kind or 'kind unknown'}, {privileged}{owner})")


def _time_left(shown_card: Card, now: Instant) -> str:
    if shown_card.expires_at is None:
        return "not limited"
    left = (shown_card.expires_at - now) // SECOND
    if left < 0 or shown_card.expires_at <= now:
        return f"none: it expired at {_clock(shown_card.expires_at)}"
    minutes, seconds = divmod(left, 60)
    return f"{minutes} min {seconds} s, until {_clock(shown_card.expires_at)}"


def _clock(at: Instant) -> str:
    """ISO 8601, to the second, in UTC."""
    moment = datetime.datetime.fromtimestamp(at // SECOND, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _votes(shown_card: Card, said_yes: Sequence[str]) -> str:
    names = f" ({', '.join(safe_line(each, 60) for each in said_yes)})" if said_yes else ""
    roles = " or ".join(shown_card.ask.roles)
    return f"{len(said_yes)} of {max(shown_card.ask.quorum, 1)}{names}; asked of: {roles}"


def _row(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}}{safe_line(text, 400)}"


def _second_screen(shown_card: Card, said_yes: Sequence[str]) -> list[str]:
    lines = [
        f"{safe_line(shown_card.action)}, all of it",
        "",
        _row("Agent", f"{shown_card.agent}, owned by {shown_card.owner or 'nobody'}: {shown_card.purpose}"),
        _row("Run", f"{shown_card.run}, case {shown_card.case}, proposed {_clock(shown_card.opened_at)}"),
        _row("Calls", f"{shown_card.tool} of {shown_card.connector}"),
        _row("Said yes", _votes(shown_card, said_yes)),
        _row("Digest", shown_card.digest),
        "",
        "Targets",
        *(f"  {_target_line(target)}" for target in shown_card.targets),
        "",
        "Exact arguments, as they are sent" + (", without the secret ones" if SECRET in shown_card.arguments else ""),
        *_block(shown_card.arguments),
        "",
        "Who asks you, and why",
        *(f"  {safe_line(each.id, 60)}: {safe_line(each.says, 300)}" for each in shown_card.clauses),
        "",
        *_rationale_lines(shown_card.rationale),
    ]
    for cited in shown_card.cited:
        lines += ["", *_cited_lines(cited)]
    return lines


def _rationale_lines(rationale: Rationale | None) -> list[str]:
    if rationale is None:
        return ["The agent gives no reasons"]
    lines = ["Claimed by the agent (its own words; nobody has checked them)", *_block(rationale.summary)]
    lines += [f"  intel, claimed: {_source(each)}" for each in rationale.intel]
    if rationale.skill is not None:
        lines.append(f"  skill, claimed: {_source(rationale.skill)}")
    if rationale.confidence is not None:
        lines.append(f"  confidence, claimed: {rationale.confidence:g}")
    return lines + [f"  alternative, claimed: {safe_line(each, 300)}" for each in rationale.alternatives]


def _source(source: Source) -> str:
    digest = f"({source.digest})" if source.digest else ""
    return safe_line(" ".join(filter(None, (source.name, source.version, digest))))


def _cited_lines(cited: Cited) -> list[str]:
    lines = [f"Weighed, claimed: {safe_line(cited.says, 300)}"]
    name = safe_line(cited.evidence, 64)
    if not cited.evidence:
        return [*lines, f"  observed: {cited.mark}, it cites no evidence"]
    if cited.label is None:
        return [*lines, f"  observed: {cited.mark}, it cites {name}, which this run was never shown"]
    label = f"{cited.label.integrity}, {cited.label.confidentiality}, from {safe_line(cited.label.source, 60)}"
    return [*lines, f"  observed: {cited.mark}, it cites {name} ({label})", *_block(cited.excerpt)]


def _block(text: str) -> list[str]:
    """Text of any kind, inert and marked line by line, so that no line of it passes for one of the card's."""
    return [f"  | {line}" for line in safe_text(text).replace("\r", "⏎").split("\n")] if text else []
