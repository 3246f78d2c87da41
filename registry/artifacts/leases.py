"""Read leases (fcntl F_SETLEASE, Linux): the system tells a reader when somebody wants to write.

A write through a shared mapping changes bytes without changing times, so stamps alone can miss it; a
lease cannot be had while such a mapping exists, and is broken before one can be made. Only the file's
owner (or CAP_LEASE) gets one, and not on every file system: it is an addition, never the only check.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import sys

if sys.platform == "linux":
    import fcntl


class OpenForWritingError(Exception):
    """Another process has the file open for writing, so there is no lease to be had."""


def take_read_lease(descriptor: int) -> bool:
    """Take a read lease on an open file; False where system, file system or owner allow none.

    Raises:
        OpenForWritingError: a writer has the file open now.
    """
    if sys.platform != "linux":
        return False
    try:
        # A broken lease sends SIGIO, whose default is death; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise OpenForWritingError from error
        return False
    return True


def is_breaking(descriptor: int) -> bool:
    """Return whether somebody waits to write; until `release` the system makes them wait."""
    if sys.platform != "linux":
        return False
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK


def release(descriptor: int) -> None:
    """Give the lease up, so that a waiting writer goes on; harmless when there is none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
