"""What each kind of record says, in one line.

What lives here: reading a record's fields, whatever is in them. What never may: trusting that they are well-formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from remit.gates.story.words import Entry
from remit.model.words import Json

_Fields = dict[str, Json]


_PSEUDONYMS: Final = ("approvers", "by", "name", "person", "placed_by", "signers", "targets")


def said(entry: Entry, names: Mapping[str, str]) -> Entry:
    """The entry with its one line; `names` are those of the pseudonyms in it, as far as they are known."""
    tell = _LINES.get(entry.kind)
    return replace(entry, says=tell(named(entry.fields, names)) if tell else entry.meaning)


def named(fields: _Fields, names: Mapping[str, str]) -> _Fields:
    """The fields of a record with names in the place of the pseudonyms that are known."""
    return {name: _named(value, names) if name in _PSEUDONYMS else value for name, value in fields.items()}


def pseudonyms(fields: _Fields) -> Iterator[str]:
    """Every pseudonym in a record's fields, and what else stands where one could."""
    for name in _PSEUDONYMS:
        value = fields.get(name)
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


def _named(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


def _text(fields: _Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _names(value: Json) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list) else ""


def _ruling(fields: _Fields) -> str:
    ruling = fields.get("ruling")
    if not isinstance(ruling, dict):
        return "ruled"
    clauses = _names(ruling.get("clauses"))
    return f"ruled {_text(ruling, 'decision')}" + (f" by {clauses}" if clauses else "")


def _intent(fields: _Fields) -> str:
    people = _names(fields.get("approvers"))
    return _ruling(fields) + (f"; approved by {people}" if people else "")


def _outcome(fields: _Fields) -> str:
    sent = fields.get("handed_over")
    note = "; nothing was sent" if sent is False else ""
    why = _text(fields, "why")
    return _text(fields, "state") + (f" ({why})" if why else "") + note


def _settled(fields: _Fields) -> str:
    return (
        f"{'applied' if fields.get('applied') else 'not applied'}, {'by hand' if fields.get('hand') else 'by asking'}"
    )


def _refusal(fields: _Fields) -> str:
    what = ".".join(filter(None, (_text(fields, "connector"), _text(fields, "tool"))))
    return f"refused before it was an action: {_names(fields.get('clauses'))} ({_text(fields, 'why')}) {what}".rstrip()


def _stop(fields: _Fields) -> str:
    scope = " ".join(filter(None, (_text(fields, "scope"), _text(fields, "name"))))
    return f"{_text(fields, 'stop')}: {_text(fields, 'mode')}, {scope}, by {_text(fields, 'by')}"


def _opened(fields: _Fields) -> str:
    return f"opened by {_text(fields, 'by')} for case {_text(fields, 'case')}"


def _closed(fields: _Fields) -> str:
    return f"closed by {_text(fields, 'by')}; {_text(fields, 'calls')} calls, verdict {_text(fields, 'verdict')}"


def _verdict(fields: _Fields) -> str:
    unseen = fields.get("not_shown")
    note = f"; cites {unseen} that it was never shown" if isinstance(unseen, int) and unseen else ""
    cites = _names(fields.get("evidence")) or "nothing"
    return f"the agent claims: {_text(fields, 'verdict')}; cites {cites}{note}{_marks(fields)}"


def _marks(fields: _Fields) -> str:
    """How many of the signals weighed bear which mark."""
    reasons = fields.get("reasons")
    signals = reasons.get("signals") if isinstance(reasons, dict) else None
    marks = [str(each.get("mark")) for each in signals or () if isinstance(each, dict)]
    counted = ", ".join(f"{marks.count(mark)} {mark}" for mark in dict.fromkeys(marks))
    return f"; signals observed: {counted}" if counted else ""


def _hold(fields: _Fields) -> str:
    if fields.get("lifted"):
        return f"hold {_text(fields, 'stop')} was lifted"
    return f"the agent is held after {_text(fields, 'after')} refusals ({_text(fields, 'stop')})"


def _erased(fields: _Fields) -> str:
    erased = fields.get("erased")
    what = _names(list(erased)) if isinstance(erased, dict) else ""
    reason = _text(fields, "reason")
    why = f", because: {reason}" if reason else ""
    return f"erased by {_text(fields, 'by')} under {_text(fields, 'basis')}{why} ({what})"


def _boundary(fields: _Fields) -> str:
    return (
        f"version {_text(fields, 'version')} {_text(fields, 'digest')[:16]}, signed by {_names(fields.get('signers'))}"
    )


_LINES: Final[dict[str, Callable[[_Fields], str]]] = {
    "alert": lambda fields: f"told: {_text(fields, 'code')}",
    "approved": lambda fields: "enough people have approved",
    "asked.again": lambda fields: f"must be asked anew; {_ruling(fields)}",
    "boundary.loaded": _boundary,
    "erased": _erased,
    "expired": lambda fields: "nobody answered in time",
    "hold": _hold,
    "intent": _intent,
    "latch.mended": lambda fields: f"mended by {_text(fields, 'by')}; it begins with {_text(fields, 'stop')}",
    "outcome": _outcome,
    "proposal": _ruling,
    "refusal": _refusal,
    "refused": lambda fields: f"refused at execution; {_ruling(fields)}",
    "resume": lambda fields: f"{_text(fields, 'stop')} lifted by {_text(fields, 'by')}",
    "run.client": lambda fields: "the client named itself",
    "run.closed": _closed,
    "run.opened": _opened,
    "settled": _settled,
    "stop": _stop,
    "verdict": _verdict,
    "void": lambda fields: f"voided by {_text(fields, 'stop')}",
    "vote": lambda fields: f"{_text(fields, 'person')}: {_text(fields, 'verb')}",
    "withdrawn": lambda fields: f"by {_text(fields, 'by')}",
}
