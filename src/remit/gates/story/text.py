"""A story on one screen, and all of it as JSON.

What lives here: layout. What never may: text that is not made safe on its way out. INVARIANT: every line passes
`display` as a whole, after it was put together, and no line of untrusted text begins where a name of ours does.
"""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from remit.gates.story.entries import named
from remit.gates.story.telling import elapsed
from remit.gates.story.words import BoundaryFacts, Cited, Entry, RecordStory, Result, RunFacts, RunStory, Story, Vote
from remit.model.display import safe_line, safe_value
from remit.model.grounding import Mark
from remit.model.words import CredentialClass, Instant, Json, Label, Rationale

_NAME: Final = 12
_MOST_SIGNALS: Final = 6
_MOST_RECORDS: Final = 10
_MOST_STEPS: Final = 60
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_CREDENTIALS: Final[dict[CredentialClass, str]] = {
    CredentialClass.WARRANT: "good for this one action, checked by the connector",
    CredentialClass.EXCHANGED: "a short-lived credential made for this one action",
    CredentialClass.STATIC: "a standing secret of the gateway's; the connector cannot tell one action from another",
    CredentialClass.NONE: "no credential: the connector asks for no proof",
}


def render_text(story: Story, width: int = 100, *, zone: str = "UTC") -> str:
    """The story in at most `width` columns (at least 60), ending in a line feed; times in the IANA zone `zone`.

    One screen for an ordinary action. What is cut off is said to be, and is in `to_json`.
    """
    page = _Page(width, zone)
    at = page.clock(story.proposed_at)[:-4]
    page.line(f"{story.id}   {story.state}   {story.category or 'no category'} ({story.effect})   {at}")
    for name, text in _head(story, page):
        page.row(name, text)
    page.claims(story)
    for name, text in _tail(story, page):
        page.row(name, text)
    page.line(f"Records, times in {zone}")
    page.records(story.entries)
    for entry in story.entries:
        if entry.kind == "erased":
            page.row("Erased", f"{page.clock(entry.at)[:-4]}, {entry.says}")
    for gap in story.gaps:
        page.row("GAP", gap)
    return page.text()


def render_run(story: RunStory, width: int = 100, *, zone: str = "UTC") -> str:
    """A run's timeline in at most `width` columns, ending in a line feed."""
    page = _Page(width, zone)
    run = story.run
    page.line(f"{run.id}   agent {run.agent}   case {run.case}")
    for name, text in _run_rows(run, page):
        page.row(name, text)
    page.line(f"What happened, times in {zone}" + ("; older records are left out" if story.left_out else ""))
    left = len(story.steps) - _MOST_STEPS
    if left > 0:
        page.line(f"  … {left} earlier ones (--json has all)")
    for step in story.steps[-_MOST_STEPS:]:
        of_action = f"  {step.action}" if step.action else ""
        state = f"{step.state}: " if step.state else ""
        page.line(f"  {page.clock(step.at)[:-4]}  {state}{safe_line(step.says, 140)}{of_action}", indent=4)
    return page.text()


def render_record(story: RecordStory, width: int = 100, *, zone: str = "UTC") -> str:
    """A record without an action, with all of its fields, ending in a line feed."""
    page = _Page(width, zone)
    entry = story.entry
    page.line(f"record #{entry.position}   {entry.kind}   {page.clock(entry.at)} {zone}")
    page.row("Says", entry.says)
    page.row("Run", story.run or "none")
    page.row("Agent", story.agent or "none")
    for name, value in named(entry.fields, story.names).items():
        if name not in ("kind", "at", "v", "run", "agent"):
            page.row(safe_line(str(name), 24), value if isinstance(value, str) else msgspec.json.encode(value).decode())
    page.row("SHA-256", entry.sha256 + ("" if entry.intact else " DOES NOT MATCH THE BYTES"))
    return page.text()


def to_json(story: Struct) -> dict[str, Json]:
    """All of a story as JSON values: every text safe to show, times in ISO 8601 with Z."""
    plain: dict[str, Json] = safe_value(_iso(msgspec.to_builtins(story)))
    return plain


def _iso(value: Json, name: str = "") -> Json:
    if isinstance(value, dict):
        return {key: each if key == "fields" else _iso(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_iso(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and (name == "at" or name.endswith("_at")):
        return (_EPOCH + datetime.timedelta(microseconds=value)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


class _Page:
    """Lines in the making. Each is safe, and no wider than the page."""

    def __init__(self, width: int, zone: str) -> None:
        self._width = max(width, 60)
        self._zone = ZoneInfo(zone)
        self._lines: list[str] = []

    def line(self, text: str, *, indent: int = 2) -> None:
        """A line of its own; what does not fit goes on below, indented."""
        self._add(text, "", " " * indent)

    def row(self, name: str, text: str, limit: int = 360) -> None:
        """A named line; what does not fit goes on below, under the text."""
        self._add(f"{name:<{_NAME - 1}} {safe_line(text, limit)}", "", " " * _NAME)

    def quote(self, text: str, limit: int = 360) -> None:
        """Untrusted prose, marked line by line."""
        self._add(safe_line(text, limit), "  | ", "  | ")

    def clock(self, at: Instant) -> str:
        """Date and time to the millisecond in the page's zone."""
        local = (_EPOCH + datetime.timedelta(microseconds=at)).astimezone(self._zone)
        return local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03}"

    def claims(self, story: Story) -> None:
        """Why: the agent's own words, marked as such, and what each piece of evidence is worth."""
        rationale = story.rationale
        if rationale is None:
            gone = "the proposal's payload is no longer kept" if not story.arguments else "the agent gave none"
            self.row("Reasons", gone)
            return
        self.line("Reasons     claimed: the agent's own words, which nobody has checked; observed: by Remit")
        self.quote(f"claimed: {rationale.summary}")
        for cited in story.cited[:_MOST_SIGNALS]:
            self.quote(f"claimed, weighed: {cited.says}", 240)
            self._add(f"observed: {_worth(cited)}", "      ", "      ")
        left = len(rationale.signals) - _MOST_SIGNALS
        if left > 0:
            self.line(f"  and {left} more signals (--json has all)")
        self._beside(rationale)

    def _beside(self, rationale: Rationale) -> None:
        beside = [f"intel {each.name} {each.version}".rstrip() for each in rationale.intel]
        if rationale.skill is not None:
            beside.append(f"skill {rationale.skill.name} {rationale.skill.version}".rstrip())
        if rationale.confidence is not None:
            beside.append(f"confidence {rationale.confidence:g}")
        beside += [f"instead of: {each}" for each in rationale.alternatives]
        if beside:
            self.quote("claimed: " + "; ".join(safe_line(each, 120) for each in beside), 300)

    def records(self, entries: Sequence[Entry]) -> None:
        """One line a record: position, time, kind, what it says, and the beginning of its hash."""
        shown: Iterable[Entry | None] = entries
        if len(entries) > _MOST_RECORDS:
            half = _MOST_RECORDS // 2
            shown = [*entries[:half], None, *entries[-half:]]
        for entry in shown:
            if entry is None:
                self.line(f"  … {len(entries) - _MOST_RECORDS} more (--json has all)")
                continue
            begins = f"  #{entry.position:<6} {self.clock(entry.at)[5:]}  {entry.kind:<11} "
            room = max(self._width - len(begins) - 10, 24)
            self._add(f"{begins}{safe_line(entry.says, room):<{room}}  {entry.sha256[:8]}", "", "    ")

    def text(self) -> str:
        """Everything so far."""
        return "\n".join(self._lines) + "\n"

    def _add(self, text: str, first: str, rest: str) -> None:
        safe = safe_line(text, 1_000)
        self._lines += textwrap.wrap(
            safe, self._width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ) or [first.rstrip()]


def _head(story: Story, page: _Page) -> Iterator[tuple[str, str]]:
    ordered = f", ordered by {story.ordered_by}" if story.ordered_by else ""
    yield "Who", f"agent {story.agent} in case {story.case}{ordered}"
    yield "Target", _targets(story)
    yield "Call", f"{story.connector}.{story.tool} {story.arguments or '(arguments no longer kept)'}"
    if story.secrets:
        names = ", ".join(f"`{safe_line(each, 60)}`" for each in story.secret_arguments) or "names no longer kept"
        yield "Secret", f"arguments given: {names}; {story.secrets}"
    yield "Ruling", _ruling(story)
    yield "Boundary", _boundary(story.boundary, page)
    for name, text in _run_rows(story.run, page):
        if name == "Run":
            yield name, f"{story.run.id}, {text}"


def _tail(story: Story, page: _Page) -> Iterator[tuple[str, str]]:
    yield "Approval", "; ".join([story.approval, *(_vote(vote) for vote in story.votes)])
    yield "Credential", _credential(story)
    yield "Checks", "; ".join(story.checks)
    yield "Came back", _result(story.result)
    ended = f", {page.clock(story.ended_at)}" if story.ended_at is not None else ""
    settled = f"; settled by {story.settled_by}" if story.settled_by and story.settled_by not in story.became else ""
    yield "Became", f"{story.became}{settled}{ended}"
    if story.stopping is not None:
        stop = story.stopping
        lifted = f"; lifted by {stop.lifted_by}" if stop.lifted_by else "; not lifted on record" if stop.by else ""
        by = f" ({stop.mode}, {stop.scope}) by {stop.by}" if stop.by else ""
        yield "Stop", f"{stop.stop}{by}: {stop.effect}{lifted}"
    if story.undoes:
        yield "Undoes", story.undoes
    command = f"`{story.undo.command}`: " if story.undo.command else ""
    yield "Undo", f"{command}{story.undo.says}"


def _targets(story: Story) -> str:
    if not story.targets:
        return "it names none" + ("" if story.bounded else "; nothing bounds what it touches")
    named = ", ".join(story.targets[:8])
    more = f" and {len(story.targets) - 8} more" if len(story.targets) > 8 else ""
    return f"{named}{more}" + ("" if story.bounded else "; and nothing bounds what else it touches")


def _ruling(story: Story) -> str:
    clauses = "; ".join(
        f"{clause.id}{f' ({clause.then})' if clause.then is not story.decision else ''}: {safe_line(clause.says, 160)}"
        for clause in story.clauses
    )
    was = f"; at first {story.proposed_as}" if f"ruled {story.decision} " not in f"{story.proposed_as} " else ""
    return f"{story.decision} by {clauses}{was}"


def _boundary(boundary: BoundaryFacts, page: _Page) -> str:
    name = boundary.name or "(name no longer kept)"
    version = f" version {boundary.version}" if boundary.version else ""
    signed = f"signed by {', '.join(boundary.signers)}" if boundary.signers else "signed by: not on record"
    since = f", loaded {page.clock(boundary.loaded_at)[:16]}" if boundary.loaded_at is not None else ""
    digest = boundary.digest.removeprefix("sha256:") or "none"
    return f"{name}{version}, {signed}{since}, sha256 {digest[:16]}"


def _run_rows(run: RunFacts, page: _Page) -> Iterator[tuple[str, str]]:
    if run.opened_at is None:
        yield "Run", "Remit's own reads" if run.opened_by else "not on record"
        return
    opened = f"opened by {run.opened_by} {page.clock(run.opened_at)[:16]}"
    verdict = f", verdict: {run.verdict}" if run.verdict else ", no verdict"
    may = f"may act on {_some(run.targets)} with {_some(run.categories)}"
    yield "Run", f"{opened}{verdict}; {may}"
    ended = f"closed by {run.closed_by} {page.clock(run.closed_at)[:16]}" if run.closed_at is not None else "not closed"
    until = f"good until {page.clock(run.expires_at)[:16]}" if run.expires_at is not None else ""
    yield "Ends", f"{ended}; {until}; {run.calls} of {run.max_calls} calls"
    yield "Label", _label(run.label)
    declared = "".join(f", {name} {value}" for name, value in run.declared.items())
    yield "Client", f"{run.client or 'did not name itself'}{declared}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "nothing") + more


def _worth(cited: Cited) -> str:
    label = f", {_label(cited.label)}" if cited.label is not None else ""
    mark = cited.mark.upper() if cited.mark is Mark.UNGROUNDED else cited.mark
    if cited.third_party:
        mark, label = f"{mark} (outsiders may have written it)", label.removeprefix(f", {cited.mark}")
    worth = f"{mark}: {cited.why_not}" if cited.why_not else mark
    digest = f", sha256 {cited.digest[:16]}" if cited.digest else ""
    return f"{safe_line(cited.evidence or 'no evidence', 64)}: {worth}{label}{digest}"


def _label(label: Label) -> str:
    source = f", from {safe_line(label.source, 60)}" if label.source else ""
    return f"{label.integrity}, {label.confidentiality}{source}"


def _vote(vote: Vote) -> str:
    verb = "approved" if vote.verb == "approve" else "rejected"
    signature = "signature verified" if vote.verified else f"SIGNATURE NOT VERIFIED: {vote.why_not}"
    return f"{vote.person} {verb} after {elapsed(vote.waited)} ({signature})"


def _credential(story: Story) -> str:
    land = "; a stop may come too late: it may still land" if story.cuttable is False else ""
    if not story.executed:
        return f"none was used: it was not executed (class {story.credential})"
    warrant = f" {story.warrant}" if story.credential is CredentialClass.WARRANT else ""
    return f"{story.credential}{warrant}: {_CREDENTIALS[story.credential]}{land}"


def _result(result: Result | None) -> str:
    if result is None:
        return "nothing"
    kept = {True: "", False: " BYTES DO NOT MATCH", None: " (bytes no longer kept)"}[result.intact]
    digest = f", sha256 {result.digest[:16]}" if result.digest else ""
    excerpt = f": {result.excerpt}" if result.excerpt else ""
    return f"{result.evidence} ({_label(result.label)}){digest}{kept}{excerpt}"
