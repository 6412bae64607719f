"""What another inventory would change: what may apply at once, and what must wait for a human.

What lives here: comparing two inventories, erring towards waiting. What never may: applying anything.
"""

from __future__ import annotations

from typing import NamedTuple

from remit.model.targets import Inventory
from remit.model.words import Target


class InventoryChange(NamedTuple):
    """What another inventory would change, as sentences that name the target's id: what may apply at once, and what
    must wait for a human because somebody could do more under it."""

    tightening: tuple[str, ...]
    loosening: tuple[str, ...]


# Where a change between these kinds makes a target more critical. Any other change of kind loosens.
_CRITICALITY = {"workstation": 0, "server": 1, "dns": 2, "domain-controller": 3}


def compare_inventories(old: Inventory, new: Inventory) -> InventoryChange:
    """What `new` changes, in the order of ids; both empty where nothing that Remit reads differs.

    An unknown target or attribute is read as the worst, so learning one loosens. Labels, owners and aliases may stand
    in tiers, rules and nevers, so each change of them loosens. Only what certainly restricts counts as tightening.
    """
    tightening: list[str] = []
    loosening: list[str] = []
    for key in sorted(old.by_id.keys() | new.by_id.keys()):
        before, after = old.by_id.get(key), new.by_id.get(key)
        if after is None:
            loosening.append(f"`{key}` is gone: what names it will not find it")
        elif before is None:
            loosening.append(f"`{key}` is new: so far its names are unknown, which is the most restrictive")
        elif before != after:
            _compare_facts(before, after, tightening, loosening)
            loosening += _compare_names(before, after, old)
    return InventoryChange(tuple(tightening), tuple(loosening))


def _compare_facts(before: Target, after: Target, tightening: list[str], loosening: list[str]) -> None:
    if before.kind != after.kind:
        rank, was = _CRITICALITY.get(after.kind or "", -1), _CRITICALITY.get(before.kind or "", 99)
        stricter = after.kind is None or rank > was
        sentence = f"`{after.id}` was a `{before.kind or 'unknown'}` and becomes a `{after.kind or 'unknown'}`"
        (tightening if stricter else loosening).append(sentence)
    if before.privileged != after.privileged:
        stricter = after.privileged is None or (after.privileged and before.privileged is not None)
        words = {True: "privileged", False: "not privileged", None: "of unknown privilege"}
        sentence = f"`{after.id}` was {words[before.privileged]} and becomes {words[after.privileged]}"
        (tightening if stricter else loosening).append(sentence)
    if before.owner != after.owner:
        loosening.append(f"`{after.id}` belonged to `{before.owner or 'nobody'}`, now to `{after.owner or 'nobody'}`")


def _compare_names(before: Target, after: Target, old: Inventory) -> list[str]:
    sentences = [f"`{after.id}` gets the label `{label}`" for label in after.labels if label not in before.labels]
    sentences += [f"`{after.id}` loses the label `{label}`" for label in before.labels if label not in after.labels]
    for alias in after.aliases:
        if alias not in before.aliases:
            holder = old.resolve(alias)
            moved = holder.known and holder.id != after.id
            whence = f", which was a name of `{holder.id}`" if moved else ""
            sentences.append(f"`{after.id}` gets the alias `{alias}`{whence}")
    sentences += [f"`{after.id}` loses the alias `{alias}`" for alias in before.aliases if alias not in after.aliases]
    return sentences
