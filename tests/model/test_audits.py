"""A trail is read by a declared mapping, and nothing in it is passed over in silence."""

from __future__ import annotations

import json

import pytest

from remit.model.audits import AuditMap, load_map, read_trail
from remit.model.manifest import load_manifest
from remit.model.reading import Unreadable
from remit.model.words import SECOND
from tests.support.home import LAB, manifest

MAP = AuditMap(
    time="time", tool="tool", warrant="warrant", targets=("arguments.host",), result="outcome", effects=("effect",)
)
LINE = {
    "time": "2026-11-22T03:00:00.5Z",
    "outcome": "effect",
    "tool": "isolate_host",
    "arguments": {"host": "WS-7"},
    "warrant": "wrt_1",
}


def lines(*entries: object) -> list[bytes]:
    return [each if isinstance(each, bytes) else json.dumps(each).encode() for each in entries]


def test_an_effect_is_read_with_its_time_order_and_target() -> None:
    (found,) = read_trail(lines(LINE), MAP).effects
    assert (found.line, found.tool, found.warrant, found.targets) == (1, "isolate_host", "wrt_1", ("WS-7",))
    assert found.at == 1_795_316_400 * SECOND + SECOND // 2


@pytest.mark.parametrize("outcome", ["read", "refused", "EFFECT"])
def test_what_is_no_effect_is_none(outcome: str) -> None:
    trail = read_trail(lines(LINE | {"outcome": outcome}), MAP)
    assert (trail.effects, trail.unreadable, trail.lines) == ((), (), 1)


@pytest.mark.parametrize(
    "entry",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'"' + b"x" * 2_000_000 + b'"',
        b"[" * 5_000,
        {**LINE, "time": "yesterday"},
        {**LINE, "time": "2026-11-22T03:00:00"},
        {**LINE, "time": None},
        {**LINE, "tool": ""},
        {key: value for key, value in LINE.items() if key != "outcome"},
    ],
)
def test_a_line_that_cannot_be_read_is_listed_with_its_number(entry: object) -> None:
    trail = read_trail(lines(LINE, entry, LINE), MAP)
    assert [number for number, _ in trail.unreadable] == [2]
    assert len(trail.effects) == 2


@pytest.mark.parametrize("time", [1_795_316_400, 1_795_316_400.0, "2026-11-22T04:00:00+01:00"])
def test_times_are_seconds_or_carry_a_zone(time: object) -> None:
    (found,) = read_trail(lines(LINE | {"time": time}), MAP).effects
    assert found.at == 1_795_316_400 * SECOND


def test_several_targets_are_read_out_of_lists() -> None:
    audit = AuditMap(time="time", tool="tool", targets=("hosts", "account"))
    (found,) = read_trail(lines(LINE | {"hosts": ["a", "b"], "account": 7}), audit).effects
    assert found.targets == ("a", "b", "7")


@pytest.mark.parametrize("name", LAB)
def test_the_shipped_connectors_declare_how_their_trail_is_read(name: str) -> None:
    audit = load_manifest(manifest(name), name).audit
    assert audit is not None
    assert audit.names_orders


@pytest.mark.parametrize(
    "text",
    [
        "[audit]\ntool = 'tool'\n",
        "[audit]\ntime = 't'\ntool = 'tool'\nresult = 'r'\n",
        "[audit]\ntime = 't'\ntool = 'tool'\ntarget = 'a'\ntargets = ['b']\n",
        "[audit]\ntime = 'a b'\ntool = 'tool'\n",
        "[audit]\ntime = 't'\ntool = 'tool'\nwarrent = 'w'\n",
        "",
    ],
)
def test_a_mapping_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        load_map(text.encode(), "map.toml")
