"""Files that people write: typed values, and every problem at once."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.model.reading import Reader, Unreadable, duration, nearest, read_toml

FILE = b"""
title = "ok"
then = "aproove"
window = "15 minutes"
since = 2026-11-22T00:00:00
review_by = 2027-01-15
count = 2000
flags = ["a", "a", ""]
roles = ["leader", "aprover"]
tittle = "typo"

[[rule]]
id = "ISO-1"
max = true
[rule.targets]
teir = ["x"]

[[rule]]
id = "ISO-1"
max = 3
"""


def test_every_problem_is_reported_with_path_expectation_and_nearest_word() -> None:
    root = read_toml(FILE, "boundary.toml")
    assert root.text("title") == "ok"
    root.choice("then", ["auto", "approve", "forbid"])
    root.duration("window")
    root.instant("since")
    assert root.day("review_by") == datetime.date(2027, 1, 15)
    root.integer("count", maximum=1_000)
    assert root.texts("flags") == ("a",)
    assert root.choices("roles", ["leader", "approver"]) == ("leader",)
    rules = root.tables("rule", label="id")
    for rule in rules:
        rule.text("id")
        rule.integer("max")
        rule.table("targets").texts("tier", default=())
    root.once(rules, "id")
    root.text("name")
    with pytest.raises(Unreadable) as refused:
        root.finish()
    lines = [str(problem) for problem in refused.value.problems]
    assert lines == [
        "`then`: expected one of `auto`, `approve`, `forbid`, found `aproove`",
        "`window`: expected a duration like `30s`, `15m`, `2h` or `7d`, found `15 minutes`",
        "`since`: expected a date and time with an offset, unquoted, like `2026-11-22T00:00:00Z`, "
        "found `2026-11-22T00:00:00`",
        "`count`: expected a whole number from 0 to 1000, found `2000`",
        "`flags[1]`: expected each one once, found `a` again",
        "`flags[2]`: expected a text, found an empty text",
        "`roles[1]`: expected one of `leader`, `approver`, found `aprover`",
        "`rule[ISO-1].max`: expected a whole number from 0 to 9007199254740991, found `true`",
        "`rule[ISO-1].id`: expected each one once, found `ISO-1` again",
        "`name`: expected a text, found nothing",
        "`tittle`: expected one of `title`, `then`, `window`, `since`, `review_by`, `count`, `flags`, "
        "`roles`, `rule`, `name`, found an unknown key",
        "`rule[ISO-1].targets.teir`: expected one of `tier`, found an unknown key",
    ]
    hints = {problem.path: problem.hint for problem in refused.value.problems}
    assert hints["then"] == "did you mean `approve`?"
    assert hints["roles[1]"] == "did you mean `approver`?"
    assert hints["tittle"] == "did you mean `title`?"
    assert "boundary.toml" in str(refused.value)
    assert "(and 11 more)" in str(refused.value)
    assert refused.value.shown().count("\n") >= len(lines)


def test_a_missing_key_that_looks_misspelt_is_suggested() -> None:
    root = read_toml(b'nmae = "x"', "f")
    root.text("name")
    with pytest.raises(Unreadable) as refused:
        root.finish()
    assert refused.value.problems[0].hint == "`nmae` is there: did you mean `name`?"


def test_a_file_without_problems_gives_its_values() -> None:
    scalars = b'a = "x"\nb = true\nc = 1.5\nd = "2h"\ne = 1970-01-01T01:00:01+01:00\nf = ""\n'
    root = read_toml(scalars + b'[t]\ng = [1]\n[[l]]\nname = "n"', "f")
    assert (root.text("a", pattern="[a-z]"), root.flag("b")) == ("x", True)
    assert root.number("c", minimum=0, maximum=2) == 1.5
    assert (root.duration("d"), root.instant("e"), root.prose("f")) == (7_200_000_000, 1_000_000, "")
    assert root.table("t", required=True).raw("g") == [1]
    assert [inner.text("name") for inner in root.tables("l", required=True)] == ["n"]
    assert root.tables("none") == ()
    absent = root.table("none_either")
    assert absent.text("x", default=None) is None
    assert absent.duration("x", default=7) == 7
    assert absent.choices("x", ["y"], default=("y",)) == ("y",)
    assert "a" in root and "z" not in root
    root.finish()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a = 1\na = 2", "overwrite"),
        (b"\xff", "the byte 0xff at byte 0"),
        (b"a = " + b"[" * 100_000, "nesting without end"),
        (b"a = " + b"9" * 10_000, "digits"),
        (b"a = 1\x00", "a mistake in it"),
    ],
)
def test_what_is_not_toml_is_refused_with_a_reason(data: bytes, found: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_toml(data, "people.toml")
    assert found in refused.value.problems[0].found


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        root = read_toml(data, "f")
        root.text("a", default=None)
        root.tables("b")
        root.finish()
    except Unreadable as error:
        assert error.problems
        assert not set("\x1b\r\u202e") & set(error.shown())


JUNK = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(JUNK)
def test_a_value_of_any_type_never_raises_before_finish(value: object) -> None:
    root = Reader({"k": value})
    assert isinstance(root.text("k"), str)
    assert isinstance(root.flag("k"), bool)
    assert isinstance(root.integer("k"), int)
    assert isinstance(root.number("k", minimum=0, maximum=1), float | int)
    assert root.choice("k", ["a", "b"]) in ("a", "b")
    assert isinstance(root.choices("k", ["a"]), tuple)
    assert isinstance(root.texts("k"), tuple)
    assert root.duration("k") > 0
    assert isinstance(root.instant("k"), int)
    assert isinstance(root.day("k"), datetime.date)
    assert isinstance(root.table("k"), Reader)
    assert isinstance(root.tables("k"), tuple)
    with pytest.raises(Unreadable):
        root.finish()


def test_durations_and_nearest_words() -> None:
    assert [duration(text) for text in ("500ms", "30s", "15m", "2h", "7d")] == [
        500_000,
        30_000_000,
        900_000_000,
        7_200_000_000,
        604_800_000_000,
    ]
    assert [duration(text) for text in ("", "15", "m", "-1s", "1 s", "1.5h", "١s")] == [None] * 7
    assert nearest("Isolate", ["host.isolate", "isolate"]) == "isolate"
    assert nearest("zzz", ["auto"]) is None
