"""Making a bundle: what was chosen, with a proof of every record against one checkpoint, in one file.

What lives here: proofs, and putting members together. What never may: choosing what belongs in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from remit.flow.auditing.files import Trust, has_quorum, notes_of
from remit.flow.bundling.choosing import Chosen, choose
from remit.flow.bundling.deriving import derived
from remit.flow.bundling.members import written
from remit.flow.bundling.words import About, LogFiles, Material, Proved
from remit.flow.bundling.zipping import pack
from remit.flow.ports import Reads, StoredRecord
from remit.gates.log.checkpoints import Opened, opened
from remit.gates.log.merkle import Hashes, NotProven, check_inclusion, inclusion_proof, leaf_hash
from remit.gates.log.proofs import Proof
from remit.gates.log.tiles import Tile, TileHashes
from remit.model.canonical import sha256_hex
from remit.model.errors import Fault
from remit.model.manifest import Manifest


def make_bundle(
    reads: Reads,
    files: LogFiles,
    trust: Trust,
    about: About,
    connectors: Mapping[str, bytes],
    manifests: Mapping[str, Manifest],
    *,
    without: Iterable[str] = (),
    whole: bool = False,
) -> bytes:
    """The bundle's bytes: the same for the same log, payloads and choice.

    Everything is proved against the newest checkpoint; where that has not the quorum of witnesses in `trust`, and the
    log has an older one that has and that holds everything about the action or case, against that. The keys that signed
    it go into the bundle. `connectors` are the home's connector files; those go in that the boundary in force pins.
    Raises `Misuse` for what `choose` refuses, `NotVerified` where the log and the store do not agree, `Fault` where the
    log has no checkpoint.
    """
    note, witnessed = notes_of(files, trust)
    if not note:
        raise Fault("the log has no signed checkpoint", hint="`remit gateway` keeps the log; is it running?")
    newest = _Basis.of(note, trust)

    def chosen_below(size: int) -> Chosen:
        return choose(reads, about, manifests, size, without=without, whole=whole)

    basis, chosen = newest, chosen_below(newest.size)
    if has_quorum(witnessed, trust) and not has_quorum(note, trust):
        seen = _Basis.of(witnessed, trust)
        if chosen.needs <= seen.size <= newest.size and _gone(earlier := chosen_below(seen.size)) == _gone(chosen):
            basis, chosen = seen, earlier
    material = Material(
        about=about,
        checkpoint=basis.note,
        keys=tuple(each.key.text for each in (*basis.opened.signed, *basis.opened.cosigned)),
        entries=tuple(_proofs(chosen.records, basis, TileHashes(newest.size, fetching(files)))),
        payloads=chosen.payloads,
        absent=chosen.absent,
        connectors=_pinned(chosen, connectors),
    )
    return pack(written(material) | derived(material))


class _Basis(Struct, frozen=True):
    """The checkpoint that everything is proved against."""

    note: bytes
    opened: Opened

    @classmethod
    def of(cls, note: bytes, trust: Trust) -> _Basis:
        return cls(note, opened(note, (*trust.keys, *trust.witnesses)))

    @property
    def size(self) -> int:
        return self.opened.checkpoint.size


def _gone(chosen: Chosen) -> set[str]:
    """Payloads that are no longer there, and of which no record in the bundle says why."""
    return {each.id for each in chosen.absent if each.why == "gone"}


def _proofs(records: Iterable[StoredRecord], basis: _Basis, hashes: Hashes) -> Iterable[Proved]:
    """Each record with its proof. Raises `NotProven` for one that is not the log's entry at its position."""
    size, root = basis.size, basis.opened.checkpoint.root
    for record in records:
        path = inclusion_proof(record.position, size, hashes)
        try:
            check_inclusion(leaf_hash(record.data), record.position, size, path, root)
        except NotProven:
            says = f"the record at position {record.position} is not the one that the log was signed with"
            raise NotProven(says, hint="`remit log verify` tells what was changed") from None
        proof = Proof(index=record.position, hashes=tuple(path), checkpoint=basis.note)
        yield Proved(position=record.position, entry=record.data, proof=proof.encode())


def fetching(files: LogFiles):  # type: ignore[no-untyped-def]
    """A tile's bytes, or `Fault` where it is not there."""

    def fetch(tile: Tile) -> bytes:
        data = files.tile(tile)
        if data is None:
            raise Fault(f"the log has no file `{tile.path}`", hint="`remit log verify` tells what is missing")
        return data

    return fetch


def _pinned(chosen: Chosen, connectors: Mapping[str, bytes]) -> dict[str, bytes]:
    """The connector files that some boundary in the bundle pins by their digest."""
    boundaries = b"".join(each.payload.data for each in chosen.payloads if each.payload.id.startswith("bnd_"))
    return {
        name: connectors[name]
        for name in chosen.connectors
        if name in connectors and sha256_hex(connectors[name]).encode() in boundaries
    }
