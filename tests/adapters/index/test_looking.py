"""Looking for terms in many blocks: the same positions, newest first, as a naive search through sets finds."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remit.adapters.index import bits, looking
from remit.adapters.index.bits import BLOCK, SPAN, Terms
from remit.adapters.index.file import IndexFile
from remit.adapters.index.looking import FileLook
from tests.adapters.index.conftest import KEY

TERMS = "abcdef"
SPANS = 12
SIZE = SPANS * SPAN * BLOCK

positions = st.one_of(
    st.integers(0, SIZE - 1),
    # Close together, so that terms meet; and in runs that are kept as bits.
    st.builds(lambda block, offset: block * BLOCK + offset, st.sampled_from([0, 1, 40, 95]), st.integers(0, 9)),
)
runs = st.builds(
    lambda block, step: set(range(block * BLOCK, (block + 1) * BLOCK, step)),
    st.sampled_from([0, 1, 40, 95]),
    st.sampled_from([1, 2, 3, 40, 100]),
)
sets = st.one_of(st.sets(positions, max_size=30), runs)
held = st.dictionaries(st.sampled_from(TERMS), st.lists(sets, max_size=3).map(lambda parts: set().union(*parts)))
asked = st.lists(st.lists(st.sampled_from(TERMS), min_size=1, max_size=3), min_size=1, max_size=4)


def filled(folder: Path, terms: Terms, having: dict[str, set[int]]) -> IndexFile:
    file = IndexFile(folder / "index.db", terms)
    with file.writing():
        file.connection.execute("DELETE FROM postings")
        for name, members in having.items():
            for block in {each // BLOCK for each in members}:
                bits = sum(1 << each % BLOCK for each in members if each // BLOCK == block)
                file.change(block, {terms.of(name): bits}, {})
    return file


@settings(deadline=None, max_examples=60)
@given(having=held, groups=asked, most=st.integers(1, 50))
def test_what_is_found_is_what_a_search_through_sets_finds(
    tmp_path_factory: pytest.TempPathFactory, having: dict[str, set[int]], groups: list[list[str]], most: int
) -> None:
    terms = Terms(KEY)
    file = filled(tmp_path_factory.mktemp("index"), terms, having)
    try:
        look = FileLook(file.connection, terms, SIZE)
        found = set.intersection(*(set().union(*(having.get(each, set()) for each in group)) for group in groups))
        wanted = sorted(found, reverse=True)
        assert list(look.match(groups)) == wanted
        assert list(islice(look.match(groups), most)) == wanted[:most]
        for position in wanted[:3]:
            assert look.which(position, TERMS) == {each for each in TERMS if position in having.get(each, set())}
    finally:
        file.close()


def reads_for(folder: Path, having: dict[str, set[int]], groups: list[list[str]]) -> tuple[list[int], int]:
    """What is found, and how many postings were read for it."""
    terms = Terms(KEY)
    file = filled(folder, terms, having)
    asked: list[str] = []
    file.connection.set_trace_callback(asked.append)
    found = list(FileLook(file.connection, terms, SIZE).match(groups))
    file.close()
    return found, len([each for each in asked if "FROM postings" in each])


FULL = 5  # spans, the first ones
EVERYWHERE = set(range(0, FULL * SPAN * BLOCK, 3))


def test_a_span_is_left_as_soon_as_one_term_is_not_in_it(tmp_path: Path) -> None:
    having = {"a": EVERYWHERE, "b": {6, 2 * BLOCK + 1}, "c": EVERYWHERE}
    found, reads = reads_for(tmp_path, having, [["a"], ["b"], ["c"]])
    assert found == [2 * BLOCK + 1, 6]
    assert reads == (SPANS - FULL) * 1 + (FULL - 1) * 2 + 3  # no "a"; no "b"; all


def test_the_rarest_term_of_the_span_before_is_read_first(tmp_path: Path) -> None:
    having = {"a": set(range(0, SIZE, 3)), "b": set(range(1, SIZE, 3)), "c": {SIZE - 1}}
    found, reads = reads_for(tmp_path, having, [["a"], ["b"], ["c"]])
    assert found == []
    assert reads == 3 + (SPANS - 1) * 1


def test_of_terms_that_never_meet_the_fewest_are_unpacked_first_and_the_rest_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[bytes] = []

    def unpack(hits: bytes) -> int:
        unpacked.append(hits)
        return bits.unpack(hits)

    monkeypatch.setattr(looking, "unpack", unpack)
    having = {"a": EVERYWHERE, "b": {3 * (block * BLOCK // 3) + 4 for block in range(40)}, "c": EVERYWHERE}
    found, _ = reads_for(tmp_path, having, [["a"], ["c"], ["b"]])
    assert found == []
    assert len(unpacked) <= 2 * 40 + 1


@settings(deadline=None, max_examples=40)
@given(having=held, chosen=st.sets(positions, max_size=20), keeps=st.sets(st.sampled_from(TERMS)))
def test_positions_keep_only_what_they_may_and_all_others_keep_everything(
    tmp_path_factory: pytest.TempPathFactory, having: dict[str, set[int]], chosen: set[int], keeps: set[str]
) -> None:
    terms = Terms(KEY)
    file = filled(tmp_path_factory.mktemp("index"), terms, having)
    try:
        with file.writing():
            file.only({each: terms.all(sorted(keeps)) for each in chosen})
        look = FileLook(file.connection, terms, SIZE)
        for name, members in having.items():
            assert set(look.match([[name]])) == (members if name in keeps else members - chosen)
    finally:
        file.close()
