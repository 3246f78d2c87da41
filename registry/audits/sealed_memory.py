"""Sealed memory: bytes handed to another process by descriptor, which neither side can change.

Custody puts an opened payload here and the audit child maps it: plaintext reaches no file system. A
memfd's pages can be swapped out like any other memory; where that matters, swap must be encrypted.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING

from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
# Without these two, the owner could shrink the file under a mapping (SIGBUS) or change its bytes.
_FIXED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE


def seal_memory(batches: Iterable[bytes | memoryview]) -> int:
    """Return a descriptor of a sealed memfd that holds `batches` in order; the caller closes it."""
    descriptor = open_memory()
    try:
        for batch in batches:
            _write_all(descriptor, memoryview(batch))
        close_memory(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_memory() -> int:
    """Return a descriptor of an empty memfd that can be written, and sealed later."""
    return os.memfd_create("loraseal-payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def copy_memory(descriptor: int) -> int:
    """Return a memfd with the content of `descriptor` that can be written, but not made longer or shorter."""
    content = map_memory(descriptor)
    copy = open_memory()
    try:
        _write_all(copy, content)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except BaseException:
        os.close(copy)
        raise
    return copy


def map_shared(descriptor: int) -> memoryview:
    """Return the content of a memfd as memory that others see when it is written."""
    size = os.fstat(descriptor).st_size
    return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE) if size else b"")


def close_memory(descriptor: int) -> None:
    """Seal a memfd, whoever wrote it: from now on nobody can change its bytes or its size.

    Raises:
        OSError: somebody has it mapped for writing.
    """
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def is_fixed(descriptor: int) -> bool:
    """Return whether `descriptor` is a memfd that nobody can shrink or write any more."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _FIXED == _FIXED
    except OSError:  # not a memfd
        return False


def map_memory(descriptor: int) -> memoryview:
    """Return the content of `descriptor` as a memory view that nobody else can change.

    A sealed memfd is mapped without a copy; anything else is read into memory of our own, because
    a mapped file that its owner truncates kills the reader (SIGBUS).
    """
    size = os.fstat(descriptor).st_size
    if size and is_fixed(descriptor):
        # A private mapping: torch wants writable memory and would warn otherwise.
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY))
    content = bytearray(size)
    view = memoryview(content)
    done = 0
    while done < size:
        count = os.preadv(descriptor, [view[done:]], done)
        if count == 0:
            raise FormatError(f"payload ends at byte {done}, expected {size}")
        done += count
    return view


def map_own_file(descriptor: int) -> memoryview:
    """Return the content of a file of ours, mapped: a base model's cache may be larger than memory.

    Not for files of others: whoever shortens one under the mapping kills the reader (SIGBUS).
    """
    size = os.fstat(descriptor).st_size
    # A private mapping, as in `map_memory`: nothing that is written to it reaches the file.
    return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) if size else b"")


def _write_all(descriptor: int, batch: memoryview) -> None:
    rest = batch.cast("B")
    while len(rest):
        rest = rest[os.write(descriptor, rest) :]
