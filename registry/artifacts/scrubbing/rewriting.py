"""A file in sealed memory under a header of ours: read as if it lay there, and never copied.

What `take_in_opened` reads of it: first the new header, then the body from where it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.limits import READ_BATCH_BYTES
from registry.sealing.batches import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file lies in the memory behind `descriptor`, in bytes; its owner keeps that open."""

    descriptor: int
    start: int
    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset` of the file; less only at its end."""
        return os.pread(self.descriptor, max(0, min(size, self.size - offset)), self.start + offset)


class RewrittenFile:
    """An `OpenFile` of `head` and what `extent` has after its first `skip` bytes."""

    def __init__(self, name: str, head: bytes, extent: Extent, skip: int) -> None:
        if skip > extent.size:
            raise ValueError("more is skipped than there is")
        self.path = Path(name)
        # Sealed memory: nobody can write to it, which is stronger than any lease.
        self.leased = True
        self._head = head
        self._extent = extent
        self._skip = skip

    @property
    def size(self) -> int:
        """Size in bytes, the new header included."""
        return len(self._head) + self._extent.size - self._skip

    def batches(self) -> Iterator[memoryview]:
        """Yield all bytes from the start, in memory that is used again."""
        yield from _pieces(self._head)
        position, ring = self._skip, Ring(READ_BATCH_BYTES)
        while position < self._extent.size:
            view = ring.take()[: self._extent.size - position]
            count = os.preadv(self._extent.descriptor, [view], self._extent.start + position)
            if not count:
                raise FormatError("the payload ends before the file that it holds")
            position += count
            yield view[:count]

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; less only at the end."""
        head = self._head[offset : offset + size]
        behind = max(0, offset - len(self._head)) + self._skip
        return head + self._extent.read_at(behind, size - len(head))

    def ends_unwritten(self) -> bool:
        """Return False: memory has no holes."""
        return False

    def check_unchanged(self) -> None:
        """Do nothing: sealed memory cannot change."""


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), READ_BATCH_BYTES):
        yield view[start : start + READ_BATCH_BYTES]
