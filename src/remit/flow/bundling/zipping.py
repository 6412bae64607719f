"""A ZIP archive in one proper spelling: the same members give the same bytes, and other bytes are refused.

What lives here: members to bytes and back. What never may: unpacking to a disk, decompressing anything. Members are
stored uncompressed: what compressors make differs from machine to machine, and what is not compressed cannot grow.

INVARIANT: `unpack` accepts only what `pack` would have written. So a name, a size, a date, a comment, a second copy or
a byte between members that `pack` did not put there is not looked at; it is refused.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Final

from remit.flow.bundling.words import LARGEST_BUNDLE
from remit.model.display import shown
from remit.model.errors import NotVerified

MOST_MEMBERS: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
_READABLE: Final = 0o100644 << 16


class BadBundle(NotVerified):
    """The file is not an evidence bundle as one is written. `member` names what is wrong, where it is one member."""

    def __init__(self, message: str, *, member: str = "", hint: str = "ask for the file once more") -> None:
        super().__init__(message, hint=hint)
        self.member = member


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive's bytes. Raises `BadBundle` for a name that none may have, and for more than 64 MiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in sorted(members):
            _expect_name(name)
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.create_system = 3
            info.external_attr = _READABLE
            archive.writestr(info, members[name])
    data = buffer.getvalue()
    if len(data) > LARGEST_BUNDLE or len(members) > MOST_MEMBERS:
        raise BadBundle(
            f"the bundle would have {len(data):,} bytes, expected at most {LARGEST_BUNDLE:,}", hint="ask less"
        )
    return data


def unpack(data: bytes) -> dict[str, bytes]:
    """The members by name. Raises `BadBundle` for anything but what `pack` writes."""
    if len(data) > LARGEST_BUNDLE:
        raise BadBundle(f"the file has {len(data):,} bytes, expected at most {LARGEST_BUNDLE:,}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadBundle(f"the file is not a ZIP archive as a bundle is one: {error}") from None
    except (OSError, OverflowError, MemoryError):
        raise BadBundle("the file is a damaged ZIP archive") from None
    if pack(members) != data:
        raise BadBundle(
            "the archive holds something between, before or behind its members, or describes them otherwise"
        )
    return members


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise BadBundle(f"the archive has {len(infos)} members, expected at most {MOST_MEMBERS}")
    if sum(info.file_size for info in infos) > LARGEST_BUNDLE:
        raise BadBundle("the members say that they are larger than the file can hold")
    found: dict[str, bytes] = {}
    for info in infos:
        _expect_name(info.filename)
        if info.filename in found:
            raise BadBundle(f"the member {shown(info.filename)} is there twice", member=info.filename)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~0x800:
            raise BadBundle(f"the member {shown(info.filename)} is compressed or encrypted", member=info.filename)
        if not info.file_size == info.compress_size <= LARGEST_BUNDLE:
            raise BadBundle(f"the member {shown(info.filename)} has not the size that it says", member=info.filename)
        found[info.filename] = archive.read(info)
    return found


def _expect_name(name: str) -> None:
    if not _NAME.match(name) or ".." in name:
        raise BadBundle(f"{shown(name)} cannot be a member's name", member=name)
