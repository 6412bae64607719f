"""From the files that people write to what is in force: every check on the way, values in, values out.

What lives here: whether a boundary may come into force, what a changed inventory may change at once, which tools are
usable. What never may: reading files, writing the store, a way to load what is not properly signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from remit.flow.force import Force, Tool
from remit.gates.boundary.changes import widens
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.gates.validation import SchemaValidator, Uncompilable, compile_schema
from remit.model.canonical import sha256_hex
from remit.model.definitions import LockFile
from remit.model.errors import NotVerified
from remit.model.inventories import compare_inventories
from remit.model.manifest import Manifest, ToolManifest
from remit.model.people import Person, Role, Roster, verify_signed
from remit.model.signatures import Namespace
from remit.model.targets import Inventory
from remit.model.words import Definition, Instant, Target


class Signed(Struct, frozen=True):
    """A file's exact bytes, and the signatures beside it by file name."""

    data: bytes
    signatures: dict[str, bytes]


class Accepted(Struct, frozen=True):
    """The boundary that was in force last: a lower version never comes into force again."""

    digest: str
    version: int


class Loaded(Struct, frozen=True):
    """A boundary that may come into force, and who signed it."""

    boundary: Boundary
    digest: str
    signers: tuple[Person, ...]


def boundary_digest(data: bytes) -> str:
    """The boundary's digest: SHA-256 of its exact bytes, in hex."""
    return sha256_hex(data)


def check_boundary(
    signed: Signed, roster: Roster, before: Accepted | None, standing: Boundary | None, now: Instant
) -> Loaded:
    """The boundary, if it may come into force now.

    Raises `Unreadable` for a file that is none, and `NotVerified` unless enough leaders of the roster signed exactly
    these bytes, its time has come, and its version is higher than the last one's (the same bytes may load again). A
    change that is not provably a tightening needs the signatures of a widening, by both the old and the new file. An
    expired one loads: every `auto` in it becomes `approve`.
    """
    return check_parsed(load(signed.data), signed, roster, before, standing, now)


def check_parsed(
    boundary: Boundary, signed: Signed, roster: Roster, before: Accepted | None, standing: Boundary | None, now: Instant
) -> Loaded:
    """The same for a boundary that was read from `signed.data` before."""
    digest = boundary_digest(signed.data)
    again = before is not None and before.digest == digest
    wide = before is None or (not again and (standing is None or widens(standing, boundary)))
    needed = boundary.signatures.widen if wide else boundary.signatures.tighten
    if wide and standing is not None:
        needed = max(needed, standing.signatures.widen)
    signers = verify_signed(
        roster, signed.data, signed.signatures.values(), Namespace.BOUNDARY, [Role.LEADER], now=now, needed=needed
    )
    if now < boundary.not_before:
        raise NotVerified(
            f"the boundary `{boundary.name}` version {boundary.version} is not valid yet",
            hint="wait until its `not_before`, or have one signed that begins earlier",
        )
    if before is not None and not again and boundary.version <= before.version:
        raise NotVerified(
            f"the boundary's version is `{boundary.version}`, expected one higher than `{before.version}`",
            hint=f"set `version = {before.version + 1}` and have it signed again",
        )
    return Loaded(boundary, digest, signers)


def check_pins(boundary: Boundary, manifests: Mapping[str, Manifest]) -> None:
    """Raises `NotVerified` where a connector file is not the one that the boundary pins."""
    for name, pin in boundary.pins.items():
        manifest = manifests.get(name)
        if manifest is None:
            raise NotVerified(
                f"the boundary pins connector `{name}`, and there is no `connectors/{name}.toml`",
                hint="put the connector's file back, or have a boundary signed without it",
            )
        if manifest.digest != pin:
            raise NotVerified(
                f"`connectors/{name}.toml` is `{manifest.digest}`, the boundary pins `{pin}`",
                hint="put the pinned file back, or have a boundary signed that pins the new one",
            )


def tightened(old: Inventory, new: Inventory) -> tuple[Inventory, tuple[str, ...], tuple[str, ...]]:
    """What of a changed inventory applies at once: the inventory to use, what changed in it, and what waits.

    Each target is compared by itself: where nothing about it loosens, its new facts count; else the old ones stay.
    """
    change = compare_inventories(old, new)
    if not change.loosening:
        return new, change.tightening, ()
    kept: list[Target] = []
    applied: list[str] = []
    for target in old.targets:
        after = new.by_id.get(target.id)
        if after is None or after == target:
            kept.append(target)
            continue
        alone = compare_inventories(Inventory([target]), Inventory([after]))
        kept.append(target if alone.loosening else after)
        applied += [] if alone.loosening else alone.tightening
    return Inventory(kept), tuple(applied), change.loosening


def catalogue(
    boundary: Boundary,
    manifests: Mapping[str, Manifest],
    locks: Mapping[str, LockFile],
    definitions: Mapping[str, Sequence[Definition]],
) -> dict[str, Tool]:
    """Every tool that a connector offers, by the name that agents use; parked ones with the reason."""
    tools: dict[str, Tool] = {}
    for name in sorted(definitions):
        manifest = manifests[name]
        for definition in definitions[name]:
            tool = _tool(boundary, manifest, locks.get(name, LockFile()), definition)
            twin = tools.get(tool.name)
            if twin is not None:
                why = f"connectors `{twin.connector}` and `{name}` both offer `{tool.name}`"
                tools[tool.name] = replace(twin, parked=why)
            else:
                tools[tool.name] = tool
    return tools


def _tool(boundary: Boundary, manifest: Manifest, lock: LockFile, definition: Definition) -> Tool:
    known = manifest.tools.get(definition.name)
    parked, schema = "", None
    if manifest.name not in boundary.pins:
        parked = "the boundary does not pin its connector"
    elif known is None or not known.classified:
        parked = "nobody has classified it"
    elif lock.tools.get(definition.name) is None:
        parked = "no operator has accepted its definition"
    elif lock.tools[definition.name] != definition.digest:
        parked = "its definition has changed since an operator accepted it"
    else:
        schema, parked = _compiled(definition)
    return Tool(
        name=manifest.shown_name(definition.name),
        connector=manifest.name,
        manifest=known or ToolManifest(name=definition.name),
        definition=definition,
        accepted=lock.tools.get(definition.name, ""),
        label=manifest.label,
        credential=manifest.credential.kind,
        cuttable=manifest.cuttable,
        schema=schema,
        parked=parked,
    )


def _compiled(definition: Definition) -> tuple[SchemaValidator | None, str]:
    try:
        return compile_schema(definition.input_schema), ""
    except Uncompilable as error:
        return None, error.message


def put_together(
    home: str,
    loaded: Loaded,
    roster: Roster,
    inventory: Inventory,
    manifests: Mapping[str, Manifest],
    tools: Mapping[str, Tool],
) -> Force:
    """Everything in force, as one value."""
    return Force(
        home=home,
        boundary=loaded.boundary,
        boundary_digest=loaded.digest,
        evaluator=compile_boundary(loaded.boundary, loaded.digest, inventory.targets),
        roster=roster,
        inventory=inventory,
        manifests=dict(manifests),
        tools=dict(tools),
    )


DAY = 24 * 60 * 60 * 1_000_000
WARN_DAYS = (3, 14, 30)


def expiry_warning(boundary: Boundary, now: Instant) -> str:
    """Empty, or what to say of a boundary that has expired or will within 30, 14 or 3 days."""
    if now >= boundary.not_after:
        return "the boundary HAS EXPIRED: everything that ran by itself now needs a human; have a new one signed"
    for days in WARN_DAYS:
        if now >= boundary.not_after - days * DAY:
            left = (boundary.not_after - now) // DAY
            when = f"in {left} days" if left else "within a day"
            return f"the boundary expires {when} (inside {days} days): have the next one signed"
    return ""
