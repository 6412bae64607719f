"""A note's text counts when a trusted key signed it, in one spelling and in no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from remit.gates.log import checkpoints, proofs
from remit.gates.log.checkpoints import Checkpoint, opened
from remit.gates.log.merkle import EMPTY_ROOT, NotProven, leaf_hash
from remit.gates.log.notes import (
    MAX_NOTE,
    WITNESS,
    BadNote,
    BadSignature,
    LogKey,
    Note,
    SignatureLine,
    VerifierKey,
    WitnessKey,
    cosigned_message,
    parse_note,
    verified,
)
from remit.gates.log.proofs import Proof
from remit.model.errors import Misuse, NotVerified
from remit.model.signatures import NotAKey

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "log"
NOTES, CHECKPOINTS, PROOFS = (
    json.loads((FOLDER / f"{name}.json").read_text()) for name in ("notes", "checkpoints", "proofs")
)
LOG = LogKey.generate("remit/home-1", bytes(range(32)))
WITNESSES = [WitnessKey.generate(f"witness.example/{number}", bytes([number]) * 32) for number in range(3)]
CHECKPOINT = Checkpoint(LOG.name, 1, leaf_hash(b"an entry"))
TEXT = CHECKPOINT.encode()
WORDS: dict[str, type[NotVerified]] = {"bad-note": BadNote, "bad-signature": BadSignature}


def by_case(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["case"] for vector in vectors])


def keys_of(texts: list[str]) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in texts]


@by_case(NOTES["verified"])
def test_notes_of_the_vectors_are_verified_and_written_back_byte_for_byte(vector: dict[str, Any]) -> None:
    data = vector["note"].encode()
    note = parse_note(data)
    assert [[one.key.name, one.at] for one in verified(note, keys_of(vector["keys"]))] == vector["by"]
    assert note.encode() == data


@by_case(NOTES["refused"])
def test_notes_of_the_vectors_are_refused_with_their_word(vector: dict[str, Any]) -> None:
    with pytest.raises(WORDS[vector["why"]]) as refusal:
        verified(parse_note(vector["note"].encode()), keys_of(NOTES["keys"]))
    assert type(refusal.value) is WORDS[vector["why"]]


@by_case(NOTES["refused_bytes"])
def test_bytes_that_are_not_utf8_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadNote, match="UTF-8"):
        parse_note(bytes.fromhex(vector["note_hex"]))


@pytest.mark.parametrize("vector", NOTES["private_keys"], ids=lambda vector: vector["public"][:24])
def test_private_keys_read_back_and_have_the_public_key_of_the_vectors(vector: dict[str, str]) -> None:
    public = VerifierKey.parse(vector["public"])
    key = (WitnessKey if public.algorithm == WITNESS else LogKey).parse(vector["private"] + "\n")
    assert (key.text, key.verifier, key.verifier.text) == (vector["private"], public, vector["public"])
    with pytest.raises(NotAKey, match="type"):
        (LogKey if public.algorithm == WITNESS else WitnessKey).parse(vector["private"])


@pytest.mark.parametrize("text", NOTES["refused_keys"])
def test_a_key_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(NotAKey):
        VerifierKey.parse(text)


def test_every_change_of_one_character_of_a_key_is_refused() -> None:
    text = LOG.verifier.text
    for at in range(len(text)):
        with pytest.raises(NotAKey):
            VerifierKey.parse(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :])
    assert LOG.seed.hex() not in repr(LOG)
    assert LOG.text not in repr(LOG)


def test_a_refused_private_key_is_not_repeated() -> None:
    secret = LOG.text.rsplit("+", 1)[1]
    for text in (LOG.text[:-1], LOG.text.replace("remit", "other"), LOG.text.removeprefix("PRIVATE"), LOG.text + "x"):
        with pytest.raises(NotAKey) as refusal:
            LogKey.parse(text)
        assert secret[4:20] not in refusal.value.shown()


def test_the_known_log_key_signs_gos_example_as_go_does() -> None:
    example, text = NOTES["verified"][0], NOTES["private_keys"][-1]["private"]
    note = parse_note(example["note"].encode())
    assert Note(note.text, (LogKey.parse(text).sign(note.text),)).encode() == example["note"].encode()


def test_a_cosignature_is_that_of_the_vectors() -> None:
    vector = NOTES["cosignature"]
    key = next(WitnessKey.parse(one["private"]) for one in NOTES["private_keys"] if one["public"] == vector["key"])
    assert cosigned_message(vector["text"], vector["time"]).decode() == vector["message"]
    assert key.cosign(vector["text"], vector["time"]).encode() == vector["line"]


def test_every_single_bit_of_a_signed_note_matters() -> None:
    data = Note(TEXT, (LOG.sign(TEXT), WITNESSES[0].cosign(TEXT, 5))).encode()
    keys = [LOG.verifier, WITNESSES[0].verifier]
    assert len(opened(data, keys).cosigned) == 1
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = opened(bytes(changed), keys)
        except NotVerified:
            continue
        # What is left: the name or key id of one line became a stranger's, whose line is passed over.
        assert found.checkpoint == CHECKPOINT
        assert found.cosigned == ()


def test_a_note_over_its_limits_is_refused() -> None:
    line = LOG.sign("a\n")
    text = "a" * (MAX_NOTE - len(Note("\n", (line,)).encode())) + "\n"
    parse_note(Note(text, (line,)).encode())
    with pytest.raises(BadNote, match="at most"):
        Note("a" + text, (line,)).encode()
    large = SignatureLine("pq.example", b"abcd", bytes(5000))
    assert len(parse_note(Note("a\n", (large,) * 16).encode()).lines) == 16


@pytest.mark.parametrize("text", ["", "a", "a\tb\n", "a\r\n", "\ud800\n"])
def test_nobody_signs_a_text_that_no_note_can_have(text: str) -> None:
    with pytest.raises(BadNote):
        LOG.sign(text)
    with pytest.raises(BadNote):
        WITNESSES[0].cosign(text, 1)
    with pytest.raises(BadNote):
        Note(text, (LOG.sign("a\n"),)).encode()


@pytest.mark.parametrize("lines", [(), (SignatureLine("a b", b"abcd", b"x"),), (SignatureLine("a", b"abc", b""),)])
def test_no_note_is_written_that_would_be_read_as_another(lines: tuple[SignatureLine, ...]) -> None:
    with pytest.raises(BadNote):
        Note(TEXT, lines).encode()


def test_a_time_that_does_not_fit_is_not_signed() -> None:
    for seconds in (-1, 2**63):
        with pytest.raises(ValueError, match="seconds"):
            WITNESSES[0].cosign(TEXT, seconds)


def test_one_witness_under_two_names_does_not_count_twice() -> None:
    one, two = WitnessKey("one.example", bytes(32)), WitnessKey("two.example", bytes(32))
    data = Note(TEXT, (LOG.sign(TEXT), one.cosign(TEXT, 1), two.cosign(TEXT, 1))).encode()
    with pytest.raises(Misuse, match="same key"):
        opened(data, [LOG.verifier, one.verifier, two.verifier])
    twice = [LOG.verifier, one.verifier, one.verifier]
    assert len(opened(data, twice).cosigned) == 1


def test_a_checkpoint_counts_only_when_its_own_log_signed_it() -> None:
    witness = WITNESSES[0]
    other = LogKey.generate("remit/home-2", bytes(32))
    cosigned = Note(TEXT, (witness.cosign(TEXT, 1),)).encode()
    with pytest.raises(BadSignature, match="did not sign"):
        opened(cosigned, [LOG.verifier, witness.verifier])
    foreign = Note(TEXT, (other.sign(TEXT),)).encode()
    with pytest.raises(BadSignature):
        opened(foreign, [LOG.verifier, other.verifier])
    with pytest.raises(BadNote, match="home-1"):
        opened(Note(TEXT, (LOG.sign(TEXT),)).encode(), [other.verifier])
    with pytest.raises(BadNote, match="no log's key"):
        opened(cosigned, [witness.verifier])


def test_distinct_witnesses_are_counted_each_with_its_time() -> None:
    lines = (LOG.sign(TEXT), *(witness.cosign(TEXT, 100 + at) for at, witness in enumerate(WITNESSES)))
    found = opened(Note(TEXT, lines).encode(), [LOG.verifier, *(witness.verifier for witness in WITNESSES)])
    assert found.checkpoint == CHECKPOINT
    assert [one.key for one in found.signed] == [LOG.verifier]
    assert [(one.key.name, one.at) for one in found.cosigned] == [
        (witness.name, 100 + at) for at, witness in enumerate(WITNESSES)
    ]


@pytest.mark.parametrize("vector", CHECKPOINTS["read"], ids=lambda vector: vector["origin"])
def test_checkpoints_of_the_vectors_are_read_and_written(vector: dict[str, Any]) -> None:
    expected = Checkpoint(vector["origin"], vector["size"], bytes.fromhex(vector["root"]))
    assert checkpoints.parse(vector["text"]) == expected
    assert expected.encode() == vector["text"]


@pytest.mark.parametrize("text", CHECKPOINTS["refused"])
def test_a_checkpoint_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        checkpoints.parse(text)


def test_no_checkpoint_is_made_that_could_not_be_read() -> None:
    root = CHECKPOINT.root
    for origin, size, digest in (("", 1, root), ("a\n9", 1, root), ("a", -1, root), ("a", 1, b""), ("a", 0, root)):
        with pytest.raises(BadNote):
            Checkpoint(origin, size, digest)
    assert Checkpoint("a", 0, EMPTY_ROOT).size == 0


@by_case(PROOFS["holds"])
def test_proofs_of_the_vectors_hold_and_are_written_back(vector: dict[str, Any]) -> None:
    proof = proofs.parse(vector["proof"].encode())
    assert (proof.index, proof.extra.hex()) == (vector["index"], vector["extra"])
    assert proof.encode() == vector["proof"].encode()
    found = proof.check(bytes.fromhex(vector["entry"]), keys_of(PROOFS["keys"]))
    assert found.checkpoint.size == vector["size"]


@by_case(PROOFS["unproven"])
def test_proofs_of_the_vectors_that_do_not_hold_are_refused(vector: dict[str, Any]) -> None:
    proof = proofs.parse(vector["proof"].encode())
    with pytest.raises(NotVerified):
        proof.check(bytes.fromhex(vector["entry"]), keys_of(PROOFS["keys"]))


@by_case(PROOFS["refused"])
def test_proofs_of_the_vectors_that_are_damaged_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(NotProven):
        proofs.parse(vector["proof"].encode())


def test_no_proof_is_written_that_could_not_be_read() -> None:
    good = proofs.parse(PROOFS["holds"][0]["proof"].encode())
    for index, hashes, checkpoint in (
        (-1, good.hashes, good.checkpoint),
        (2**63, good.hashes, good.checkpoint),
        (1, (b"short",), good.checkpoint),
        (1, good.hashes * 30, good.checkpoint),
        (1, good.hashes, b""),
    ):
        with pytest.raises(NotProven):
            Proof(index, hashes, checkpoint).encode()
    with pytest.raises(NotProven, match="at most"):
        proofs.parse(bytes(3 * MAX_NOTE))
