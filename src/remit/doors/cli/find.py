"""`remit find`: actions by what people remember of them: target, agent, case, state, person, reasons, words, time."""

from __future__ import annotations

import argparse
import datetime
import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from remit.doors.cli.answering import home_path, show

if TYPE_CHECKING:
    from remit.flow.queries import Found
    from remit.flow.query import Query
    from remit.gates.story import RecordStory
    from remit.model.words import Action, Instant

COLUMNS = (("time", 19), ("id", 20), ("agent", 12), ("what", 18), ("state", 17), ("by", 12), ("target", 40))
VERDICTS = ("malicious", "benign", "undetermined")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that is given must match."""
    parser.add_argument("--target", default="", metavar="NAME", help="as you would type it: any case, alias, `dns-*`")
    parser.add_argument("--agent", default="", metavar="NAME", help="the agent that proposed")
    parser.add_argument("--run", default="", metavar="ID", dest="run_id", help="one run")
    parser.add_argument("--case", default="", metavar="CASE", help="one case")
    parser.add_argument("--category", default="", metavar="NAME", help="a kind of action, like `host.isolate`")
    parser.add_argument("--connector", default="", metavar="NAME", help="one connector")
    parser.add_argument("--state", action="append", default=[], metavar="STATE", help="a state; may be given again")
    parser.add_argument("--clause", default="", metavar="ID", help="a clause that decided")
    parser.add_argument("--approver", default="", metavar="PERSON", help="who voted on it, either way")
    parser.add_argument("--verdict", default="", metavar="VERDICT", help="what its run concluded: `malicious`, …")
    parser.add_argument("--skill", default="", metavar="NAME", help="a skill that the agent named, or `NAME@VERSION`")
    parser.add_argument("--intel", default="", metavar="FEED", help="a feed that it relied on, or `FEED@VERSION`")
    parser.add_argument("--evidence", default="", metavar="ID", help="evidence that it cited (ev_…)")
    parser.add_argument("--signal", default="", metavar="WORDS", help="words of a signal that the agent weighed")
    parser.add_argument("--words", default="", metavar="WORDS", help="words of its reasons, arguments or verdict")
    parser.add_argument("--at", metavar="WHEN", help="around a time: `today 03:00`, `last night`, `2h ago`")
    parser.add_argument("--since", metavar="WHEN", help="from then on")
    parser.add_argument("--until", metavar="WHEN", help="up to then")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")


def run(arguments: argparse.Namespace) -> int:
    """Look. Works without a gateway. Exit code 1 where nothing matches."""
    from remit.flow.queries import Stories
    from remit.offline import open_reads, open_search

    home = home_path(arguments)
    reads = open_reads(home)
    stories = Stories(reads, searching=open_search(home, reads))
    query = query_of(arguments, stories.zone, _now())
    found = stories.find(query)
    show(arguments, as_json(found, query, stories.zone), table(found, query, stories.zone))
    return 0 if found.actions or found.refusals or found.verdicts else 1


def query_of(arguments: argparse.Namespace, zone: str, now: Instant) -> Query:
    """What was asked for. Raises `Misuse` for a time, a state or a limit that is none."""
    from remit.flow.query import Query
    from remit.model.errors import Misuse

    if not 1 <= arguments.limit <= 100_000:
        raise Misuse(f"`--limit` is `{arguments.limit}`, expected 1 to 100000")
    since, until = _times(arguments, zone, now)
    return Query(
        target=arguments.target,
        agent=arguments.agent,
        run=arguments.run_id,
        case=arguments.case,
        category=arguments.category,
        connector=arguments.connector,
        states=tuple(_state(each) for each in arguments.state),
        clause=arguments.clause,
        approver=arguments.approver,
        verdict=_verdict(arguments.verdict),
        skill=arguments.skill,
        intel=arguments.intel,
        evidence=arguments.evidence,
        signal=_worded("--signal", arguments.signal),
        words=_worded("--words", arguments.words),
        since=since,
        until=until,
        limit=arguments.limit,
    )


def _times(arguments: argparse.Namespace, zone: str, now: Instant) -> tuple[Instant | None, Instant | None]:
    from remit.gates import phrases
    from remit.model.errors import Misuse

    if arguments.at is not None:
        if arguments.since is not None or arguments.until is not None:
            raise Misuse("`--at` names a window by itself", hint="leave out `--since` and `--until`, or `--at`")
        return phrases.window(arguments.at, now, zone)
    since = phrases.beginning(arguments.since, now, zone) if arguments.since is not None else None
    until = phrases.end(arguments.until, now, zone) if arguments.until is not None else None
    if since is not None and until is not None and until < since:
        raise Misuse("`--until` is before `--since`", hint="put the earlier time into `--since`")
    return since, until


def _worded(option: str, text: str) -> str:
    from remit.gates.search import asked
    from remit.model.display import shown
    from remit.model.errors import Misuse

    if text and not asked(text):
        raise Misuse(f"`{option}` {shown(text)} has no word to look for", hint="letters or digits make a word")
    return text


def _verdict(word: str) -> str:
    from remit.model.display import shown
    from remit.model.errors import Misuse

    plain = word.casefold()
    if plain not in ("", *VERDICTS):
        hint = "verdicts: " + ", ".join(f"`{each}`" for each in VERDICTS)
        raise Misuse(f"there is no verdict {shown(word)}", hint=hint)
    return plain


def _state(word: str) -> str:
    from remit.model.display import shown
    from remit.model.errors import Misuse
    from remit.model.reading import nearest
    from remit.model.words import State

    short = {"waiting": State.WAITING}
    plain = word.casefold().replace("-", "_")
    if plain in short or plain in list(State):
        return str(short.get(plain, plain))
    close = nearest(plain, [str(state) for state in State])
    hint = f"did you mean `{close}`?" if close else "states: " + ", ".join(f"`{state}`" for state in State)
    raise Misuse(f"there is no state {shown(word)}", hint=hint)


def table(found: Found, query: Query, zone: str) -> str:
    """A line for each, newest first, under what was looked for."""
    lines = [_header(found, query, zone)]
    lines += _slow(found)
    if not found.actions and not found.refusals and not found.verdicts:
        return "\n".join([*lines, "nothing matches"])
    rows = [(action.opened_at, _action_row(action, zone)) for action in found.actions]
    rows += [(each.entry.at, _refusal_row(each, zone)) for each in found.refusals]
    rows += [(each.entry.at, _verdict_row(each, zone)) for each in found.verdicts]
    rows.sort(key=lambda row: row[0], reverse=True)
    lines.append(_laid_out([name for name, _ in COLUMNS]))
    lines += [_laid_out(cells) for _, cells in rows]
    if found.more:
        lines.append(f"only the newest {query.limit} are shown; ask for more with `--limit`, or narrow the search")
    lines.append("`remit explain ID` tells the story of one")
    return "\n".join(lines)


def _header(found: Found, query: Query, zone: str) -> str:
    parts = []
    if query.since is not None or query.until is not None:
        since = _clock(query.since, zone) if query.since is not None else "the beginning"
        until = _clock(query.until, zone) if query.until is not None else "now"
        parts.append(f"from {since} to {until}")
    if found.targets:
        from remit.model.display import safe_line

        known = [each for each in found.targets if not each.startswith("unknown:")]
        parts.append(f"target {safe_line(', '.join(known), 80)}")
    return f"times in {zone}" + "".join(f"; {part}" for part in parts)


def _slow(found: Found) -> list[str]:
    """That records had to be read one by one, where they were many."""
    from remit.flow.queries import WORTH_SAYING

    if found.behind < WORTH_SAYING:
        return []
    why = found.why or "the index is behind"
    return [f"{why}: {found.behind} records were read one by one; `remit log reindex` builds the index anew"]


def _action_row(action: Action, zone: str) -> list[str]:
    clauses = [clause.id for clause in action.ruling.clauses if clause.then is action.ruling.decision]
    return [
        _clock(action.opened_at, zone),
        action.id,
        action.agent,
        action.category or action.tool,
        action.state,
        ",".join(dict.fromkeys(clauses)),
        ", ".join(action.targets) or "-",
    ]


def _refusal_row(refusal: RecordStory, zone: str) -> list[str]:
    fields = refusal.entry.fields
    clauses = fields.get("clauses")
    return [
        _clock(refusal.entry.at, zone),
        f"#{refusal.entry.position}",
        refusal.agent,
        str(fields.get("tool", "a call")),
        "refused",
        ",".join(map(str, clauses)) if isinstance(clauses, list) else "",
        "-",
    ]


def _verdict_row(verdict: RecordStory, zone: str) -> list[str]:
    fields = verdict.entry.fields
    told = [_clock(verdict.entry.at, zone), f"#{verdict.entry.position}", verdict.agent, "verdict"]
    return [*told, str(fields.get("verdict", "")), "", f"case {fields.get('case', '-')}"]


def _laid_out(cells: list[str]) -> str:
    from remit.model.display import safe_line

    line = "  ".join(f"{_short(str(cell), width):<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))
    return safe_line(line, 400).rstrip()


def _short(text: str, width: int) -> str:
    from remit.model.display import safe_line

    safe = safe_line(text, 200)
    return safe if len(safe) <= width else safe[: width - 1] + "…"


def _clock(at: Instant, zone: str) -> str:
    local = (_EPOCH + datetime.timedelta(microseconds=at)).astimezone(ZoneInfo(zone))
    return local.strftime("%Y-%m-%d %H:%M:%S")


def as_json(found: Found, query: Query, zone: str) -> dict[str, Any]:
    """The same as JSON: times in ISO 8601 with Z."""
    from remit.gates.story import to_json

    return {
        "zone": zone,
        "since": _iso(query.since),
        "until": _iso(query.until),
        "targets": list(found.targets),
        "more": found.more,
        "actions": [{k: v for k, v in to_json(action).items() if k != "fingerprint"} for action in found.actions],
        "refusals": [to_json(refusal) for refusal in found.refusals],
        "verdicts": [to_json(verdict) for verdict in found.verdicts],
        "not_indexed": found.behind,
        "why_not_indexed": found.why,
    }


def _iso(at: Instant | None) -> str | None:
    return None if at is None else (_EPOCH + datetime.timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now() -> Instant:
    return time.time_ns() // 1000  # noqa: TID251 - what "today" means to the person who asks; nothing is decided by it
