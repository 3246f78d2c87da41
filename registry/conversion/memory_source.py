"""Sealed memory as an open file for intake: what it holds can no longer change under a reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audits.sealed_memory import is_fixed
from registry.limits import READ_BATCH_BYTES
from registry.sealing.batches import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemorySource:
    """A sealed memfd under a name; an `OpenFile` of `registry.artifacts.reading`.

    The descriptor stays its owner's, who keeps it open as long as this is read.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        if not is_fixed(descriptor):
            raise ValueError("the memory is not sealed")
        self.path = Path(name)
        # Nobody can write to it: stronger than any lease.
        self.leased = True
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def batches(self) -> Iterator[memoryview]:
        """Yield all bytes from the start, in memory that is used again."""
        position, ring = 0, Ring(READ_BATCH_BYTES)
        while position < self._size:
            view = ring.take()
            count = os.preadv(self._descriptor, [view], position)
            position += count
            yield view[:count]

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; less only at the end."""
        return os.pread(self._descriptor, size, offset)

    def ends_unwritten(self) -> bool:
        """Return False: what the caged process left unwritten fails the comparison of digests."""
        return False

    def check_unchanged(self) -> None:
        """Do nothing: sealed memory cannot change."""
