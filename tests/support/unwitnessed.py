"""The ways to tamper with a log whose witnesses are behind, each with the word by which a verifier must name it.

What lives here: attacks on `checkpoint.witnessed`, and on records before and after what the witnesses saw, where the
newest checkpoint has too few cosignatures. What never may: attacks on the newest checkpoint; those are in `tampers`.
"""

from __future__ import annotations

from tests.support.tampering import COSIGNED, Case
from tests.support.tampers import edit, tamper
from tests.support.tile_log import WITNESS, NoteKey, checkpoint_text, signed

BEHIND = 20
"""How many records came after what the witnesses saw last."""


def _behind(case: Case) -> int:
    return len(case.records) - BEHIND


@tamper("", "the witnesses are behind, and what they saw last lies beside the newest checkpoint")
def witnesses_behind(case: Case) -> None:
    case.fall_behind(_behind(case))


@tamper("", "what came after what the witnesses saw last is signed anew by whoever holds the key")
def rewritten_after_the_witnesses(case: Case) -> None:
    case.fall_behind(_behind(case))
    case.at(len(case.records) - 1)["at"] += 1


@tamper("stale", "an old checkpoint with its cosignatures is put back, and what came after it is signed anew")
def rewritten_after_witnesses_of_long_ago(case: Case) -> None:
    case.fall_behind(_behind(case), COSIGNED - 3 * 86_400)
    case.max_age = 86_400
    case.at(len(case.records) - 1)["at"] += 1


@tamper("stale", "one witness cosigned an old checkpoint once more, and the other has not seen it for three days")
def one_witness_of_long_ago(case: Case) -> None:
    text, (early, late) = case.text(_behind(case)), case.witnesses
    case.fall_behind()
    note = signed(text, [case.key]).decode() + early.line(text, COSIGNED - 3 * 86_400) + late.line(text, COSIGNED)
    case.witnessed, case.max_age = note.encode(), 86_400


@tamper("no-quorum", "the history is signed anew, and what the witnesses saw last is deleted")
def witnessed_deleted(case: Case) -> None:
    case.fall_behind()
    case.witnessed = None
    case.remove(case.find("alert"))


@tamper("fork", "an entry that the witnesses saw is another, and everything is signed anew")
def rewritten_before_the_witnesses(case: Case) -> None:
    case.fall_behind(_behind(case))
    case.at(case.find("alert"))["code"] = "nothing"


@tamper("fork", "the last entry that the witnesses saw is another, in a log of the same size")
def rewritten_at_the_witnesses(case: Case) -> None:
    case.fall_behind()
    case.at(len(case.records) - 1)["at"] += 1


@tamper("rollback", "the witnesses saw more than there is")
def cut_below_the_witnesses(case: Case) -> None:
    case.fall_behind()
    del case.records[-7:]


@tamper("no-quorum", "one witness has cosigned what lies beside, and two are asked for")
def witnessed_by_one(case: Case) -> None:
    case.cosigners = case.witnesses[:1]
    case.fall_behind(_behind(case))


@tamper("no-quorum", "one witness has cosigned the newest checkpoint, and the other what lies beside")
def witnessed_by_one_each(case: Case) -> None:
    case.cosigners = case.witnesses[:1]
    case.fall_behind(_behind(case))
    case.cosigners = case.witnesses[1:]


@tamper("no-quorum", "one witness has cosigned twice what lies beside")
def witnessed_by_one_twice(case: Case) -> None:
    text, one = case.text(_behind(case)), case.witnesses[0]
    case.fall_behind()
    case.witnessed = (signed(text, [case.key]).decode() + one.line(text, 1) + one.line(text, COSIGNED)).encode()


@tamper("no-quorum", "somebody unknown has cosigned what lies beside in place of a witness")
def witnessed_by_a_stranger(case: Case) -> None:
    case.cosigners = [case.witnesses[0], NoteKey.named("mallory.example", WITNESS)]
    case.fall_behind(_behind(case))


@tamper("bad-signature", "another key of the same name signed what the witnesses saw")
def witnessed_of_another_key(case: Case) -> None:
    note = case.note(_behind(case), NoteKey.named(case.origin, word="another"))
    case.fall_behind()
    case.witnessed = note


@tamper("bad-signature", "the cosignatures beside are those of an older checkpoint")
def witnessed_with_lines_of_another(case: Case) -> None:
    old = case.note(_behind(case) - 9).split(b"\n")[5:]
    case.fall_behind(_behind(case))
    assert case.witnessed is not None
    case.witnessed = b"\n".join([*case.witnessed.split(b"\n")[:5], *old])


@tamper("bad-signature", "the size of what the witnesses saw is another")
def witnessed_of_another_size(case: Case) -> None:
    size = _behind(case)
    case.fall_behind(size)
    edit(case, "checkpoint.witnessed", lambda data: data.replace(str(size).encode(), str(size + 1).encode(), 1))


@tamper("bad-note", "what the witnesses saw is another log")
def witnessed_of_another_log(case: Case) -> None:
    other = NoteKey.named("remit/home_other")
    text = checkpoint_text(other.name, 3, bytes(32))
    case.fall_behind()
    case.witnessed = signed(text, [other, case.key], case.witnesses, COSIGNED)


@tamper("bad-note", "what the witnesses saw is no note")
def witnessed_is_no_note(case: Case) -> None:
    case.fall_behind()
    edit(case, "checkpoint.witnessed", lambda data: data.split(b"\n\n")[0] + b"\n")
