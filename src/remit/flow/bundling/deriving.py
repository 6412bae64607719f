"""What a bundle says for people, made from what it proves: the page, the README, and readable copies of files.

What lives here: material to derived members. What never may: a fact that is not in the material. INVARIANT: `derived`
gives the same bytes to whoever makes a bundle and to whoever checks it; so no such member can say anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from remit.flow.bundling.retelling import Retold, fields_of, text
from remit.flow.bundling.words import Material
from remit.flow.bundling.zipping import BadBundle
from remit.flow.gathering import Gathering, entry_of
from remit.flow.reconciling import last_reconciled
from remit.flow.reloading import ROSTER
from remit.gates.boundary.english import tally
from remit.gates.boundary.page import page
from remit.gates.boundary.words import BUILT_IN, Boundary
from remit.gates.log.checkpoints import Opened, opened
from remit.gates.log.notes import VerifierKey
from remit.gates.log.spelling import to_base64
from remit.gates.story import RecordStory, Story, tell
from remit.gates.story.dossier import Cosigned, Dossier, Exact, LeftOut, ProofFacts, Reconciled
from remit.gates.story.entries import said
from remit.gates.story.page import render_page
from remit.model.display import safe_line
from remit.model.errors import RemitError
from remit.model.manifest import Manifest, load_manifest
from remit.model.people import Roster, load_roster
from remit.model.words import REMIT, SECOND, Action

PAGE, README, RECONCILED = "story.html", "README.txt", "reconcile.json"
_MOST_REFUSALS: Final = 200


def derived(material: Material) -> dict[str, bytes]:
    """The members that are made from the rest, by name. Raises `NotVerified` where the checkpoint is not signed by the
    bundle's own keys, `BadBundle` where there is nothing to tell."""
    retold = Retold(material)
    dossier = dossier_of(material, retold)
    try:
        story = render_page(dossier)
    except ZoneInfoNotFoundError:
        raise BadBundle(
            f"the time zone `{dossier.zone}` is not known here", hint="install the time zone data"
        ) from None
    return {
        PAGE: story.encode("utf-8", "replace"),
        README: _readme(material, dossier).encode(),
        RECONCILED: _reconciled_file(dossier.reconciled),
        **_files(retold),
    }


def dossier_of(material: Material, retold: Retold) -> Dossier:
    """What the page is written from. Raises as `derived` does."""
    manifests = _manifests(material)
    gathering = Gathering(retold, manifests)
    chosen = _chosen(material, retold)
    if not chosen:
        raise BadBundle("the bundle holds no record of what it says that it is about", member="records.jsonl")
    stories = tuple(tell(gathering.facts(action)) for action in chosen)
    created = next((retold.fields[each.position] for each in retold.records(kinds=("home.created",))), {})
    roster = _roster(retold)
    boundary = retold.boundary(chosen[-1].ruling.boundary)
    return Dossier(
        home=text(created, "home"),
        practice=created.get("practice") is True,
        zone=boundary.timezone if boundary else gathering.zone,
        case=material.about.case,
        stories=stories,
        refusals=_refusals(retold, gathering, {action.run for action in chosen}),
        proof=_proof(material, retold),
        records=tuple(_exact(material, retold, gathering)),
        clauses=_clauses(retold, chosen),
        kinds={each.name: each.does for each in boundary.categories} if boundary else {},
        purposes={each.name: each.purpose for each in boundary.agents} if boundary else {},
        people={each.id.casefold(): each.name for each in roster.people} if roster else {},
        reconciled=tuple(_reconciled(retold, stories)),
        left_out=tuple(_left_out(material, retold)),
    )


def _chosen(material: Material, retold: Retold) -> list[Action]:
    about = material.about
    if about.action:
        action = retold.action(about.action)
        return [action] if action else []
    found = [each for each in retold.every_action() if each.case == about.case and each.agent != REMIT]
    return sorted(found, key=lambda each: (each.opened_at, each.id))


def checkpoint_of(material: Material) -> Opened:
    """The checkpoint, as far as the bundle's own keys signed it. Raises `NotVerified`."""
    return opened(material.checkpoint, [VerifierKey.parse(key) for key in material.keys])


def _proof(material: Material, retold: Retold) -> ProofFacts:
    found = checkpoint_of(material)
    last = retold.records(limit=1)
    newest = last[0].at if last and last[0].position == found.checkpoint.size - 1 else 0
    return ProofFacts(
        origin=found.checkpoint.origin,
        size=found.checkpoint.size,
        root=to_base64(found.checkpoint.root),
        keys=tuple(each.key.text for each in found.signed),
        cosigned=tuple(Cosigned(name=each.key.name, at=(each.at or 0) * SECOND) for each in found.cosigned),
        until=newest,
    )


def _exact(material: Material, retold: Retold, gathering: Gathering) -> Iterable[Exact]:
    for record in retold.records(limit=len(material.entries)):
        entry = entry_of(record)
        yield Exact(
            position=record.position,
            kind=record.kind,
            at=record.at,
            says=said(entry, gathering.naming.of([entry])).says,
            text=record.data.decode("utf-8", "replace"),
            sha256=record.sha256.hex(),
        )


def _refusals(retold: Retold, gathering: Gathering, runs: set[str]) -> tuple[RecordStory, ...]:
    found = [each for each in retold.records(kinds=("refusal",), limit=_MOST_REFUSALS) if each.run in runs]
    entries = [entry_of(each) for each in found]
    names = gathering.naming.of(entries)
    return tuple(
        RecordStory(entry=said(entry, names), names=names, run=record.run, agent=record.agent)
        for entry, record in zip(entries, found, strict=True)
    )


def _left_out(material: Material, retold: Retold) -> Iterable[LeftOut]:
    positions: dict[str, int] = {}
    for position, fields in sorted(retold.fields.items()):
        kept = fields.get("payloads")
        for name in kept if isinstance(kept, dict) else {}:
            positions.setdefault(name, position)
    for each in material.absent:
        role = each.id.rpartition(".")[2]
        note = _tombstone(retold, each.id) if each.why == "erased" else ""
        yield LeftOut(id=each.id, role=role, why=each.why, position=positions.get(each.id, 0), note=note)


def _tombstone(retold: Retold, payload_id: str) -> str:
    """Who erased a payload, and on which ground, as far as the bundle tells."""
    tombstone = retold.tombstone(payload_id)
    if tombstone is None:
        return ""
    fields = retold.fields[tombstone.position]
    why = retold.payload_of(tombstone.position, "why")
    said_why = fields_of(why.data) if why else {}
    who = retold.people.get(text(fields, "by"), "") or text(said_why, "by") or "a person on the roster"
    parts = (f"by {who}", text(fields, "basis"), text(said_why, "reason"))
    return safe_line("; ".join(filter(None, parts)), 300)


def _reconciled(retold: Retold, stories: Iterable[Story]) -> Iterable[Reconciled]:
    found = last_reconciled(retold)
    for connector in sorted({story.connector for story in stories}):
        last = found.get(connector)
        if last is None:
            yield Reconciled(connector=connector)
            continue
        yield Reconciled(
            connector=connector,
            at=last.at,
            since=last.since,
            until=last.until,
            effects=last.effects,
            matched=last.matched,
            findings=last.findings,
            position=last.position,
        )


def _clauses(retold: Retold, actions: Iterable[Action]) -> dict[str, str]:
    """Every clause in the words of the boundary that ruled; where two boundaries rule a case, the later's."""
    found: dict[str, str] = dict(BUILT_IN)
    for digest in dict.fromkeys(action.ruling.boundary for action in actions):
        boundary = retold.boundary(digest)
        if boundary is not None:
            found |= worded(boundary)
    return found


def worded(boundary: Boundary) -> dict[str, str]:
    """What each rule, limit and never of a boundary says, in the plain English of the page that leaders sign."""
    uncounted = f": {tally({})}"
    sheet = page(boundary)
    found: dict[str, list[str]] = {}
    for line in (*sheet.alone, *sheet.asking, *sheet.forbidden, *sheet.limits):
        if line.clause:
            said_so = "; ".join([line.text, *line.details]).replace(uncounted, "")
            found.setdefault(line.clause, []).append(said_so)
    return {clause: ". ".join(lines) for clause, lines in found.items()}


# --- files ------------------------------------------------------------------------------------------------------------


def _manifests(material: Material) -> dict[str, Manifest]:
    found = {}
    for name, data in sorted(material.connectors.items()):
        try:
            found[name] = load_manifest(data, name)
        except RemitError:
            continue
    return found


def _roster(retold: Retold) -> Roster | None:
    data = retold.fact(ROSTER)
    try:
        return load_roster(data) if data else None
    except RemitError:
        return None


def _files(retold: Retold) -> dict[str, bytes]:
    """Every boundary and roster with its signatures, as people wrote them: named by version, the newest one plain."""
    found: dict[str, bytes] = {}
    for kinds, stem in ((("home.created", "roster.loaded"), "people"), (("boundary.loaded",), "boundary")):
        for record in retold.records(kinds=kinds, limit=10_000):
            file = retold.payload_of(record.position, "file")
            if file is None:
                continue
            version = retold.fields[record.position].get("version")
            name = f"{stem}-{version if isinstance(version, int) else record.position}.toml"
            found[name] = file.data
            signatures = retold.payload_of(record.position, "signatures")
            for number, armoured in enumerate(_listed(signatures.data if signatures else b"[]"), 1):
                found[f"{name}.{number}.sig"] = armoured.encode()
    return found


def _listed(data: bytes) -> list[str]:
    try:
        return msgspec.json.decode(data, type=list[str])
    except (msgspec.MsgspecError, UnicodeError):
        return []


def _reconciled_file(found: Iterable[Reconciled]) -> bytes:
    each = {one.connector: None if one.at is None else msgspec.to_builtins(one) for one in found}
    return msgspec.json.format(msgspec.json.encode(each, order="sorted"), indent=1) + b"\n"


def _readme(material: Material, dossier: Dossier) -> str:
    about = material.about
    what = f"case {about.case}" if about.case else f"action {about.action}"
    values: Mapping[str, object] = {
        "what": safe_line(what),
        "origin": dossier.proof.origin,
        "size": dossier.proof.size,
        "keys": "\n".join(f"    {key}" for key in dossier.proof.keys),
        "count": len(material.entries),
        "payloads": len(material.payloads),
    }
    return _README.format(**values)


_README: Final = """\
EVIDENCE BUNDLE
about {what}, out of the log {origin}

Open story.html first: it tells what happened, for people. It needs no network and runs no program.

WHAT IS IN HERE
  story.html       the story, made from the records and payloads below and nothing else
  records.jsonl    {count} entries of the log: position, exact bytes in base64, and a proof of each
                   (c2sp.org/tlog-proof@v1)
  payloads.jsonl   {payloads} payloads: what the entries only hold a fingerprint of (arguments, answers, files)
  checkpoint       the signed fingerprint of the log with {size} entries, and the witnesses' cosignatures
  keys.txt         the keys that the checkpoint is signed with
  boundary-*.toml  the rules that were in force, with their signatures (*.sig, SSHSIG, namespace boundary@remit)
  people-*.toml    the roster, with its signatures (namespace roster@remit)
  connector.*.toml the connector files that the rules pin by their SHA-256
  reconcile.json   when each connector's own audit trail was last compared with the log
  bundle.json      what this bundle is about, and which payloads were left out and why

HOW TO CHECK IT
  With Remit, offline:
    remit log verify FILE.zip --key KEY
  where KEY is the log's key as you were given it by another way than this file, for example in person. This bundle's
  checkpoint is signed with
{keys}
  Whoever made this bundle could have put a key of their own here. That is why you compare it.

  With a program of your own, for each line of records.jsonl:
    1. The note in `checkpoint` is signed by the key (signed-note, Ed25519).
    2. SHA-256 over a zero byte and the decoded `entry` is the leaf hash; with the hashes in `proof`, at `index`, it
       leads to the root in `checkpoint` (RFC 6962, section 2.1.1). `index` is `position`, and the proof ends with the
       very bytes of `checkpoint`.
    3. For each line of payloads.jsonl: SHA-256 over the salt and the decoded `data` is the value that stands under
       its `id` in `payloads` of the entry at position `entry`.
    4. ssh-keygen -Y verify checks the signatures of rules, roster and approvals.

WHAT IT DOES NOT PROVE
  That no other record about the matter was left out of this file: the whole log proves that (`remit log verify LOG`).
  That the log was not written anew by whoever holds its key: witnesses prove that, where they have cosigned.
"""
