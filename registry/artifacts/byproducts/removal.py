"""Removing exactly the file that was looked at: by its open folder, never through a link.

A name is removed only if it still leads to the file that was seen. Between that look and the removal the
system leaves an instant in which another file can take the name; whoever writes the folder could do as much
by removing files himself. What an unlink promises is said in `WORDS`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from registry.artifacts.reading import (
    SourceChangedError,
    SourceRefusedError,
    SourceVanishedError,
    Stamp,
)
from registry.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePath

WORDS = (
    "removing a file frees its name, not its bytes: flash storage, copy-on-write file systems (btrfs, zfs),"
    " snapshots and backups may keep them; what ends a copy is full-disk encryption, or destroying the key"
    " that it is sealed to"
)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_REMOVED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)


def remove_exactly(root: Path, path: PurePath, stamp: Stamp) -> None:
    """Remove `root / path` durably if it is still the file that `stamp` tells.

    Raises:
        SourceVanishedError: there is no such file any more.
        SourceChangedError: something else has the name, or the file was written to.
        SourceRefusedError: a folder on the way is a link.
        LorasealError: it cannot be removed.
    """
    with open_folder(root, path) as folder:
        try:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError as error:
            raise SourceVanishedError(f"{str(path)!r} is not there any more") from error
        if Stamp.of(status) != stamp:
            raise SourceChangedError(
                f"{str(path)!r} is not what it was when it was looked at", hint="run it again"
            )
        with storage_errors(root / path):
            os.unlink(path.name, dir_fd=folder)
            os.fsync(folder)


def remove_emptied(root: Path, folder: PurePath) -> bool:
    """Remove the folder `root / folder` if nothing is in it; never `root` itself."""
    if not folder.parts:
        return False
    with open_folder(root, folder) as parent:
        try:
            os.rmdir(folder.name, dir_fd=parent)
        except OSError as error:
            if error.errno in _NOT_REMOVED:
                return False
            with storage_errors(root / folder):
                raise
        os.fsync(parent)
    return True


@contextlib.contextmanager
def open_folder(root: Path, path: PurePath) -> Iterator[int]:
    """Yield the open folder that holds `root / path`; every folder below `root` must be a real one.

    Raises:
        SourceVanishedError: a folder on the way is gone.
        SourceRefusedError: one is a link, or closed to this user.
    """
    descriptor = os.open(root, _FOLDER_FLAGS)
    try:
        for part in path.parts[:-1]:
            try:
                following = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            except FileNotFoundError as error:
                raise SourceVanishedError(f"the folder of {str(path)!r} is gone") from error
            except OSError as error:
                raise SourceRefusedError(
                    f"a folder on the way to {str(path)!r} is a link or closed"
                ) from error
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)
