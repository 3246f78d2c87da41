"""A PNG writer for small pictures of palette indices (PNG third edition, sections 5, 9, 10, 11)."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
_DEPTH = 8
_UNFILTERED = b"\x00"

Colour = tuple[int, int, int]


def write_png(rows: Sequence[bytes], palette: Sequence[Colour]) -> bytes:
    """Return a picture; each row holds one palette index a byte, and index 0 is see-through.

    Raises:
        ValueError: no pixel, rows of different lengths, or more than 256 colours.
    """
    width = len(rows[0]) if rows else 0
    if not width or any(len(row) != width for row in rows) or not 0 < len(palette) <= 1 << _DEPTH:
        raise ValueError("a picture has equal rows, a pixel and at most 256 colours")
    header = struct.pack(">IIBBBBB", width, len(rows), _DEPTH, _INDEXED, 0, 0, 0)
    pixels = zlib.compress(b"".join(_UNFILTERED + row for row in rows), 9)
    parts = (
        (b"IHDR", header),
        (b"PLTE", b"".join(bytes(colour) for colour in palette)),
        (b"tRNS", b"\x00"),
        (b"IDAT", pixels),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def data_uri(picture: bytes) -> str:
    """Return the picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
