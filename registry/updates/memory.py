"""How much of a device's memory an audit takes: what is free, a share of it, a hard cap, and backing off.

Pure bookkeeping: whoever owns the device says what is free and tells when an allocation was refused. A
training job beside may take memory at any time, so the answer to a refusal is half the chunk, again
and again, and below a floor the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.limits import AUDIT_DEVICE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_SHARE = 0.25
CHUNK_BYTES = 256 * 1024**2
FLOOR_BYTES = 4 * 1024**2


class MemoryCap:
    """How many bytes of device memory the next chunk may need in all, temporaries included.

    `free` returns the bytes that are free on the device now. The answer is at most `hard_bytes`,
    at most `FREE_SHARE` of what is free, and at most `CHUNK_BYTES`: larger chunks are no faster and keep a
    training step waiting longer.
    """

    def __init__(self, free: Callable[[], int], *, hard_bytes: int = AUDIT_DEVICE_BYTES) -> None:
        self._free = free
        self._most = min(hard_bytes, CHUNK_BYTES)
        self.refusals = 0

    def chunk_bytes(self) -> int:
        """Return the size for the next chunk; 0 where not even the smallest one fits."""
        allowed = min(self._most, int(FREE_SHARE * self._free()))
        return allowed if allowed >= FLOOR_BYTES else 0

    def back_off(self, tried_bytes: int) -> int:
        """Take note that a chunk of `tried_bytes` was refused; return the size to try next, or 0."""
        self.refusals += 1
        self._most = min(self._most, tried_bytes // 2)
        return self.chunk_bytes()
