"""Durable writes: after a return the bytes survive a power cut, after an error nothing is left.

The one module that renames into place, for the host's vault, the recipient's opener and the channels.

The calls of a safe write, in order: create a new file beside its target (`O_EXCL`, mode first) -> write
-> `fsync` -> `rename` -> `fsync` of the directory. Every write of the host goes through here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import LorasealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PART_SUFFIX = ".part"
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}" + re.escape(PART_SUFFIX))

# A directory on FAT or a network mount may refuse fsync; its files were synced one by one.
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})
_ADVICE = {
    errno.ENOSPC: "free space on that disk, then run it again; nothing half-written was left",
    errno.EDQUOT: "the quota of this user is used up: free space or raise it, then run it again",
    errno.EROFS: "that file system is mounted read-only: mount it writable or choose another folder",
    errno.EACCES: "give this user write permission on that folder, or choose another one",
    errno.EPERM: "give this user write permission on that folder, or choose another one",
    errno.ENOENT: "create that folder first, or check that the disk is mounted",
    errno.EFBIG: "that disk or this user does not allow files of that size: choose another folder",
    errno.EIO: "the disk reported an error: check its health before trying again",
    errno.EISDIR: "that name is a folder: give the name of a file",
    errno.ENOTEMPTY: "that folder holds something: give a name that does not exist yet",
    errno.EEXIST: "that name is taken: give a name that does not exist yet",
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
            finish(self.stream)

    def commit(self, target: Path) -> None:
        """Bring the bytes onto the disk and give them the name `target`, replacing what has it.

        `target` must be on the same file system. On return both name and bytes survive a power cut.
        """
        self.settle()
        refuse_special(target)
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
    with storage_errors(path):
        stream = create(path, mode=mode)
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
    with storage_errors(path):
        write_whole(path, chunks, mode=mode)


def write_whole(target: Path, batches: Iterable[bytes], *, mode: int = FILE_MODE) -> None:
    """Write `batches` to `target` as `atomic_write` does, for callers who judge system errors themselves.

    Raises:
        OSError: as the system says; nothing of the target has changed then. What `batches` raises.
    """
    refuse_special(target)
    part = temporary_beside(target)
    try:
        with create(part, mode=mode) as stream:
            for batch in batches:
                write_all(stream, batch)
            finish(stream)
        part.rename(target)
    except BaseException:
        discard(part)
        raise
    fsync_directory(target.parent)


def create(path: Path, *, mode: int = FILE_MODE) -> BinaryIO:
    """Return a new file, open for writing and without a buffer.

    Raises:
        OSError: it exists, or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, mode), "wb", buffering=0)


def finish(stream: BinaryIO) -> None:
    """Bring what was written to `stream` onto the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def place(part: Path, target: Path) -> None:
    """Give `part` (a file or a folder, on the disk already) the name `target`, durably.

    A file replaces what had the name; a folder replaces an empty folder only.

    Raises:
        LorasealError: what the system said; `target` is as it was.
    """
    refuse_special(target)
    with storage_errors(target):
        part.rename(target)
        fsync_directory(target.parent)


def refuse_special(target: Path) -> None:
    """Refuse to give a file the name of a device, pipe or socket: a rename would put it out of the way.

    Raises:
        UsageError: something is there that is no file, folder or link.
    """
    try:
        mode = target.lstat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise UsageError(
            f"{str(target)!r} is a device, pipe or socket, not a file",
            hint="name a file; what goes to another program has to lie on a disk first",
        )


def refuse_existing(target: Path) -> None:
    """Refuse to replace what has the name already: it may be the verified copy of an earlier time.

    Raises:
        UsageError: something is there.
    """
    if target.is_symlink() or target.is_file():
        raise UsageError(
            f"{str(target)!r} exists already", hint="name another file, or move it away first"
        )


def discard(part: Path) -> None:
    """Remove a part that was not placed; a failing removal must not hide what led here."""
    with contextlib.suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered stream, which may take it in several pieces."""
    view = memoryview(data).cast("B")
    while view:
        written = stream.write(view)
        view = view[written:]


def temporary_beside(path: Path) -> Path:
    """Return an unused hidden name in the folder of `path`, on the same file system.

    Raises:
        UsageError: `path` is a folder that has no name of its own, such as `.` or `/`.
    """
    if not path.name:
        raise UsageError(f"{str(path)!r} is a folder", hint="name a file in it")
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART_SUFFIX}")


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files that killed processes left in `folder`; return how many.

    For folders in which this process alone writes: a temporary file there belongs to nobody.
    """
    left = [path for path in folder.glob(f".*{PART_SUFFIX}") if _TEMPORARY.fullmatch(path.name)]
    return sum(remove_durably(path) for path in left)


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
    """Bring the names in the directory `path` onto the disk, where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
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
