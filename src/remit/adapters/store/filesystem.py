"""Where a store may lie: on a disk of this machine, readable by its owner alone.

SQLite's shared memory and locks do not hold on network file systems (sqlite.org, "Write-Ahead Logging", section 1).
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from remit.model.errors import Misuse

# Magic numbers of statfs(2) and linux/magic.h.
REFUSED: dict[int, str] = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x00C36400: "Ceph",
    0x564C: "NCP",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x786F4256: "a VirtualBox shared folder",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
}


def network_file_system(f_type: int) -> str:
    """The name of the network file system with this magic number of statfs(2); empty for a local one."""
    return REFUSED.get(f_type & 0xFFFFFFFF, "")


def file_system_type(folder: Path) -> int:
    """`f_type` of statfs(2) for a folder; 0 where the system does not say. Raises `OSError`."""
    if not sys.platform.startswith("linux"):
        return 0
    answer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(folder), answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
    return ctypes.c_long.from_buffer(answer).value


def require_local(folder: Path) -> None:
    """Raises `Misuse` if the folder is on a network file system."""
    name = network_file_system(file_system_type(folder))
    if name:
        raise Misuse(
            f"the store's folder `{folder}` is on {name}, expected a local disk",
            hint="locks do not hold there and records would be lost; move the home to a local disk",
        )


def create_private(path: Path) -> bool:
    """Make sure that the file exists with mode 0600; True if it was created now, durably."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        path.chmod(0o600)
        return False
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
