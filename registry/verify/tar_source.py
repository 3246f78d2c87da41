"""A bounded file-like view of plaintext batches, for `tarfile` in stream mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ContentMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator


class TarSource:
    """Gives out batches as `read(size)` asks, never more in all than was allowed.

    A tar header may claim any length for what follows it, and `tarfile` reads extended headers whole
    into memory: so whoever reads says beforehand how much there may be.
    """

    def __init__(self, batches: Iterator[memoryview], *, allowed: int) -> None:
        self._batches = batches
        self._rest = b""
        self._allowed = allowed

    def allow(self, count: int) -> None:
        """Allow `count` more bytes to be read."""
        self._allowed += count

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end.

        Raises:
            ContentMismatchError: more than allowed.
        """
        pieces, wanted = [], size
        while wanted:
            if not self._rest:
                # Copied at once: the batch's memory is filled again by its producer.
                self._rest = bytes(next(self._batches, b""))
                if not self._rest:
                    break
            pieces.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            wanted -= len(pieces[-1])
        self._allowed -= size - wanted
        if self._allowed < 0:
            raise ContentMismatchError(
                "the archive inside is longer than its signed files",
                hint="do not use it; ask the sender for the sealed file again",
            )
        return b"".join(pieces)

    def drain(self, size: int) -> None:
        """Read to the end, which proves that nothing is missing; `size` bytes at a time."""
        while self.read(size):
            pass
