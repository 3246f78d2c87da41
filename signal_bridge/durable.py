"""Durable writes of ciphertext by channels: a file is there whole after a power cut, or not at all.

Channels may not import the vault's own module for this (they must not reach plaintext), so this is
the one other place that is allowed to rename into place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A directory on FAT or a network mount may refuse fsync; its files were synced one by one.
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})
PART_SUFFIX = ".part"


def write_whole(target: Path, batches: Iterable[bytes], *, mode: int = 0o600) -> None:
    """Write `batches` to `target`, replacing what was there only once every byte is on disk.

    The temporary file lies beside the target and is removed on any error, also one that `batches` raises.

    Raises:
        OSError: as the system says; nothing of the target has changed then.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}{PART_SUFFIX}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            for batch in batches:
                sink.write(batch)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make names in `directory` durable, where its file system can do that."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)
