"""Making a bundle: what was chosen, with a proof of every record against one checkpoint, in one file.

What lives here: proofs, and putting members together. What never may: choosing what belongs in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from remit.flow.bundling.choosing import Chosen, choose
from remit.flow.bundling.deriving import derived
from remit.flow.bundling.members import written
from remit.flow.bundling.words import About, LogFiles, Material, Proved
from remit.flow.bundling.zipping import pack
from remit.flow.ports import Reads, StoredRecord
from remit.gates.log.checkpoints import Opened, opened
from remit.gates.log.merkle import NotProven, check_inclusion, inclusion_proof, leaf_hash
from remit.gates.log.notes import VerifierKey
from remit.gates.log.proofs import Proof
from remit.gates.log.tiles import Tile, TileHashes
from remit.model.canonical import sha256_hex
from remit.model.errors import Fault
from remit.model.manifest import Manifest


def make_bundle(
    reads: Reads,
    files: LogFiles,
    keys: Sequence[VerifierKey],
    about: About,
    connectors: Mapping[str, bytes],
    manifests: Mapping[str, Manifest],
    *,
    without: Iterable[str] = (),
    whole: bool = False,
) -> bytes:
    """The bundle's bytes: the same for the same log, payloads and choice.

    `keys` are the log's and the witnesses'; those that signed the checkpoint go into the bundle. `connectors` are the
    home's connector files; those go in that the boundary in force pins. Raises `Misuse` for what `choose` refuses,
    `NotVerified` where the log and the store do not agree, `Fault` where the log has no checkpoint.
    """
    note = files.checkpoint()
    if not note:
        raise Fault("the log has no signed checkpoint", hint="`remit gateway` keeps the log; is it running?")
    found = opened(note, keys)
    chosen = choose(reads, about, manifests, found.checkpoint.size, without=without, whole=whole)
    signers = [each.key.text for each in (*found.signed, *found.cosigned)]
    material = Material(
        about=about,
        checkpoint=note,
        keys=tuple(signers),
        entries=tuple(proofs(chosen.records, found, note, files)),
        payloads=chosen.payloads,
        absent=chosen.absent,
        connectors=_pinned(chosen, connectors),
    )
    return pack(written(material) | derived(material))


def proofs(records: Iterable[StoredRecord], found: Opened, note: bytes, files: LogFiles) -> Iterable[Proved]:
    """Each record with its proof. Raises `NotProven` for one that is not the log's entry at its position."""
    size = found.checkpoint.size
    hashes = TileHashes(size, fetching(files))
    for record in records:
        path = inclusion_proof(record.position, size, hashes)
        try:
            check_inclusion(leaf_hash(record.data), record.position, size, path, found.checkpoint.root)
        except NotProven:
            says = f"the record at position {record.position} is not the one that the log was signed with"
            raise NotProven(says, hint="`remit log verify` tells what was changed") from None
        proof = Proof(index=record.position, hashes=tuple(path), checkpoint=note)
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
