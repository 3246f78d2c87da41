"""Durable writes: after a return the bytes survive a power cut, after an error nothing is left.

The calls of a safe write, in order: create a new file beside its target (`O_EXCL`, mode first) -> write
-> `fsync` -> `rename` -> `fsync` of the directory. Every write of the host goes through here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import LorasealError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PART_SUFFIX = ".part"
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700

_ADVICE = {
    errno.ENOSPC: "free space on that disk, then run it again; nothing half-written was left",
    errno.EDQUOT: "the quota of this user is used up: free space or raise it, then run it again",
    errno.EROFS: "that file system is mounted read-only: mount it writable or choose another folder",
    errno.EACCES: "give this user write permission on that folder, or choose another one",
    errno.EPERM: "give this user write permission on that folder, or choose another one",
    errno.ENOENT: "create that folder first, or check that the disk is mounted",
    errno.EFBIG: "that disk or this user does not allow files of that size: choose another folder",
    errno.EIO: "the disk reported an error: check its health before trying again",
}


class PendingFile:
    """A new file that nobody sees yet: write to `stream`, then `commit` it under its name.

    Made by `pending_file`, which removes it when it was never committed.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream = stream
        self.path = path

    def settle(self) -> None:
        """Bring what was written onto the disk, still under the temporary name."""
        with storage_errors(self.path.parent):
            self.stream.flush()
            os.fsync(self.stream.fileno())

    def commit(self, target: Path) -> None:
        """Bring the bytes onto the disk and give them the name `target`, replacing what has it.

        `target` must be on the same file system. On return both name and bytes survive a power cut.
        """
        self.settle()
        with storage_errors(target):
            self.path.rename(target)
            fsync_directory(target.parent)
            if self.path.parent != target.parent:
                fsync_directory(self.path.parent)


@contextlib.contextmanager
def pending_file(path: Path, *, mode: int = FILE_MODE) -> Iterator[PendingFile]:
    """Create `path` as a new file and yield it; if it was not committed, remove it on the way out.

    Raises:
        LorasealError: it exists, or cannot be created; disk full and the like while it is written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with storage_errors(path):
        descriptor = os.open(path, flags, mode)
        stream: BinaryIO = open(descriptor, "wb", buffering=0)  # noqa: SIM115, PTH123 - closed below; from a descriptor
    pending = PendingFile(stream, path)
    try:
        with storage_errors(path):
            yield pending
    finally:
        stream.close()
        # Gone after a commit; after an error a half-written file must not stay, and a failing
        # removal must not hide the error that led here.
        with contextlib.suppress(OSError):
            path.unlink()


def atomic_write(path: Path, data: bytes | Iterable[bytes], *, mode: int = FILE_MODE) -> None:
    """Write `data` to `path`: other processes see the old content or all of the new, never less.

    Raises:
        LorasealError: disk full, no permission, folder missing; `path` is as it was.
    """
    chunks = (data,) if isinstance(data, bytes) else data
    with pending_file(temporary_beside(path), mode=mode) as pending:
        for chunk in chunks:
            write_all(pending.stream, chunk)
        pending.commit(path)


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered stream, which may take it in several pieces."""
    view = memoryview(data).cast("B")
    while view:
        written = stream.write(view)
        view = view[written:]


def temporary_beside(path: Path) -> Path:
    """Return an unused hidden name in the folder of `path`, on the same file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART_SUFFIX}")


def ensure_directory(path: Path, *, mode: int = DIRECTORY_MODE) -> None:
    """Create `path` and its missing parents durably; an existing directory is left as it is."""
    if path.is_dir():
        return
    if path.parent != path:
        ensure_directory(path.parent, mode=mode)
    with storage_errors(path):
        path.mkdir(mode=mode, exist_ok=True)
        fsync_directory(path.parent)


def remove_durably(path: Path) -> bool:
    """Remove the file `path` so that it stays removed; return False when there was none."""
    with storage_errors(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        fsync_directory(path.parent)
    return True


def fsync_directory(path: Path) -> None:
    """Bring the names in the directory `path` onto the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one that names `path` and says what to do.

    Meant for blocks that write: every system error inside is taken for one of storage.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LorasealError(
            f"cannot write {str(path)!r}: {reason.lower()}", hint=_ADVICE.get(error.errno or 0)
        ) from error
