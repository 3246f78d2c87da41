"""Which file systems a folder is on: on some, the system tells nobody of changes, so we have to look.

Read from the table of mounts (proc(5), mountinfo). A mount may lie on another one, and may hide what was
mounted below it earlier, so the table is walked from mount to mount and never judged by the longest
name alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOUNT_TABLE = Path("/proc/self/mountinfo")

# Events are missing or partial on these (facts/formats.md section 6). Changes that another machine makes
# are told to nobody here; shared folders of virtual machines behave the same. An automount that nothing
# has entered yet may turn into any of them.
_SILENT = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "gpfs"),
        *("glusterfs", "beegfs", "orangefs", "pvfs2", "gfs2", "ocfs2", "panfs", "wekafs"),
        *("9p", "drvfs", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "hgfs", "fakeowner"),
        *("autofs",),
    )
)
# Told of what is written through it, not of what is written to a lower layer behind its back.
_PARTIAL = frozenset(("overlay", "overlayfs", "aufs"))
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Hearing(StrEnum):
    """What events of the system tell: of every change, of some, of too few to ask for them."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table; `parent` is the number of the mount that it lies on."""

    number: int
    parent: int
    point: Path
    kind: str


def read_table() -> str | None:
    """Return this process' table of mounts, or None where the system has none."""
    try:
        return MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def parse_mounts(table: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo file in its order; a line that is none is left out."""
    return tuple(mount for line in table.splitlines() if (mount := _parse_line(line)) is not None)


def mount_of(path: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that is seen at `path`, which is absolute and holds no link; None if unknown."""
    numbers = {mount.number for mount in mounts}
    tops = [
        mount for mount in mounts if mount.parent not in numbers or mount.parent == mount.number
    ]
    current = _next(path, tops)
    passed: set[int] = set()
    while current is not None and current.number not in passed:
        passed.add(current.number)
        below = current.number
        # A table that turns in a circle is no real one; it must not hold us.
        on_it = (each for each in mounts if each.parent == below and each.number not in passed)
        current = _next(path, on_it) or current
    return current


def file_systems_of(path: Path, table: str | None = None) -> tuple[str | None, ...]:
    """Return the types of the file systems that hold `path` and what is mounted below it, its own first.

    Links on the way are followed. A type that cannot be told is None. `table` is the text of a mountinfo
    file; by default this process' own.
    """
    mounts = parse_mounts(read_table() or "" if table is None else table)
    real = Path(os.path.realpath(path)) if table is None else path
    own = mount_of(real, mounts)
    below = {
        mount.kind
        for mount in mounts
        if mount.point != real
        and mount.point.is_relative_to(real)
        # One that another mount hides is not there.
        and mount_of(mount.point, mounts) == mount
    }
    return (own.kind if own else None, *sorted(below))


def file_system_of(path: Path, table: str | None = None) -> str | None:
    """Return the type of the file system that holds `path`, or None where that cannot be told."""
    return file_systems_of(path, table)[0]


def is_silent(file_system: str | None) -> bool:
    """Return whether changes there may come without events: network, shared and FUSE file systems."""
    if file_system is None:
        return True
    return file_system in _SILENT or file_system.startswith("fuse")


def hearing_of(path: Path, table: str | None = None) -> tuple[Hearing, str]:
    """Return how well events tell of changes in the tree of `path`, and the type that decides it.

    The worst file system in the tree decides. A type that cannot be told is called `unknown`.
    """
    kinds = file_systems_of(path, table)
    for kind in kinds:
        if is_silent(kind):
            return Hearing.NONE, kind or "unknown"
    for kind in kinds:
        if kind in _PARTIAL:
            return Hearing.PARTIAL, kind or "unknown"
    return Hearing.FULL, kinds[0] or "unknown"


def _next(path: Path, choices: Iterable[Mount]) -> Mount | None:
    """Return which of several mounts on one other mount is met first on the way to `path`."""
    best: Mount | None = None
    for mount in choices:
        # The nearer to the top hides the farther; of two on the same point the later one is on top.
        nearer = best is None or len(mount.point.parts) <= len(best.point.parts)
        if nearer and path.is_relative_to(mount.point):
            best = mount
    return best


def _parse_line(line: str) -> Mount | None:
    fields = line.split(" ")
    if "-" not in fields[6:-1] or not (fields[0].isdecimal() and fields[1].isdecimal()):
        return None
    kind = fields[fields.index("-", 6) + 1]
    return Mount(int(fields[0]), int(fields[1]), Path(_unescape(fields[4])), kind)


def _unescape(text: str) -> str:
    # Space, tab, line feed, backslash and the number sign are written as octal numbers.
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
