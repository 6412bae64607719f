"""What every store promises to the flow, shown on both."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from remit.flow.lifecycle import NoSuchTransition, Stale
from remit.flow.ports import Store, Transaction
from remit.flow.query import INDEXED, Query
from remit.model.words import (
    Approval,
    Clause,
    Confidentiality,
    Decision,
    Effect,
    Event,
    Integrity,
    Label,
    Mandate,
    Ruling,
    State,
    Used,
)
from tests.adapters.store import samples as a


async def opened(store: Store, name: str = "act_1", *claims: Any, **changes: Any) -> None:
    await store.commit(lambda tx: tx.open(a.action(name, **changes), claims, a.record(action=name)))


async def moved(store: Store, name: str, expected: int, event: Event, **changes: Any) -> None:
    await store.commit(lambda tx: tx.move(name, expected, event, a.record("moved", action=name), **changes))


async def used(store: Store, *window: Any, **fields: Any) -> Used:
    return (await store.commit(lambda tx: tx.used([a.window(*window, **fields)])))["Q"]


async def test_an_opened_action_and_its_records_are_there_for_readers(store: Store) -> None:
    await opened(store)
    assert store.reads.action("act_1") == a.action()
    assert [(each.position, each.kind) for each in store.reads.records(action="act_1")] == [(0, "proposal")]
    assert store.reads.counts() == {"actions": 1, "records": 1, "runs": 0, "executing": 1}


async def test_a_change_of_state_without_a_record_is_refused(store: Store) -> None:
    await opened(store)
    steps = (
        lambda tx: tx.open(a.action("act_2"), ()),
        lambda tx: tx.move("act_1", 1, Event.SUCCEED, ended_at=2),
        lambda tx: tx.note("act_1", 1, handed_over=True),
        lambda tx: tx.put_run(a.run()),
        lambda tx: tx.set_fact("boundary", b"1"),
        lambda tx: tx.reserve([a.claim()]),
    )
    for step in steps:
        with pytest.raises(ValueError, match="needs at least one record"):
            await store.commit(step)
    assert store.reads.counts()["records"] == 1
    assert store.reads.fact("boundary") is None


@pytest.mark.parametrize("state", sorted(set(State) - {State.BLOCKED, State.WAITING, State.EXECUTING}))
async def test_an_action_opens_in_no_other_state_than_the_openings(store: Store, state: State) -> None:
    with pytest.raises(NoSuchTransition):
        await opened(store, state=state)
    assert store.reads.action("act_1") is None


async def test_a_move_that_the_table_lacks_is_refused(store: Store) -> None:
    await opened(store)
    with pytest.raises(NoSuchTransition):
        await moved(store, "act_1", 1, Event.APPROVE)
    assert store.reads.action("act_1") == a.action()


async def test_of_two_moves_from_one_revision_the_second_is_stale(store: Store) -> None:
    await opened(store, state=State.WAITING)
    await moved(store, "act_1", 1, Event.APPROVE)
    with pytest.raises(Stale):
        await moved(store, "act_1", 1, Event.REJECT)
    with pytest.raises(Stale):
        await moved(store, "act_none", 1, Event.REJECT)
    found = store.reads.action("act_1")
    assert found is not None and (found.state, found.revision) == (State.APPROVED, 2)


@pytest.mark.parametrize("changed", ["targets", "digest", "connector", "proposal", "agent"])
async def test_no_event_changes_what_was_approved(store: Store, changed: str) -> None:
    await opened(store, state=State.WAITING)
    with pytest.raises(ValueError, match=f"no event changes `{changed}`"):
        await moved(store, "act_1", 1, Event.APPROVE, **{changed: "other"})


async def test_what_was_handed_over_is_never_taken_back(store: Store) -> None:
    await opened(store)
    await store.commit(lambda tx: tx.note("act_1", 1, a.record(), handed_over=True))
    with pytest.raises(ValueError, match="handed over"):
        await moved(store, "act_1", 2, Event.CUT, handed_over=False, ended_at=5)


async def test_a_steps_own_error_takes_back_that_step_alone(store: Store) -> None:
    def step(tx: Transaction) -> None:
        tx.open(a.action(), [a.claim()], a.record())
        tx.put_payload(a.payload())
        raise LookupError("own")

    with pytest.raises(LookupError, match="own"):
        await store.commit(step)
    await opened(store, "act_2")
    assert store.reads.action("act_1") is None
    assert store.reads.payload("pay_1") is None
    assert (await used(store)) == Used()
    assert [each.position for each in store.reads.records()] == [0]


async def test_a_transaction_is_dead_after_its_step(store: Store) -> None:
    kept = await store.commit(lambda tx: tx)
    with pytest.raises((ValueError, AssertionError), match="after it had returned"):
        kept.fact("x")


async def test_a_coroutine_is_no_step(store: Store) -> None:
    async def step(_: Transaction) -> None: ...

    wrong: Any = step
    with pytest.raises(TypeError, match="coroutine"):
        await store.commit(wrong)


# quotas


async def test_a_claim_counts_while_open_and_until_the_window_has_passed_its_end(store: Store) -> None:
    await opened(store, "act_1", a.claim())
    assert await used(store, 10**15) == Used(frozenset({"WS-1"}), 1)
    await moved(store, "act_1", 1, Event.SUCCEED, ended_at=100)
    assert await used(store, 100) == Used(frozenset({"WS-1"}), 1)
    assert await used(store, 101) == Used()


async def test_a_failed_action_counts_until_its_end_and_the_window(store: Store) -> None:
    await opened(store, "act_1", a.claim())
    await moved(store, "act_1", 1, Event.FAIL, ended_at=100)
    assert (await used(store, 100)).actions == 1


@pytest.mark.promise("P7")
@pytest.mark.parametrize("lost", [Event.LOSE, Event.CUT])
async def test_a_claim_of_an_unknown_outcome_never_leaves_until_it_is_settled(store: Store, lost: Event) -> None:
    await opened(store, "act_1", a.claim())
    await moved(store, "act_1", 1, lost, ended_at=100, handed_over=True)
    assert (await used(store, 10**15)).actions == 1
    with pytest.raises(ValueError, match="ended_at"):
        await moved(store, "act_1", 2, Event.SETTLE_APPLIED)
    await moved(store, "act_1", 2, Event.SETTLE_APPLIED, ended_at=900)
    assert ((await used(store, 900)).actions, (await used(store, 901)).actions) == (1, 0)


async def test_a_cut_before_the_hand_over_ends_its_claims_unless_the_hand_over_shows_later(store: Store) -> None:
    await opened(store, "act_1", a.claim())
    await moved(store, "act_1", 1, Event.CUT, ended_at=100)
    assert (await used(store, 101)).actions == 0
    await store.commit(lambda tx: tx.note("act_1", 2, a.record(), handed_over=True))
    assert (await used(store, 10**15)).actions == 1
    assert len(await store.commit(lambda tx: tx.unsettled("edr", ["WS-1"]))) == 1


@pytest.mark.promise("P10")
async def test_five_in_any_window_stay_five_across_its_edges(store: Store) -> None:
    length, limit, passed = 900, 5, []

    def step_at(now: int, number: int) -> Any:
        def step(tx: Transaction) -> bool:
            if len(tx.used([a.window(now - length)])["Q"].targets) >= limit:
                return False
            name, target = f"act_{number}", f"WS-{number}"
            tx.open(a.action(name, targets=(target,)), [a.claim(name, target)], a.record())
            tx.move(name, 1, Event.SUCCEED, a.record(), ended_at=now)
            return True

        return step

    for number, now in enumerate([*range(890, 910), *range(1780, 1830)]):
        if await store.commit(step_at(now, number)):
            passed.append(now)
    assert passed == [890, 891, 892, 893, 894, 1791, 1792, 1793, 1794, 1795]


async def test_windows_tell_agents_and_categories_apart_and_wildcards_cover(store: Store) -> None:
    await opened(store, "act_1", a.claim("act_1", "WS-1"), a.claim("act_1", "WS-2"))
    await opened(store, "act_2", a.claim("act_2", "WS-1", category="host.release", agent="other"))
    await opened(store, "act_3", a.claim("act_3", "WS-9", category="hosting"))
    both = frozenset({"WS-1", "WS-2"})
    assert await used(store, 0, "host.isolate") == Used(both, 1)
    assert await used(store, 0, "host.*") == Used(both, 2)
    assert await used(store, 0, "host.*", agents=("other",)) == Used(frozenset({"WS-1"}), 1)
    assert await used(store, 0, "*", "host.isolate") == Used(both | {"WS-9"}, 3)
    assert await used(store, 0, "mail.*") == Used()


async def test_a_waiting_action_takes_its_share_only_when_it_is_to_execute(store: Store) -> None:
    with pytest.raises(ValueError, match="no share"):
        await opened(store, "act_1", a.claim(), state=State.WAITING)
    await opened(store, state=State.WAITING)
    with pytest.raises(ValueError, match="no share"):
        await store.commit(lambda tx: tx.reserve([a.claim()]))
    await moved(store, "act_1", 1, Event.APPROVE)

    def step(tx: Transaction) -> None:
        tx.reserve([a.claim()])
        tx.reserve([a.claim()])
        tx.move("act_1", 2, Event.INTEND, a.record())

    await store.commit(step)
    assert await used(store) == Used(frozenset({"WS-1"}), 1)


# holds and twins


async def test_executing_and_unsettled_changes_keep_their_target_from_others(store: Store) -> None:
    await opened(store, "act_1")
    await opened(store, "act_2", effect=Effect.READ)
    await opened(store, "act_3", targets=("WS-3",), connector="idp")
    await opened(store, "act_4", targets=(), state=State.EXECUTING)

    async def holding(connector: str, *targets: str) -> list[str]:
        return [each.id for each in await store.commit(lambda tx: tx.unsettled(connector, targets))]

    assert await holding("edr", "WS-1", "WS-2") == ["act_1"]
    assert await holding("edr") == ["act_1", "act_4"]
    assert await holding("edr", "WS-3") == []
    await moved(store, "act_1", 1, Event.LOSE)
    assert await holding("edr", "WS-1") == ["act_1"]
    await moved(store, "act_1", 2, Event.SETTLE_NOT_APPLIED, ended_at=9)
    assert await holding("edr", "WS-1") == []


async def test_an_unbounded_action_keeps_every_target_of_its_connector(store: Store) -> None:
    await opened(store, "act_1", targets=("group",), bounded=False)
    assert len(await store.commit(lambda tx: tx.unsettled("edr", ["WS-77"]))) == 1


async def test_a_twin_is_found_only_while_it_is_open(store: Store) -> None:
    await opened(store, fingerprint="same", state=State.WAITING)
    twin = await store.commit(lambda tx: tx.open_twin("same"))
    assert twin is not None and twin.id == "act_1"
    await moved(store, "act_1", 1, Event.WITHDRAW)
    assert await store.commit(lambda tx: tx.open_twin("same")) is None
    assert await store.commit(lambda tx: tx.open_twin("")) is None


# secret arguments

SECRET_ENDS = [
    (State.WAITING, [Event.REJECT]),
    (State.WAITING, [Event.EXPIRE]),
    (State.WAITING, [Event.WITHDRAW]),
    (State.WAITING, [Event.VOID]),
    (State.WAITING, [Event.APPROVE, Event.REFUSE]),
    (State.WAITING, [Event.APPROVE, Event.EXPIRE]),
    (State.WAITING, [Event.APPROVE, Event.ASK_AGAIN, Event.APPROVE, Event.INTEND, Event.SUCCEED]),
    (State.EXECUTING, [Event.SUCCEED]),
    (State.EXECUTING, [Event.FAIL]),
    (State.EXECUTING, [Event.CUT]),
    (State.EXECUTING, [Event.LOSE]),
]


async def with_secrets(store: Store, name: str = "act_1", **fields: Any) -> None:
    def step(tx: Transaction) -> None:
        for role in ("proposal", "secrets"):
            tx.put_payload(a.payload(f"{name}.{role}"))
        tx.open(a.action(name, secrets=f"{name}.secrets", **fields), (), a.record(action=name))

    await store.commit(step)


@pytest.mark.parametrize(("state", "events"), SECRET_ENDS, ids=[events[-1] for _, events in SECRET_ENDS])
async def test_secret_arguments_and_their_fingerprint_go_with_the_move_out_of_the_last_open_state(
    store: Store, state: State, events: list[Event]
) -> None:
    await with_secrets(store, state=state)
    await with_secrets(store, "act_2", state=state)
    for revision, event in enumerate(events, 1):
        assert store.reads.payload("act_1.secrets") is not None
        before = await store.commit(lambda tx: tx.open_twin("fp-act_1"))
        assert before is not None
        await moved(store, "act_1", revision, event, ended_at=9)
    assert store.reads.payload("act_1.secrets") is None
    assert await store.commit(lambda tx: tx.payload("act_1.secrets")) is None
    ended = store.reads.action("act_1")
    assert ended is not None
    assert (ended.fingerprint, ended.secrets) == ("", "act_1.secrets")
    assert store.reads.payload("act_1.proposal") is not None
    assert store.reads.payload("act_2.secrets") is not None


async def test_a_move_that_is_taken_back_takes_back_the_removal_of_secret_arguments(store: Store) -> None:
    await with_secrets(store)

    def step(tx: Transaction) -> None:
        tx.move("act_1", 1, Event.SUCCEED, a.record(action="act_1"), ended_at=9)
        raise LookupError

    with pytest.raises(LookupError):
        await store.commit(step)
    assert store.reads.payload("act_1.secrets") is not None
    kept = store.reads.action("act_1")
    assert kept is not None
    assert kept.fingerprint


async def test_settling_an_action_whose_secret_arguments_are_gone_works(store: Store) -> None:
    await with_secrets(store)
    await moved(store, "act_1", 1, Event.LOSE, ended_at=9)
    await moved(store, "act_1", 2, Event.SETTLE_APPLIED, ended_at=12)
    settled = store.reads.action("act_1")
    assert settled is not None
    assert settled.state is State.DONE


async def test_an_action_that_opens_ended_keeps_no_secret_arguments(store: Store) -> None:
    with pytest.raises(ValueError, match="keeps no secret arguments"):
        await with_secrets(store, state=State.BLOCKED)
    assert store.reads.payload("act_1.secrets") is None


async def test_the_fingerprint_of_an_action_without_secret_arguments_stays(store: Store) -> None:
    await opened(store)
    await moved(store, "act_1", 1, Event.SUCCEED, ended_at=9)
    done = store.reads.action("act_1")
    assert done is not None
    assert done.fingerprint == "fp-act_1"


# runs, evidence, approvals


async def test_calls_are_counted_and_the_label_only_rises(store: Store) -> None:
    run = a.run(label=Label(Integrity.OPERATOR, Confidentiality.PUBLIC, "siem"))
    await store.commit(lambda tx: tx.put_run(run, a.record()))
    counted = await store.commit(lambda tx: tx.count_call("run_1"))
    assert counted is not None and counted.calls == 1
    assert await store.commit(lambda tx: tx.count_call("run_none")) is None

    def step(tx: Transaction) -> None:
        tx.raise_label(run, a.evidence(confidentiality=Confidentiality.SECRET))
        tx.append(a.record())

    await store.commit(step)
    found = store.reads.run("run_1")
    assert found is not None and found.calls == 1
    assert found.label == Label(Integrity.THIRD_PARTY, Confidentiality.SECRET, "siem")
    for lower in (replace(found, label=run.label), replace(found, calls=0)):
        with pytest.raises(ValueError, match=r"only rises|never goes back"):
            await store.commit(partial(lambda run, tx: tx.put_run(run, a.record()), lower))


async def test_a_run_is_found_by_its_token_and_two_runs_never_share_one(store: Store) -> None:
    await store.commit(lambda tx: tx.put_run(a.run(), a.record()))
    found = await store.commit(lambda tx: tx.run_by_token("hash-run_1"))
    assert found == a.run()
    with pytest.raises(ValueError):
        await store.commit(lambda tx: tx.put_run(a.run("run_2", token_hash="hash-run_1"), a.record()))
    await store.commit(lambda tx: tx.put_run(a.run("run_2", mandate=Mandate((), ())), a.record()))
    await store.commit(lambda tx: tx.put_run(a.run(closed_at=5), a.record()))
    assert [each.id for each in store.reads.runs(open_only=True)] == ["run_2"]
    assert [each.id for each in store.reads.runs()] == ["run_1", "run_2"]


async def test_evidence_and_payloads_are_written_once(store: Store) -> None:
    def step(tx: Transaction) -> None:
        tx.put_evidence(a.evidence())
        tx.put_payload(a.payload())

    await store.commit(step)
    assert store.reads.evidence("ev_1") == a.evidence()
    assert store.reads.payload("pay_1") == a.payload()
    for again in (lambda tx: tx.put_evidence(a.evidence()), lambda tx: tx.put_payload(a.payload())):
        with pytest.raises(ValueError):
            await store.commit(again)


async def test_approvals_are_kept_to_the_byte_in_their_order(store: Store) -> None:
    await opened(store, state=State.WAITING)
    said = [
        Approval(action="act_1", person=who, verb="approve", at=3, statement=b"\x00\xff", signature=b"sig")
        for who in ("ben", "ann")
    ]
    for each in said:
        await store.commit(partial(lambda approval, tx: tx.put_approval(approval, a.record()), each))
    assert store.reads.approvals("act_1") == tuple(said)
    with pytest.raises(ValueError):
        await store.commit(lambda tx: tx.put_approval(replace(said[0], action="act_none"), a.record()))


# refusals, nonces, facts, finding


async def test_refusals_are_counted_from_an_instant_on(store: Store) -> None:
    for at in (10, 20, 30):
        await store.commit(partial(lambda at, tx: tx.note_refusal("triage", at), at))
    assert await store.commit(lambda tx: (tx.refusals("triage", 20), tx.refusals("other", 0))) == (2, 0)


async def test_a_nonce_burns_once_and_is_forgotten_only_long_after_its_expiry(store: Store) -> None:
    async def burn(nonce: str, at: int) -> bool:
        await store.commit(lambda tx: tx.append(a.record(at=at)))
        return await store.commit(lambda tx: tx.burn_nonce(nonce, 1_000))

    assert [await burn("n", 0), await burn("n", 10), await burn("n", 1_001)] == [True, False, False]
    assert await burn("n", 10**12)


async def test_a_fact_is_replaced_with_its_record(store: Store) -> None:
    for value in (b"1", b"2"):
        await store.commit(partial(lambda value, tx: tx.set_fact("boundary", value, a.record("boundary")), value))
    assert store.reads.fact("boundary") == b"2"
    assert len(store.reads.records(kinds=["boundary"])) == 2


async def test_finding_goes_by_every_field_newest_first(store: Store) -> None:
    never = Ruling(decision=Decision.FORBID, clauses=(Clause("N-1", Decision.FORBID, "never"),))
    await opened(store, "act_1", opened_at=10)
    await opened(store, "act_2", opened_at=20, targets=("DC", "WS-1"), ruling=never, state=State.BLOCKED, case="c2")
    await opened(store, "act_3", opened_at=30, agent="other", run="r3", category="x.y", connector="idp", targets=())

    def found(**wanted: Any) -> list[str]:
        return [each.id for each in store.reads.actions(Query(**wanted))]

    assert found() == ["act_3", "act_2", "act_1"]
    assert (found(agent="other"), found(run="r3"), found(case="c2")) == (["act_3"], ["act_3"], ["act_2"])
    assert (found(category="x.y"), found(connector="idp")) == (["act_3"], ["act_3"])
    assert (found(states=("blocked",)), found(states=("executing",))) == (["act_2"], ["act_3", "act_1"])
    assert (found(since=20), found(until=20), found(limit=1)) == (["act_3", "act_2"], ["act_2", "act_1"], ["act_3"])


@pytest.mark.parametrize("field", INDEXED)
async def test_what_only_the_index_finds_is_refused_and_not_left_out(store: Store, field: str) -> None:
    with pytest.raises(ValueError, match=f"by `{field}`, only the index can"):
        store.reads.actions(replace(Query(), **{field: "x"}))
