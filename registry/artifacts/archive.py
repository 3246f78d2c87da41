"""A deterministic tar of an artifact with several files: `age -d X | tar x` is all a recipient needs.

Entries sorted by path components, mtime 0, uid and gid 0, no names, mode 0644, no directories; POSIX
ustar headers, with a pax header only where a name or a size needs one. Same files, same bytes.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.formats.manifest import check_relative_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK_BYTES = 512
_END = bytes(2 * BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Member:
    """One file to pack: path inside the artifact, size in bytes, and how to get its content once."""

    path: str
    size: int
    content: Callable[[], Iterable[bytes | memoryview]]


def tar_batches(members: Iterable[Member]) -> Iterator[bytes | memoryview]:
    """Yield the tar of `members`, in order of their paths; content is read only as it is yielded.

    Raises:
        FormatError: an unsafe or repeated path, or content that is not as long as its size says.
    """
    ordered = sorted(members, key=lambda member: PurePosixPath(member.path).parts)
    paths = [member.path for member in ordered]
    if len(set(paths)) != len(paths):
        raise FormatError("a path stands twice in one archive")
    for member in ordered:
        yield _header(member.path, member.size)
        yield from _exactly(member)
        if padding := -member.size % BLOCK_BYTES:
            yield bytes(padding)
    yield _END


def tar_bytes(sizes: Iterable[tuple[str, int]]) -> int:
    """Return how long the tar of files with these paths and sizes is."""
    total = len(_END)
    for path, size in sizes:
        total += len(_header(path, size)) + size + -size % BLOCK_BYTES
    return total


def _header(path: str, size: int) -> bytes:
    check_relative_path(path)
    info = tarfile.TarInfo(path)
    info.size = size
    info.mode = 0o644
    return info.tobuf(format=tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")


def _exactly(member: Member) -> Iterator[bytes | memoryview]:
    written = 0
    for batch in member.content():
        written += len(batch)
        # A longer entry would spill into the next header: a tar inside a tar.
        if written > member.size:
            break
        yield batch
    if written != member.size:
        raise FormatError(f"{member.path!r} has {written} bytes or more, expected {member.size}")
