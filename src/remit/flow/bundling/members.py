"""The members of a bundle that everything else is made from, to bytes and back, each in one proper spelling.

What lives here: `bundle.json`, `records.jsonl`, `payloads.jsonl`, `checkpoint`, `keys.txt` and connector files. What
never may: judging what they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from remit.flow.bundling.words import FORMAT, About, Absent, Disclosed, Material, Proved
from remit.flow.bundling.zipping import BadBundle
from remit.gates.log.spelling import Misspelt, from_base64, to_base64
from remit.gates.story.page import VERSION
from remit.model.display import shown
from remit.model.words import Payload

T = TypeVar("T")

HEAD, RECORDS, PAYLOADS, CHECKPOINT, KEYS = "bundle.json", "records.jsonl", "payloads.jsonl", "checkpoint", "keys.txt"
PRIMARY: Final = (HEAD, RECORDS, PAYLOADS, CHECKPOINT, KEYS)
CONNECTOR: Final = re.compile(r"connector\.([a-z0-9][a-z0-9_-]*)\.toml\Z")
_encode = msgspec.json.Encoder(order="sorted").encode


class _Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    page: int
    action: str
    case: str
    absent: list[Absent]


class _Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    position: int
    entry: str
    proof: str


class _Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entry: int
    id: str
    salt: str
    data: str


def written(material: Material) -> dict[str, bytes]:
    """The members of a material, by name."""
    about = material.about
    head = _Head(format=FORMAT, page=VERSION, action=about.action, case=about.case, absent=list(material.absent))
    records = (
        _Record(position=each.position, entry=to_base64(each.entry), proof=each.proof.decode())
        for each in material.entries
    )
    payloads = (
        _Payload(entry=each.entry, id=each.payload.id, salt=each.payload.salt.hex(), data=to_base64(each.payload.data))
        for each in material.payloads
    )
    return {
        HEAD: _encode(head) + b"\n",
        RECORDS: _lines(records),
        PAYLOADS: _lines(payloads),
        CHECKPOINT: material.checkpoint,
        KEYS: "".join(f"{key}\n" for key in material.keys).encode(),
        **{f"connector.{name}.toml": data for name, data in material.connectors.items()},
    }


def read(members: Mapping[str, bytes]) -> Material:
    """The material in a bundle's members. Raises `BadBundle` naming the member that is missing or is not one, and for a
    bundle of another format or another version of the page."""
    for name in PRIMARY:
        if name not in members:
            raise BadBundle(f"the bundle has no member `{name}`", member=name)
    head = _value(members[HEAD].removesuffix(b"\n"), _Head, HEAD)
    if (head.format, head.page) != (FORMAT, VERSION):
        says = f"the bundle is of format {head.format} with page {head.page}, expected {FORMAT} with page {VERSION}"
        raise BadBundle(says, member=HEAD, hint="check it with the version of remit that made it")
    if bool(head.action) == bool(head.case):
        raise BadBundle("a bundle is about an action or a case", member=HEAD)
    found = Material(
        about=About(action=head.action, case=head.case),
        checkpoint=members[CHECKPOINT],
        keys=_keys(members[KEYS]),
        entries=tuple(_each(members[RECORDS], _Record, _proved, RECORDS)),
        payloads=tuple(_each(members[PAYLOADS], _Payload, _disclosed, PAYLOADS)),
        absent=tuple(head.absent),
        connectors={match[1]: data for name, data in members.items() if (match := CONNECTOR.match(name))},
    )
    for name, data in written(found).items():
        if members[name] != data:
            raise BadBundle(f"the member `{name}` is not in the one spelling that it has", member=name)
    positions = [each.position for each in found.entries]
    if positions != sorted(set(positions)) or not positions:
        raise BadBundle("the records are not in the order of the log, each once", member=RECORDS)
    return found


def _lines(values: Iterable[Struct]) -> bytes:
    return b"".join(_encode(each) + b"\n" for each in values)


def _each(data: bytes, kind: type[T], make: Callable[[T], Any], member: str) -> Iterable[Any]:
    if data and not data.endswith(b"\n"):
        raise BadBundle(f"the member `{member}` is cut short", member=member)
    for line in data.split(b"\n")[:-1]:
        try:
            yield make(_value(line, kind, member))
        except (Misspelt, ValueError):
            raise BadBundle(f"a line of `{member}` is damaged", member=member) from None


def _value(data: bytes, kind: type[T], member: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadBundle(
            f"the member `{member}` cannot be read: {shown(str(error)).strip('`')}", member=member
        ) from None


def _keys(data: bytes) -> tuple[str, ...]:
    try:
        return tuple(data.decode("ascii").split("\n")[:-1])
    except UnicodeDecodeError:
        raise BadBundle(f"the member `{KEYS}` is damaged", member=KEYS) from None


def _proved(line: _Record) -> Proved:
    return Proved(position=line.position, entry=from_base64(line.entry), proof=line.proof.encode())


def _disclosed(line: _Payload) -> Disclosed:
    role = line.id.rpartition(".")[2]
    payload = Payload(id=line.id, kind=role, salt=bytes.fromhex(line.salt), data=from_base64(line.data))
    return Disclosed(entry=line.entry, payload=payload)
