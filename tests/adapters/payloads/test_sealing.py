"""Sealed bytes: they open to what was sealed, under their own name only, and show nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.adapters.payloads.sealing import sealer
from remit.model.errors import Fault, NotCommitted
from remit.model.words import Payload


def payload(data: bytes, *, name: str = "act_1.proposal", salt: bytes = b"s" * 16) -> Payload:
    return Payload(id=name, kind="proposal", salt=salt, data=data)


@given(data=st.binary(max_size=2000) | st.binary(max_size=40).map(lambda each: each * 500), salt=st.binary(max_size=40))
def test_what_was_sealed_opens_to_the_same(data: bytes, salt: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "shared"
    folder.mkdir(exist_ok=True)
    kept = payload(data, salt=salt)
    slot, sealed = sealer(folder).seal(kept)
    assert sealer(folder).open(kept.id, kept.kind, slot, sealed) == kept


def test_neither_bytes_nor_salt_show_and_text_takes_less_room(tmp_path: Path) -> None:
    text = b"the user jdoe on WS-042 " * 80
    _, sealed = sealer(tmp_path).seal(payload(text, salt=b"SALTSALTSALTSALT"))
    assert b"jdoe" not in sealed
    assert b"SALT" not in sealed
    assert len(sealed) < len(text) / 5


@pytest.mark.parametrize("spoil", ["id", "kind", "bytes", "slot"])
def test_sealed_bytes_open_only_as_what_they_were_sealed_as(tmp_path: Path, spoil: str) -> None:
    keys = sealer(tmp_path)
    slot, sealed = keys.seal(payload(b"data"))
    keys.seal(payload(b"other"))
    name, kind = "act_2.proposal" if spoil == "id" else "act_1.proposal", "x" if spoil == "kind" else "proposal"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1]) if spoil == "bytes" else sealed
    with pytest.raises(Fault, match="is not what was sealed"):
        keys.open(name, kind, slot + (spoil == "slot"), changed)


def test_a_payload_whose_key_was_destroyed_reads_as_none_and_the_next_one_opens(tmp_path: Path) -> None:
    keys = sealer(tmp_path)
    first, second = keys.seal(payload(b"first")), keys.seal(payload(b"second"))
    keys.destroy([first[0]])
    assert keys.open("act_1.proposal", "proposal", *first) is None
    assert keys.open("act_1.proposal", "proposal", *second) == payload(b"second")


def test_nothing_is_committed_where_no_key_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "payload-keys").mkdir()
    with pytest.raises(NotCommitted, match="no key for a payload can be made"):
        sealer(tmp_path).seal(payload(b"data"))
