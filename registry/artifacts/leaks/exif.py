"""EXIF (a TIFF structure, CIPA DC-008): does it give a place, a device, a person, a text?

Read by hand and with bounds, because it comes out of images of unknown origin: an entry that points out
of the block, or a loop of directories, ends the reading and is no error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_ENTRIES = 512
_MOST_DIRECTORIES = 8
_MOST_VALUE_BYTES = 256 * 1024
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
_LATITUDE = 2
_LONG = 4
_UTF16 = frozenset({0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F})  # Windows' title, comment, author, ...
_COMMENT_CODE_BYTES = 8
# Tag to what it holds.
_TAGS = {
    0x010E: "text",  # ImageDescription
    0x9286: "comment",  # UserComment: web UIs put the prompt here
    0x9C9B: "text",
    0x9C9C: "text",
    0x9C9E: "text",
    0x9C9F: "text",
    0x013B: "person",  # Artist
    0x8298: "person",  # Copyright
    0x9C9D: "person",
    0xA430: "person",  # CameraOwnerName
    0x013C: "device",  # HostComputer
    0xA431: "device",  # BodySerialNumber
    0xA435: "device",  # LensSerialNumber
}


@dataclass(frozen=True, slots=True)
class ExifField:
    """What one entry holds: `gps`, `person`, `device` or `text`, with the text of it."""

    holds: str
    text: str = ""


def read_exif(block: bytes) -> tuple[ExifField, ...]:
    """Return the telling fields of an EXIF block, with or without its `Exif` mark; never raises."""
    data = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return ()
    try:
        return tuple(_fields(data, order))
    except struct.error:
        return ()


def _fields(data: bytes, order: str) -> Iterator[ExifField]:
    waiting = [(struct.unpack_from(f"{order}I", data, 4)[0], False)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        offset, is_gps = waiting.pop()
        if offset in seen or offset + 2 > len(data):
            continue
        seen.add(offset)
        for tag, value in _entries(data, order, offset):
            if tag in (_EXIF_DIRECTORY, _GPS_DIRECTORY) and len(value) >= _LONG:
                pointed = struct.unpack_from(f"{order}I", value)[0]
                waiting.append((pointed, tag == _GPS_DIRECTORY))
            elif is_gps and tag == _LATITUDE and value.strip(b"\0"):
                yield ExifField("gps")
            elif not is_gps and tag in _TAGS:
                yield from _field(tag, value, order)


def _entries(data: bytes, order: str, offset: int) -> Iterator[tuple[int, bytes]]:
    count = min(struct.unpack_from(f"{order}H", data, offset)[0], _MOST_ENTRIES)
    for number in range(count):
        entry = offset + 2 + 12 * number
        if entry + 12 > len(data):
            return
        tag, form, length = struct.unpack_from(f"{order}HHI", data, entry)
        size = _SIZES.get(form, 0) * length
        start = entry + 8 if size <= _LONG else struct.unpack_from(f"{order}I", data, entry + 8)[0]
        yield tag, data[start : start + min(size, _MOST_VALUE_BYTES)]


def _field(tag: int, value: bytes, order: str) -> Iterator[ExifField]:
    holds = _TAGS[tag]
    if holds == "comment":
        holds, text = "text", _comment(value, order)
    elif tag in _UTF16:
        text = value.decode("utf-16-le", "replace")
    else:
        text = value.decode("utf-8", "replace")
    text = text.replace("\0", " ").strip()
    if text:
        yield ExifField(holds, text)


def _comment(value: bytes, order: str) -> str:
    code, text = value[:_COMMENT_CODE_BYTES], value[_COMMENT_CODE_BYTES:]
    if code.startswith(b"UNICODE"):
        # The standard leaves the order open: programs write both, whatever the block says.
        wide = "utf-16-be" if text[:1] == b"\0" else "utf-16-le"
        return text.decode(wide if order == ">" or text[:1] == b"\0" else "utf-16-le", "replace")
    return text.decode("utf-8", "replace")
