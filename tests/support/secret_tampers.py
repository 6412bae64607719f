"""The ways to tamper with secret arguments, which are kept while their action is open, each with its word.

What lives here: attacks that pass a payload off as one that has ended. What never may: attacks on other payloads, which
are in `tampers`.
"""

from __future__ import annotations

from tests.support.tampering import Case
from tests.support.tampers import tamper


def _secrets(case: Case, *, disclosed: bool) -> int:
    """Where an action was proposed whose secret arguments are still there, or are gone."""
    return next(
        at
        for at, each in enumerate(case.records)
        for name in each.fields.get("payloads", {})
        if name.endswith(".secrets") and (name in each.payloads) is disclosed
    )


@tamper("payload-missing", "the secret arguments of an open action are gone")
def secrets_removed_while_open(case: Case) -> None:
    case.lines = lambda lines: [line for line in lines if '.secrets"' not in line]


@tamper("payload-missing", "what became of an action whose secret arguments are gone is not in the log")
def end_of_secrets_removed(case: Case) -> None:
    outcomes = [each.fields["action"] for each in case.records if each.fields["kind"] == "outcome"]
    proposed = [each.fields for each in case.records if each.fields["kind"] == "proposal"]
    action = next(
        each["action"]
        for each in proposed
        if each["action"] in outcomes and f"{each['action']}.secrets" in each["payloads"]
    )
    gone = ("outcome", "settled", "alert")
    case.records = [
        each for each in case.records if each.fields.get("action") != action or each.fields["kind"] not in gone
    ]


@tamper("payload-missing", "other payloads of an action that has ended are gone too, as if they were secret arguments")
def more_than_secrets_removed(case: Case) -> None:
    action = case.at(_secrets(case, disclosed=False))["action"]
    case.lines = lambda lines: [line for line in lines if f'"{action}.proposal"' not in line]


@tamper("payload-mismatch", "other secret arguments than were proposed are handed over")
def secrets_altered(case: Case) -> None:
    def change(lines: list[str]) -> list[str]:
        at = next(at for at, line in enumerate(lines) if '.secrets"' in line)
        lines[at] = lines[at].replace('"data": "eyJ', '"data": "eyK')
        return lines

    case.lines = change


@tamper("tombstone-forged", "a tombstone names secret arguments, which nobody erases")
def tombstone_of_secrets(case: Case) -> None:
    position = _secrets(case, disclosed=True)
    name, payload = next(each for each in case.records[position].payloads.items() if each[0].endswith(".secrets"))
    del case.records[position].payloads[name]
    tombstone = case.find("erased", -1)
    case.at(tombstone)["erased"][name] = payload.commitment


@tamper("payload-missing", "secret arguments of an open action are gone as if retention pruned them")
def pruning_of_secrets(case: Case) -> None:
    secrets_removed_while_open(case)
    pruned = case.copy_of(case.find("pruned"))
    case.insert(len(case.records), pruned)
    pruned.fields |= {"class": "secretss", "before": pruned.fields["at"]}
