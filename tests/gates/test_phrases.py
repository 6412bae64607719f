"""What people say of a time becomes a window that holds it, in their own zone, whatever the clocks there do."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.gates.phrases import AROUND, EXAMPLES, beginning, end, window
from remit.model.errors import Misuse
from remit.model.reading import instant
from remit.model.words import MINUTE, SECOND

HOUR = 60 * MINUTE
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana")
EDGE_OF_TIME = datetime.datetime(1975, 1, 1), datetime.datetime(2075, 1, 1)


def at(text: str, zone: str = "Europe/Berlin") -> int:
    return instant(datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


NOW = at("2026-11-25 10:15:00")  # a Wednesday


def span(text: str, zone: str = "Europe/Berlin", now: int = NOW) -> tuple[int, int]:
    return tuple(window(text, now, zone))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("today 03:00", "2026-11-25 03:00"),
        ("Today  at 3:00", "2026-11-25 03:00"),
        ("today 3am", "2026-11-25 03:00"),
        ("yesterday 14:30", "2026-11-24 14:30"),
        ("yesterday 2:30 pm", "2026-11-24 14:30"),
        ("monday 08:00:30", "2026-11-23 08:00:30"),
        ("wednesday 08:00", "2026-11-25 08:00"),
        ("last wednesday 08:00", "2026-11-18 08:00"),
        ("09:00", "2026-11-25 09:00"),
        ("23:00", "2026-11-24 23:00"),
        ("yesterday noon", "2026-11-24 12:00"),
        ("2h ago", "2026-11-25 08:15"),
        ("15 minutes ago", "2026-11-25 10:00"),
        ("an hour ago", "2026-11-25 09:15"),
        ("2026-11-20 03:00", "2026-11-20 03:00"),
        ("2026-11-20T03:00+05:30", "2026-11-19 22:30"),
        ("2026-11-20 02:00:00Z", "2026-11-20 03:00"),
    ],
)
def test_a_moment_means_half_an_hour_on_either_side_of_it(text: str, moment: str) -> None:
    assert span(text) == (at(moment) - AROUND, at(moment) + AROUND)
    assert beginning(text, NOW, "Europe/Berlin") == end(text, NOW, "Europe/Berlin") == at(moment)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("yesterday 03:00 Europe/Berlin", "2026-11-24 03:00"),
        ("yesterday 03:00 europe/berlin", "2026-11-24 03:00"),
        ("yesterday 03:00 UTC", "2026-11-24 04:00"),
        ("yesterday 21:30 America/New_York", "2026-11-25 03:30"),
        ("03:00 yesterday", "2026-11-24 03:00"),
        ("3 am on monday", "2026-11-23 03:00"),
        ("the day before yesterday at 3am", "2026-11-23 03:00"),
        ("2 hours ago", "2026-11-25 08:15"),
        ("two hours ago", "2026-11-25 08:15"),
        ("around 03:00", "2026-11-25 03:00"),
        ("20 Nov 03:00", "2026-11-20 03:00"),
        ("November 20, 2026 03:00", "2026-11-20 03:00"),
        ("3rd of December 03:00", "2025-12-03 03:00"),
    ],
)
def test_a_moment_may_name_its_zone_and_its_day_in_any_order(text: str, moment: str) -> None:
    assert span(text) == (at(moment) - AROUND, at(moment) + AROUND)
    assert beginning(text, NOW, "Europe/Berlin") == end(text, NOW, "Europe/Berlin") == at(moment)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("last friday night", "2026-11-20 18:00", "2026-11-21 06:00"),
        ("friday night", "2026-11-20 18:00", "2026-11-21 06:00"),
        ("last wednesday night", "2026-11-18 18:00", "2026-11-19 06:00"),
        ("yesterday evening", "2026-11-24 18:00", "2026-11-25 00:00"),
        ("monday afternoon", "2026-11-23 12:00", "2026-11-23 18:00"),
        ("this afternoon", "2026-11-25 12:00", "2026-11-25 18:00"),
        ("tonight", "2026-11-25 18:00", "2026-11-26 06:00"),
        ("between 02:00 and 04:00 today", "2026-11-25 02:00", "2026-11-25 04:00"),
        ("today between 2am and 4 am", "2026-11-25 02:00", "2026-11-25 04:00"),
        ("between 02:00 and 04:00", "2026-11-25 02:00", "2026-11-25 04:00"),
        ("yesterday from 22:00 to 02:00", "2026-11-24 22:00", "2026-11-25 02:00"),
        ("between 22:00 and 02:00 yesterday", "2026-11-24 22:00", "2026-11-25 02:00"),
        ("from yesterday 22:00 until today 02:00", "2026-11-24 22:00", "2026-11-25 02:00"),
        ("from yesterday 22:00 to 23:00", "2026-11-24 22:00", "2026-11-24 23:00"),
        ("between 02:00 and 04:00 today UTC", "2026-11-25 03:00", "2026-11-25 05:00"),
        ("since monday", "2026-11-23 00:00", "2026-11-25 10:15"),
        ("since yesterday 03:00 UTC", "2026-11-24 04:00", "2026-11-25 10:15"),
        ("in the last two hours", "2026-11-25 08:15", "2026-11-25 10:15"),
        ("this month", "2026-11-01 00:00", "2026-11-25 10:15"),
    ],
)
def test_parts_of_days_and_stretches_as_people_say_them(text: str, since: str, until: str) -> None:
    assert span(text) == (at(since), at(until))
    assert (beginning(text, NOW, "Europe/Berlin"), end(text, NOW, "Europe/Berlin")) == (at(since), at(until))


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("between monday and tuesday", "2026-11-23 00:00", "2026-11-25 00:00"),
        ("last month", "2026-10-01 00:00", "2026-11-01 00:00"),
        ("20 november", "2026-11-20 00:00", "2026-11-21 00:00"),
        ("29 feb", "2024-02-29 00:00", "2024-03-01 00:00"),
        ("yesterday Asia/Kolkata", "2026-11-23 19:30", "2026-11-24 19:30"),
    ],
)
def test_whole_days_of_a_stretch_end_before_the_next(text: str, since: str, until: str) -> None:
    assert span(text) == (at(since), at(until) - 1)


@pytest.mark.parametrize("text", ["yesterday 03:00 CST", "yesterday Mars/Olympus", "31 feb", "between 2 and", "night"])
def test_a_zone_that_means_several_and_days_that_never_were_are_refused(text: str) -> None:
    with pytest.raises(Misuse):
        window(text, NOW, "Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("today", "2026-11-25 00:00", "2026-11-26 00:00"),
        ("yesterday", "2026-11-24 00:00", "2026-11-25 00:00"),
        ("monday", "2026-11-23 00:00", "2026-11-24 00:00"),
        ("Sun", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("2026-11-20", "2026-11-20 00:00", "2026-11-21 00:00"),
        ("3 days ago", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("2026-11-20..2026-11-21", "2026-11-20 00:00", "2026-11-22 00:00"),
    ],
)
def test_a_day_means_all_of_it_up_to_the_next(text: str, since: str, until: str) -> None:
    assert span(text) == (at(since), at(until) - 1)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("last night", "2026-11-24 18:00", "2026-11-25 06:00"),
        ("this morning", "2026-11-25 00:00", "2026-11-25 12:00"),
        ("since monday", "2026-11-23 00:00", "2026-11-25 10:15"),
        ("since yesterday 14:30", "2026-11-24 14:30", "2026-11-25 10:15"),
        ("last 2h", "2026-11-25 08:15", "2026-11-25 10:15"),
        ("past 3 days", "2026-11-22 10:15", "2026-11-25 10:15"),
        ("last hour", "2026-11-25 09:15", "2026-11-25 10:15"),
        ("2026-11-20 03:00..04:00", "2026-11-20 03:00", "2026-11-20 04:00"),
        ("yesterday 23:00 .. today 01:00", "2026-11-24 23:00", "2026-11-25 01:00"),
        ("today 03:00..", "2026-11-25 03:00", "2026-11-25 10:15"),
        ("03:00..04:00", "2026-11-25 03:00", "2026-11-25 04:00"),
    ],
)
def test_stretches_of_time_are_exact(text: str, since: str, until: str) -> None:
    assert span(text) == (at(since), at(until))


def test_since_begins_where_a_day_does_and_until_ends_where_it_does() -> None:
    assert beginning("yesterday", NOW, "Europe/Berlin") == at("2026-11-24 00:00")
    assert end("yesterday", NOW, "Europe/Berlin") == at("2026-11-25 00:00") - 1
    assert end("last 2h", NOW, "Europe/Berlin") == NOW


def test_a_day_on_which_the_clocks_change_has_the_hours_that_it_has() -> None:
    assert (span("2026-03-29")[1] - span("2026-03-29")[0] + 1) // HOUR == 23
    assert (span("2026-10-25")[1] - span("2026-10-25")[0] + 1) // HOUR == 25


def test_a_time_that_comes_twice_covers_both() -> None:
    since, until = span("2026-10-25 02:30")
    assert (since, until) == (at("2026-10-25 02:30") - AROUND, at("2026-10-25 02:30") + HOUR + AROUND)


def test_a_time_that_the_change_of_clocks_skips_covers_the_instants_around_the_gap() -> None:
    since, until = span("2026-03-29 02:30")
    gap = at("2026-03-29 03:00")
    assert since < gap < until
    assert until - since == HOUR + 2 * AROUND


@pytest.mark.parametrize(
    "text",
    ["", "soon", "today 25:00", "2026-13-01", "9999-12-31", "tomorrow", "today 03:00 04:00", "13 pm", "since", ".."],
)
def test_what_cannot_be_read_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Misuse) as refused:
        window(text, NOW, "UTC")
    assert "is not a time that can be read" in refused.value.message
    assert "`today 03:00`" in refused.value.hint


def test_a_stretch_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(Misuse, match="ends before it begins"):
        window("today 04:00..03:00", NOW, "UTC")


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(Misuse, match="there is no time zone `Mars/Base`"):
        window("today", NOW, "Mars/Base")


moments = st.datetimes(*EDGE_OF_TIME)
zones = st.sampled_from(ZONES)


@given(moments, zones)
def test_a_window_always_holds_the_moment_that_was_said(moment: datetime.datetime, zone: str) -> None:
    local = moment.replace(microsecond=0, tzinfo=ZoneInfo(zone))
    for fold in (0, 1):
        exact = instant(local.replace(fold=fold))
        since, until = window(local.strftime("%Y-%m-%d %H:%M:%S"), exact, zone)
        assert since <= exact <= until
        assert 2 * AROUND <= until - since <= 2 * AROUND + 2 * HOUR


@given(moments, zones)
def test_yesterday_and_today_meet_and_now_is_today(moment: datetime.datetime, zone: str) -> None:
    now = instant(moment.replace(tzinfo=datetime.UTC))
    today, yesterday = window("today", now, zone), window("yesterday", now, zone)
    assert today.since <= now <= today.until
    assert yesterday.until + 1 == today.since
    assert 22 * HOUR <= today.until - today.since + 1 <= 26 * HOUR


@given(moments, zones, st.sampled_from(EXAMPLES))
def test_every_example_can_be_read_at_any_time(moment: datetime.datetime, zone: str, text: str) -> None:
    now = instant(moment.replace(tzinfo=datetime.UTC))
    if text.startswith("since"):
        assert window(text, now, zone).until == now
    since, until = window(text, now, zone)
    assert since <= until


@given(st.text(max_size=40), zones)
def test_no_text_leads_to_anything_but_a_window_or_a_refusal(text: str, zone: str) -> None:
    try:
        since, until = window(text, NOW, zone)
    except Misuse:
        return
    assert since <= until


def test_seconds_count() -> None:
    assert span("30s ago") == (NOW - 30 * SECOND - AROUND, NOW - 30 * SECOND + AROUND)
