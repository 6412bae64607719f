"""The ways to tamper with a log, each with the word by which a verifier must name it.

What lives here: attacks on files, on notes, on what is disclosed and on records, as functions that change a `Case`.
Records are changed by somebody who holds the log's key: every entry is hashed and signed anew, so that the rules of
records must catch what the hashes no longer can.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.signers import PEOPLE
from tests.support.tampering import COSIGNED, Case
from tests.support.tile_log import (
    WIDTH,
    WITNESS,
    NoteKey,
    checkpoint_text,
    join_bundle,
    signed,
    split_bundle,
    tile_path,
)

Change = Callable[[Case], None]


@dataclass(frozen=True)
class Tamper:
    """One attack: its name, what it does, and the word that names it. An empty word: it cannot be found."""

    name: str
    word: str
    says: str
    change: Change


TAMPERS: dict[str, Tamper] = {}


def tamper(word: str, says: str) -> Callable[[Change], Change]:
    """Register an attack under its function's name."""

    def register(change: Change) -> Change:
        name = change.__name__
        assert name not in TAMPERS, name
        TAMPERS[name] = Tamper(name, word, says, change)
        return change

    return register


def edit(case: Case, path: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change a written file's bytes, or take it away."""

    def apply(folder: Path) -> None:
        target = folder / path
        data = change(target.read_bytes())
        if data is None:
            target.unlink()
        else:
            target.write_bytes(data)

    case.after.append(apply)


def _entries(case: Case) -> str:
    """The first bundle of entries."""
    return tile_path("entries", 0, min(len(case.records), WIDTH))


def _hashes(case: Case) -> str:
    """The first tile of the entries' hashes."""
    return tile_path("0", 0, min(len(case.records), WIDTH))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# --- files, by somebody without the log's key -------------------------------------------------------------------------


@tamper("tampered", "one bit of an entry is another")
def entry_flipped(case: Case) -> None:
    edit(case, _entries(case), lambda data: flipped(data, len(data) // 2))


@tamper("tampered", "one bit of a hash of an entry is another")
def hash_flipped(case: Case) -> None:
    edit(case, _hashes(case), lambda data: flipped(data, 32 * 40 + 5))


@tamper("tampered", "one bit of a hash of 256 entries is another")
def high_hash_flipped(case: Case) -> None:
    edit(case, "tile/1/000.p/1", lambda data: flipped(data, 3))


@tamper("tampered", "an entry and its hash are both replaced")
def entry_and_hash_replaced(case: Case) -> None:
    def entries(data: bytes) -> bytes:
        found = split_bundle(data)
        found[30] = found[31]
        return join_bundle(found)

    edit(case, _entries(case), entries)
    edit(case, _hashes(case), lambda data: data[: 32 * 30] + data[32 * 31 : 32 * 32] + data[32 * 31 :])


@tamper("tampered", "two entries change places")
def entries_swapped(case: Case) -> None:
    def swap(data: bytes) -> bytes:
        found = split_bundle(data)
        found[20], found[21] = found[21], found[20]
        return join_bundle(found)

    edit(case, _entries(case), swap)


@tamper("tampered", "an entry in the middle is gone")
def entry_deleted(case: Case) -> None:
    edit(
        case, _entries(case), lambda data: join_bundle([each for at, each in enumerate(split_bundle(data)) if at != 60])
    )


@tamper("truncated", "the last entry of a bundle is gone")
def last_entry_deleted(case: Case) -> None:
    edit(case, _entries(case), lambda data: join_bundle(split_bundle(data)[:-1]))


@tamper("tampered", "an entry is put in between")
def entry_inserted(case: Case) -> None:
    edit(
        case,
        _entries(case),
        lambda data: join_bundle([*split_bundle(data)[:50], b'{"kind":"alert"}', *split_bundle(data)[50:]]),
    )


@tamper("tampered", "an entry is there twice")
def entry_duplicated(case: Case) -> None:
    edit(
        case,
        _entries(case),
        lambda data: join_bundle([*split_bundle(data)[:50], split_bundle(data)[49], *split_bundle(data)[50:]]),
    )


@tamper("tampered", "bytes follow the last entry")
def bytes_appended(case: Case) -> None:
    edit(case, _entries(case), lambda data: data + b"\0\2{")


@tamper("truncated", "a bundle of entries ends within an entry")
def bundle_cut_short(case: Case) -> None:
    edit(case, _entries(case), lambda data: data[:-5])


@tamper("truncated", "a bundle of entries is missing")
def bundle_missing(case: Case) -> None:
    edit(case, _entries(case), lambda _: None)


@tamper("truncated", "a bundle of entries is empty")
def bundle_emptied(case: Case) -> None:
    edit(case, _entries(case), lambda _: b"")


@tamper("truncated", "a tile of hashes is too short")
def tile_cut_short(case: Case) -> None:
    edit(case, _hashes(case), lambda data: data[:-16])


@tamper("truncated", "a tile of hashes is missing")
def tile_missing(case: Case) -> None:
    edit(case, _hashes(case), lambda _: None)


@tamper("truncated", "a tile of the next level is missing")
def high_tile_missing(case: Case) -> None:
    edit(case, "tile/1/000.p/1", lambda _: None)


@tamper("truncated", "an entry's length says more than there is")
def length_that_lies(case: Case) -> None:
    edit(
        case,
        _entries(case),
        lambda data: data[: -len(split_bundle(data)[-1]) - 2] + b"\xff\xff" + split_bundle(data)[-1],
    )


# --- checkpoints ------------------------------------------------------------------------------------------------------


@tamper("bad-note", "there is no checkpoint")
def checkpoint_missing(case: Case) -> None:
    edit(case, "checkpoint", lambda _: None)


@tamper("bad-note", "the checkpoint has no signature lines")
def checkpoint_without_lines(case: Case) -> None:
    edit(case, "checkpoint", lambda data: data.split(b"\n\n")[0] + b"\n")


@tamper("bad-note", "the checkpoint's size is no number")
def checkpoint_of_no_size(case: Case) -> None:
    _signed_text(case, f"{case.origin}\n0x10\n{base64.b64encode(bytes(32)).decode()}\n")


@tamper("bad-note", "the checkpoint is another log's")
def checkpoint_of_another_log(case: Case) -> None:
    other = NoteKey.named("remit/home_other")
    edit(case, "checkpoint", lambda _: signed(checkpoint_text(other.name, 3, bytes(32)), [other, case.key]))


@tamper("bad-signature", "the root in the checkpoint is another")
def root_changed(case: Case) -> None:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        root = base64.b64decode(lines[2])
        return b"\n".join([*lines[:2], base64.b64encode(flipped(root, 0)), *lines[3:]])

    edit(case, "checkpoint", change)


@tamper("bad-signature", "the size in the checkpoint is one less")
def size_changed(case: Case) -> None:
    size = str(len(case.records)).encode()
    edit(case, "checkpoint", lambda data: data.replace(size, str(len(case.records) - 1).encode(), 1))


@tamper("bad-signature", "one bit of the log's signature is another")
def signature_flipped(case: Case) -> None:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        dash, name, made = lines[4].split(b" ")
        lines[4] = b" ".join([dash, name, base64.b64encode(flipped(base64.b64decode(made), 20))])
        return b"\n".join(lines)

    edit(case, "checkpoint", change)


@tamper("bad-signature", "another key of the same name signed the checkpoint")
def key_substituted(case: Case) -> None:
    note = case.note(key=NoteKey.named(case.origin, word="another"))
    edit(case, "checkpoint", lambda _: note)


@tamper("bad-signature", "another key signed under the key id of the log's")
def key_id_copied(case: Case) -> None:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        dash, name, made = lines[4].split(b" ")
        forged = NoteKey.named(case.origin, word="another").line((b"\n".join(lines[:3]) + b"\n").decode())
        raw = base64.b64decode(made)[:4] + base64.b64decode(forged.split(" ")[2])[4:]
        lines[4] = b" ".join([dash, name, base64.b64encode(raw)])
        return b"\n".join(lines)

    edit(case, "checkpoint", change)


@tamper("bad-signature", "the log's line is gone, the witnesses' are there")
def only_witnesses(case: Case) -> None:
    edit(case, "checkpoint", lambda data: b"\n".join(each for at, each in enumerate(data.split(b"\n")) if at != 4))


def _signed_text(case: Case, text: str) -> None:
    edit(case, "checkpoint", lambda _: signed(text, [case.key]))


@tamper("rollback", "the log is an older one of its own")
def rolled_back(case: Case) -> None:
    case.older = case.note()
    del case.records[-7:]


@tamper("fork", "an entry from before the older checkpoint is another, and everything is signed anew")
def forked(case: Case) -> None:
    case.older = case.note(len(case.records) - 20)
    case.at(case.find("alert"))["code"] = "nothing"


@tamper("fork", "the last entry is another, in a log of the same size")
def forked_at_the_end(case: Case) -> None:
    case.older = case.note()
    case.at(len(case.records) - 1)["at"] += 1


@tamper("fork", "the history is shorter and then grew past the older checkpoint")
def forked_and_grown(case: Case) -> None:
    case.older = case.note(len(case.records) - 20)
    case.remove(case.find("alert"))


@tamper("no-quorum", "the history is signed anew, and no witness has cosigned it")
def rewritten_without_witnesses(case: Case) -> None:
    case.cosigners, case.quorum = [], 2
    case.remove(case.find("alert"))


@tamper("", "the history is signed anew by whoever holds the key, and nobody else has seen it")
def rewritten_unseen(case: Case) -> None:
    case.cosigners = []
    case.remove(case.find("alert"))


@tamper("no-quorum", "one witness has cosigned, and two are asked for")
def quorum_short(case: Case) -> None:
    case.cosigners, case.quorum = case.witnesses[:1], 2


@tamper("no-quorum", "one witness has cosigned twice")
def one_witness_twice(case: Case) -> None:
    case.cosigners, case.quorum = [case.witnesses[0]] * 2, 2


@tamper("no-quorum", "somebody unknown has cosigned in place of a witness")
def unknown_witness(case: Case) -> None:
    case.cosigners, case.quorum = [case.witnesses[0], NoteKey.named("mallory.example", WITNESS)], 2


@tamper("bad-signature", "the cosignatures are those of an older checkpoint")
def cosignatures_of_another_checkpoint(case: Case) -> None:
    case.quorum = 2
    old = case.note(len(case.records) - 20).split(b"\n")[5:]
    edit(case, "checkpoint", lambda data: b"\n".join([*data.split(b"\n")[:5], *old]))


@tamper("bad-signature", "a cosignature says another time than it was made at")
def cosignature_of_another_time(case: Case) -> None:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        dash, name, made = lines[5].split(b" ")
        lines[5] = b" ".join([dash, name, base64.b64encode(flipped(base64.b64decode(made), 9))])
        return b"\n".join(lines)

    case.quorum = 2
    edit(case, "checkpoint", change)


@tamper("stale", "nothing newer than a day is shown")
def held_back(case: Case) -> None:
    case.max_age, case.now = 86_400, COSIGNED + 3 * 86_400


@tamper("stale", "the records are of today, and what the witnesses cosigned is of three days before")
def cosigned_long_ago(case: Case) -> None:
    case.quorum, case.max_age = 2, 86_400
    note = case.note(seconds=COSIGNED - 3 * 86_400)
    edit(case, "checkpoint", lambda _: note)


# --- what is disclosed ------------------------------------------------------------------------------------------------


def _line(lines: list[str], ending: str, number: int = 0) -> int:
    return [at for at, line in enumerate(lines) if ending in line][number]


def _swapped(lines: list[str], one: int, other: int) -> list[str]:
    """The two payloads' salts and bytes change places; their ids and entries stay."""
    parts = [lines[at].split(', "salt": ') for at in (one, other)]
    tails = [part[1].rsplit(', "entry": ', 1) for part in parts]
    lines[one] = f'{parts[0][0]}, "salt": {tails[1][0]}, "entry": {tails[0][1]}'
    lines[other] = f'{parts[1][0]}, "salt": {tails[0][0]}, "entry": {tails[1][1]}'
    return lines


@tamper("payload-mismatch", "the payloads of two actions change places")
def payloads_swapped(case: Case) -> None:
    case.lines = lambda lines: _swapped(lines, _line(lines, ".proposal"), _line(lines, ".proposal", 1))


@tamper("payload-mismatch", "one byte of a payload is another")
def payload_altered(case: Case) -> None:
    def change(lines: list[str]) -> list[str]:
        at = _line(lines, ".result", 2)
        lines[at] = lines[at].replace('"data": "eyJ', '"data": "eyK')
        return lines

    case.lines = change


@tamper("payload-mismatch", "the salt of a payload is another")
def salt_altered(case: Case) -> None:
    def change(lines: list[str]) -> list[str]:
        at = _line(lines, ".proposal", 2)
        start = lines[at].index('"salt": "') + 9
        digit = "1" if lines[at][start] == "0" else "0"
        lines[at] = lines[at][:start] + digit + lines[at][start + 1 :]
        return lines

    case.lines = change


@tamper("payload-mismatch", "a payload is handed over that no entry commits to")
def payload_invented(case: Case) -> None:
    case.lines = lambda lines: [*lines, lines[-1].replace('{"id": "', '{"id": "x')]


@tamper("payload-missing", "a payload is held back")
def payload_missing(case: Case) -> None:
    case.lines = lambda lines: [line for at, line in enumerate(lines) if at != _line(lines, ".proposal", 1)]


@tamper("payload-missing", "what voters signed is held back")
def statements_missing(case: Case) -> None:
    case.lines = lambda lines: [line for line in lines if '"vot_' not in line]


@tamper("payload-missing", "a tombstone is gone")
def tombstone_removed(case: Case) -> None:
    case.remove(case.find("erased"))


@tamper("tombstone-forged", "a tombstone names a payload that never was")
def tombstone_of_nothing(case: Case) -> None:
    case.at(case.find("erased"))["erased"]["ev_aaaaaaaaaaaaaaaa.result"] = "0" * 64


@tamper("tombstone-forged", "a tombstone names another commitment")
def tombstone_of_another_commitment(case: Case) -> None:
    erased = case.at(case.find("erased"))["erased"]
    erased.update(dict.fromkeys(erased, "0" * 64))


@tamper("tombstone-forged", "a payload is held back under a tombstone that nobody ordered")
def tombstone_without_order(case: Case) -> None:
    disclosed = [at for at, each in enumerate(case.records) if each.fields["kind"] == "outcome" and each.payloads]
    position = disclosed[-1]
    name, payload = next(iter(case.records[position].payloads.items()))
    case.records[position].payloads.clear()
    forged = case.copy_of(case.find("erased"))
    forged.fields["erased"] = {name: payload.commitment}
    case.insert(len(case.records), forged)


@tamper("tombstone-forged", "the order to erase is gone")
def order_to_erase_removed(case: Case) -> None:
    nonce = case.at(case.find("statement", command="erase"))["nonce"]
    case.records = [each for each in case.records if each.fields.get("nonce") != nonce]


@tamper("tombstone-forged", "a tombstone names what a person signed")
def tombstone_of_a_vote(case: Case) -> None:
    position = case.find("vote")
    name, payload = case.records[position].payloads.popitem()
    erased = case.find("erased")
    assert position < erased
    case.at(erased)["erased"][name] = payload.commitment


@tamper("tombstone-forged", "somebody else than who ordered it is named by the tombstone")
def tombstone_by_another(case: Case) -> None:
    case.at(case.find("erased"))["by"] = case.at(case.find("vote"))["person"]


@tamper("tombstone-forged", "the order beside a tombstone commands something else")
def order_of_another_command(case: Case) -> None:
    position = case.find("statement", command="erase", stage="accepted")
    case.sign(position, PEOPLE["lena"], command="reload")
    case.agree(case.at(position)["nonce"], command="reload")


@tamper("payload-missing", "the pruning is gone")
def pruning_removed(case: Case) -> None:
    case.remove(case.find("pruned"))


@tamper("payload-missing", "the pruning reached less far")
def pruning_shortened(case: Case) -> None:
    case.at(case.find("pruned"))["before"] = case.at(1)["at"] - 60_000_000


@tamper("payload-missing", "the pruning was of another class")
def pruning_of_another_class(case: Case) -> None:
    case.at(case.find("pruned"))["class"] = "verdicts"


@tamper("payload-missing", "the pruning stands before what it excuses")
def pruning_before_its_time(case: Case) -> None:
    record = case.remove(case.find("pruned"))
    case.insert(2, record)
