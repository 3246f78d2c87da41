"""Armored age files as streams: read one as if it were binary, write one as if it were binary."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import FormatError
from registry.formats.age_armor import MAX_ARMOR_LINE_BYTES, ArmorEncoder, parse_armor
from registry.sealing.batches import Sink, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 64 * 1024


def dearmored(source: BinaryIO, begun: bytes) -> BinaryIO:
    """Return the binary content of the armor that `source` goes on with after `begun`.

    Reading from it raises FormatError where the armor is malformed. `source` stays the caller's.
    """
    return io.BufferedReader(_PieceReader(parse_armor(_lines(source, begun))), _BLOCK_BYTES)


class ArmoredSink:
    """Writes to `sink` the armor of what is written to it; `finish` writes the END line."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._encoder = ArmorEncoder()
        write_all(sink, self._encoder.begin())

    def write(self, data: bytes | memoryview, /) -> int:
        """Write the armor of `data`; return its length, as files do."""
        write_all(self._sink, self._encoder.add(data))
        return len(data)

    def finish(self) -> None:
        """Write what is left and the END line."""
        write_all(self._sink, self._encoder.end())


class _PieceReader(io.RawIOBase):
    """A raw stream over pieces of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        filled = 0
        while filled < len(buffer):
            piece = self._rest or next(self._pieces, b"")
            if not piece:
                break
            taken = min(len(piece), len(buffer) - filled)
            buffer[filled : filled + taken] = piece[:taken]
            self._rest = piece[taken:]
            filled += taken
        return filled


def _lines(source: BinaryIO, begun: bytes) -> Iterator[bytes]:
    rest = begun
    while block := source.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > MAX_ARMOR_LINE_BYTES:
            raise FormatError(f"armor has a line longer than {MAX_ARMOR_LINE_BYTES} bytes")
    yield from rest.split(b"\n")
