"""The ledger in a temporary file answers as the plain one does, however little it keeps in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remit.adapters.log.ledger import TemporaryLedger
from remit.flow.auditing.ledger import MemoryLedger, Owed, key_of

KEYS = st.one_of(st.integers(0, 20), st.integers(-(2**63), 2**63 - 1), st.sampled_from([1 << 27, 1 << 59, 5 | 1 << 27]))
KINDS = st.sampled_from(["read_results", "proposals"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("first"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("recall"), KEYS, st.just(0)),
        st.tuples(st.just("owe"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("settle"), KEYS, st.just(0)),
        st.tuples(st.just("forgive"), st.integers(0, 0), st.integers(0, 10)),
    ),
    max_size=60,
)


@given(steps=STEPS, kind=KINDS)
def test_it_answers_as_the_plain_one(steps: list[tuple[str, int, int]], kind: str) -> None:
    plain, small = MemoryLedger(), TemporaryLedger(batch=3, batches=2)
    for what, key, number in steps:
        answers = []
        for each in (plain, small):
            match what:
                case "first":
                    answers.append(each.first(key, number))
                case "recall":
                    answers.append(each.recall(key))
                case "owe":
                    each.owe(Owed(key, kind, number, number, f"p{key}"))
                case "settle":
                    answers.append(each.settle(key))
                case "forgive":
                    answers.append(each.forgive(kind, number))
        assert len(set(answers)) <= 1, (what, key, answers)
    assert plain.owing(100)[0] == small.owing(100)[0]
    assert set(plain.owing(100)[1]) == set(small.owing(100)[1])
    small.close()


def test_it_remembers_many_things_without_holding_them() -> None:
    found = TemporaryLedger(batch=1000)
    for number in range(20_000):
        assert found.first(key_of("action", f"act_{number}"), number) is None
    assert found.first(key_of("action", "act_7"), 1) == 7
    assert found.recall(key_of("nonce", "act_7")) is None
    assert len(found._fresh) < 1000
    found.close()
