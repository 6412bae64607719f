"""What a record can be found by, as plain terms such as `agent=triage`, and what people search for, as the same terms.

What lives here: reading a record and its payload for terms; how text becomes words. What never may: keys, storage, an
answer to a question.

A record has terms of its own: its kind, its run, its agent, its action, what it says. A record about an action can also
change what the action's proposal is found by: it gains terms, and its state is replaced. A verdict replaces the one of
every proposal of its run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from remit.model.display import meant
from remit.model.words import Json, Proposal, Rationale, Source, State

MOST_WORDS: Final = 2_000
"""Different words that one payload is found by. What is beyond cannot be searched for."""

LONGEST_WORD: Final = 128
_WORD = re.compile(r"\w+", re.UNICODE)
_COMPOUND = re.compile(r"\w+(?:[.\-:@/\\]\w+)+", re.UNICODE)
_NAMING: Final = ("not_sent", "severed", "may_still_land", "collateral")
_STATES: Final = {
    "approved": State.APPROVED,
    "asked.again": State.WAITING,
    "refused": State.BLOCKED,
    "withdrawn": State.WITHDRAWN,
    "expired": State.EXPIRED,
    "void": State.VOID,
    "intent": State.EXECUTING,
}
_Fields = Mapping[str, Json]


class FoundBy(Struct, frozen=True, kw_only=True):
    """What one record can be found by.

    `terms` are its own; `gains` are those of the proposal of its action from now on, and `state` replaces the
    proposal's, where it is not empty; `verdict` replaces that of its run. `payload` is the id of the payload whose
    words it can be found by as well.
    """

    terms: tuple[str, ...]
    gains: tuple[str, ...] = ()
    state: str = ""
    verdict: str = ""
    payload: str = ""


class _Conclusion(Struct, frozen=True, kw_only=True):
    rationale: Rationale
    verdict: str = ""
    alternatives: tuple[str, ...] = ()


_proposal = msgspec.json.Decoder(Proposal)
_conclusion = msgspec.json.Decoder(_Conclusion)


def term(field: str, value: str) -> str:
    """One term: the kind of thing, and which one."""
    return f"{field}={value}"


def of_record(kind: str, action: str, run: str, agent: str, fields: _Fields) -> FoundBy:
    """What a record says by itself, whatever is in its fields."""
    terms = [term("kind", kind)]
    terms += [term(field, value) for field, value in (("action", action), ("run", run), ("agent", agent)) if value]
    terms += [term(field, value) for field in ("stop", "digest") for value in _texts(fields.get(field))]
    match kind:
        case "proposal":
            terms += _facts(fields)
            return FoundBy(terms=tuple(terms), state=_text(fields, "state"), payload=f"{action}.proposal")
        case "refusal" | "run.opened":
            return FoundBy(terms=(*terms, *_facts(fields)))
        case "verdict":
            kept = next((each for each in _payloads(fields) if each.endswith(".verdict")), "")
            terms += _facts(fields)
            terms += [term("evidence", each) for each in _texts(fields.get("evidence"))]
            terms += [term("verdict", _text(fields, "verdict")), term("payload", kept)]
            return FoundBy(terms=tuple(terms), verdict=_text(fields, "verdict"), payload=kept)
        case "cut":
            terms += [term("names", each) for name in _NAMING for each in _texts(fields.get(name))]
    if not action:
        return FoundBy(terms=tuple(terms))
    return FoundBy(terms=tuple(terms), gains=tuple(_gains(kind, fields)), state=_state(kind, fields))


def of_payload(payload_id: str, data: bytes, pseudonym: Callable[[str], str] | None = None) -> tuple[str, ...]:
    """The terms in a payload: of a proposal or of a verdict, by its id. Nothing for bytes that are neither.

    With `pseudonym`, also those of all the targets that a proposal lists.
    """
    try:
        if payload_id.endswith(".proposal"):
            proposal = _proposal.decode(data)
            targets = [term("target", pseudonym(each)) for each in proposal.targets] if pseudonym else []
            return (*targets, *_of_proposal(proposal))
        conclusion = _conclusion.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ()
    return tuple(_of_rationale(conclusion.rationale, conclusion.alternatives))


def words(text: str) -> list[str]:
    """The words of a text, folded: whole names and addresses as well as their parts."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    found = _WORD.findall(folded)
    if len(found) > 1:
        found += _COMPOUND.findall(folded)
    return [each[:LONGEST_WORD] for each in found] if len(text) > LONGEST_WORD else found


def asked(text: str) -> tuple[str, ...]:
    """The words that a person typed, to be found together: a name with dots or dashes counts as one word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    compounds = [found[0] for found in _COMPOUND.finditer(folded)]
    rest = _COMPOUND.sub(" ", folded)
    return tuple(dict.fromkeys(each[:LONGEST_WORD] for each in (*compounds, *_WORD.findall(rest))))


def name(text: str) -> str:
    """A skill's or a feed's name as it is looked up: case does not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _facts(fields: _Fields) -> Iterator[str]:
    for field in ("case", "connector", "tool", "category", "undoes"):
        if value := _text(fields, field):
            yield term(field, value)
    yield from (term("target", each) for each in _texts(fields.get("targets")))
    yield from (term("clause", each) for each in _clauses(fields))
    yield from _reasons(fields)


def _reasons(fields: _Fields) -> Iterator[str]:
    """What a record itself keeps of the agent's reasons: pseudonyms, cited evidence, and what that is worth."""
    reasons = fields.get("reasons")
    if not isinstance(reasons, dict):
        return
    yield from (term(field, each) for field in ("skill", "intel") for each in _texts(reasons.get(field)))
    signals = reasons.get("signals")
    for signal in signals if isinstance(signals, list) else []:
        if isinstance(signal, dict):
            yield from (term(field, each) for field in ("evidence", "mark") for each in _texts(signal.get(field)))


def _gains(kind: str, fields: _Fields) -> Iterator[str]:
    yield from (term("clause", each) for each in _clauses(fields) if kind != "alert")
    if kind == "vote":
        yield term("approver", _text(fields, "person"))


def _state(kind: str, fields: _Fields) -> str:
    match kind:
        case "vote":
            return str(State.REJECTED) if fields.get("verb") == "reject" else ""
        case "outcome":
            return _text(fields, "state")
        case "settled":
            return str(State.DONE if fields.get("applied") else State.FAILED)
    return str(_STATES.get(kind, ""))


def _of_proposal(proposal: Proposal) -> tuple[str, ...]:
    try:
        arguments = msgspec.json.decode(proposal.arguments)
    except (msgspec.DecodeError, RecursionError):
        arguments = None
    if isinstance(arguments, dict):
        secret = meant(arguments, proposal.secrets)
        arguments = {key: value for key, value in arguments.items() if key not in secret}
    found = dict.fromkeys(_of_rationale(proposal.rationale, ()) if proposal.rationale else ())
    for each in _strings(arguments):
        for word in words(each):
            if len(found) >= MOST_WORDS:
                return tuple(found)
            found[term("word", word)] = None
    return tuple(found)


def _of_rationale(rationale: Rationale, alternatives: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for source in rationale.intel:
        found |= dict.fromkeys(_source("intel", source))
    if rationale.skill is not None:
        found |= dict.fromkeys(_source("skill", rationale.skill))
    says: list[str] = []
    for signal in rationale.signals:
        if signal.evidence:
            found[term("evidence", signal.evidence)] = None
        says += words(signal.says)
    found |= dict.fromkeys([f"signal={word}" for word in says])
    sources = [each.name for each in (*rationale.intel, *filter(None, (rationale.skill,)))]
    for text in (rationale.summary, *rationale.alternatives, *alternatives, *sources):
        says += words(text)
    found |= dict.fromkeys([f"word={word}" for word in says])
    return list(found)[:MOST_WORDS]


def _source(field: str, source: Source) -> Iterator[str]:
    plain = name(source.name)
    yield term(field, plain)
    if source.version:
        yield term(field, f"{plain}@{name(source.version)}")
    if source.digest:
        yield term(field, name(source.digest))


def _strings(value: Json) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += reversed(each.values())
        elif isinstance(each, list):
            waiting += reversed(each)
        elif isinstance(each, int) and not isinstance(each, bool):
            yield str(each)


def _clauses(fields: _Fields) -> list[str]:
    ruling = fields.get("ruling")
    listed = _texts(ruling.get("clauses")) if isinstance(ruling, dict) else []
    return [*listed, *_texts(fields.get("clauses"))]


def _payloads(fields: _Fields) -> list[str]:
    listed = fields.get("payloads")
    return [str(each) for each in listed] if isinstance(listed, dict) else _texts(fields.get("kept"))


def _texts(value: Json) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _text(fields: _Fields, field: str) -> str:
    value = fields.get(field)
    return value if isinstance(value, str) else ""
