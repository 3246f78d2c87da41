"""Writes of the recipient's side: a new name first, the right name only once all is on the disk.

The same order of calls as the host's `registry.artifacts.durable`, which lies above this layer:
`O_EXCL` beside the target -> write -> `fsync` -> `rename` -> `fsync` of the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import LorasealError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_ADVICE = {
    errno.ENOSPC: "free space on that disk and run it again; nothing half-written was left",
    errno.EDQUOT: "free space within the quota and run it again; nothing half-written was left",
    errno.EROFS: "that file system is read-only: choose another folder",
    errno.EACCES: "this user may not write there: choose another folder",
    errno.EPERM: "this user may not write there: choose another folder",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.EISDIR: "that name is a folder: give the name of a file",
    errno.ENOTEMPTY: "that folder holds something: give a name that does not exist yet",
    errno.EEXIST: "that name is taken: give a name that does not exist yet",
}


def part_beside(target: Path) -> Path:
    """Return an unused hidden name in the same folder, ending in `.part`."""
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")


@contextlib.contextmanager
def writing_errors(target: Path) -> Iterator[None]:
    """Turn a system error of the block into one that names `target` and says what to do."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise LorasealError(
            f"cannot write {str(target)!r}: {reason}", hint=_ADVICE.get(error.errno or 0)
        ) from error


def create(path: Path) -> BinaryIO:
    """Return a new file of mode 0600, open for writing and without a buffer.

    Raises:
        OSError: it exists, or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, _FILE_MODE), "wb", buffering=0)


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
    with writing_errors(target):
        part.rename(target)
        sync_folder(target.parent)


def replace_file(target: Path, data: bytes) -> None:
    """Write `data` to `target` in one step: old content or new, never less.

    Raises:
        LorasealError: no permission, disk full; nothing is left behind.
    """
    part = part_beside(target)
    try:
        with writing_errors(target), create(part) as stream:
            write_all(stream, data)
            finish(stream)
        place(part, target)
    finally:
        discard(part)


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data`: a file without a buffer may take it in several pieces."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def make_directory(path: Path) -> None:
    """Create `path` (mode 0700) and its parents if they are missing.

    Raises:
        LorasealError: what the system said.
    """
    with writing_errors(path):
        path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


def discard(part: Path) -> None:
    """Remove a part that was not placed; a failing removal must not hide what led here."""
    with contextlib.suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Bring the names in the folder `path` onto the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
