"""Read files where others may write: no links, no pipes, no devices, no more bytes than expected."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from registry.limits import READ_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def open_plain(path: Path) -> Iterator[int]:
    """Yield a descriptor for reading a regular file.

    Raises:
        OSError: as the system says; ELOOP for a symlink, EINVAL for anything else that is no file.
    """
    # Non-blocking, since opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_slice(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    """Yield up to `size` bytes from `offset` in batches; fewer if the file ends."""
    while size > 0 and (batch := os.pread(descriptor, min(READ_BATCH_BYTES, size), offset)):
        yield batch
        offset += len(batch)
        size -= len(batch)


def read_small(descriptor: int, *, max_bytes: int) -> bytes | None:
    """Return the whole content, None if the file is empty or longer than `max_bytes`."""
    data = b"".join(read_slice(descriptor, 0, max_bytes + 1))
    return data if 0 < len(data) <= max_bytes else None
