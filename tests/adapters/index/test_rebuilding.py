"""Building the index anew from the log of a home: complete against the signed tree, or said not to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit.adapters.home.folder import Home
from remit.adapters.home.init import init_home
from remit.adapters.index.rebuilding import rebuild
from remit.flow.queries import Stories
from remit.flow.query import Query
from remit.model.errors import Fault
from remit.node import Node, found_home
from remit.offline import open_reads, open_search
from tests.flow.past import START


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A home whose gateway ran for a moment, so that its log has a signed checkpoint."""
    made = init_home(tmp_path / "home", now=START)
    await found_home(tmp_path / "home", made.roster)
    node = await Node.start(tmp_path / "home")
    await node.close()
    return Home(tmp_path / "home")


async def test_the_index_is_built_from_the_log_and_held_against_the_signed_tree(home: Home) -> None:
    reads = open_reads(home.path)
    told: list[tuple[int, int]] = []
    built = rebuild(home, reads, lambda done, of: told.append((done, of)))
    assert built.complete
    assert built.indexed == built.records == reads.counts()["records"] == told[-1][0]
    assert built.against.startswith("the signed tree of ")
    search = open_search(home.path, reads)
    assert [each.kind for each in search.records(kinds=("home.created",))] == ["home.created"]
    assert (search.behind, search.why) == (0, "")


async def test_an_entry_that_was_changed_is_noticed(home: Home) -> None:
    bundle = max((home.path / "log" / "tile" / "entries").rglob("*.p/*"), key=lambda path: int(path.name))
    data = bundle.read_bytes()
    assert b'"kind":"node.started"' in data
    bundle.write_bytes(data.replace(b'"kind":"node.started"', b'"kind":"node.stopped"'))
    built = rebuild(home, open_reads(home.path))
    assert not built.complete
    assert "do not lead to the signed root" in built.against


async def test_a_bundle_that_is_gone_is_a_fault_and_searches_go_on(home: Home) -> None:
    for bundle in (home.path / "log" / "tile" / "entries").rglob("*.p/*"):
        bundle.unlink()
    reads = open_reads(home.path)
    with pytest.raises(Fault, match="tile/entries"):
        rebuild(home, reads)
    search = open_search(home.path, reads)
    assert len(search.records(kinds=("home.created",))) == 1
    assert Stories(reads, searching=search).find(Query()).actions == ()


async def test_without_a_checkpoint_the_store_alone_is_indexed_and_that_is_said(home: Home) -> None:
    (home.path / "log" / "checkpoint").unlink()
    built = rebuild(home, open_reads(home.path))
    assert built.complete
    assert built.against == "the store alone: no checkpoint is signed yet"
