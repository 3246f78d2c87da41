"""Which file system a folder is on: on some, the system tells nobody of changes, so we have to look."""

from __future__ import annotations

from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")

# Events are missing or partial on these (facts/formats.md section 6).
_SILENT = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs"),
        *("glusterfs", "beegfs", "9p", "drvfs", "virtiofs", "vboxsf", "prl_fs"),
    )
)


def file_system_of(path: Path, table: str | None = None) -> str | None:
    """Return the type of the file system that holds `path`, or None where that cannot be told.

    `table` is the text of a mountinfo file (proc(5)); by default this process' own.
    """
    if table is None:
        try:
            table = MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    best: tuple[int, str] | None = None
    for line in table.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        mount_point = Path(_unescape(fields[4]))
        kind = fields[fields.index("-", 6) + 1]
        # Of mounts on the same point the later one is on top.
        if path.is_relative_to(mount_point) and (best is None or len(mount_point.parts) >= best[0]):
            best = (len(mount_point.parts), kind)
    return best[1] if best else None


def is_silent(file_system: str | None) -> bool:
    """Return whether changes there may come without events: network, shared and FUSE file systems."""
    if file_system is None:
        return True
    return file_system in _SILENT or file_system.startswith("fuse")


def _unescape(text: str) -> str:
    for octal, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, char)
    return text
