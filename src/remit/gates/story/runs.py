"""The story of a run: its timeline, one line for each thing that happened in it.

What lives here: choosing and ordering the lines. What never may: looking anything up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from remit.gates.story.entries import said
from remit.gates.story.telling import run_facts
from remit.gates.story.words import Entry, RunStory, Step
from remit.model.words import Action, Run


def tell_run(
    run: Run,
    entries: Iterable[Entry],
    actions: Mapping[str, Action],
    *,
    names: Mapping[str, str],
    left_out: bool = False,
) -> RunStory:
    """The run's story. `actions` are the run's own, by id: each stands once, where it was proposed, as it is now.

    `names` are those of the pseudonyms in the entries. `left_out` says that there are older records than these.
    """
    told = tuple(said(entry, names) for entry in sorted(entries, key=lambda entry: entry.position))
    steps = (_step(entry, actions) for entry in told)
    return RunStory(
        run=run_facts(run), steps=tuple(step for step in steps if step is not None), entries=told, left_out=left_out
    )


def _step(entry: Entry, actions: Mapping[str, Action]) -> Step | None:
    named = entry.fields.get("action")
    action_id = named if isinstance(named, str) else ""
    if entry.kind == "proposal":
        return _proposed(entry, action_id, actions.get(action_id))
    if entry.kind == "alert" or (action_id and entry.kind != "hold"):
        return None
    return Step(at=entry.at, position=entry.position, says=entry.says)


def _proposed(entry: Entry, action_id: str, action: Action | None) -> Step:
    tool = f"{entry.fields.get('connector', '')}.{entry.fields.get('tool', '')}"
    if action is None:
        return Step(at=entry.at, position=entry.position, says=f"{tool}, {entry.says}", action=action_id)
    on = f" on {', '.join(action.targets)}" if action.targets else ""
    says = f"{tool}{on}, {entry.says}"
    return Step(at=entry.at, position=entry.position, says=says, action=action_id, state=action.state)
