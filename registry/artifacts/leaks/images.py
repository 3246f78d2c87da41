"""What the metadata of PNG, JPEG and WebP images tells: prompts, places, devices, people.

Chunk readers of our own, a few lines each: nothing is decoded, every length is checked against the data,
and what is compressed is opened only to a bound.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING

from registry.artifacts.leaks.exif import read_exif
from registry.artifacts.leaks.hits import Found
from registry.artifacts.leaks.kinds import leak_of_found
from registry.artifacts.leaks.leak import Certainty
from registry.artifacts.leaks.passages import decoded
from registry.artifacts.leaks.scan import leaks_in_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.leak import Leak

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MOST_CHUNKS = 4096
_MOST_TEXT_BYTES = 1024 * 1024
# Words with which web UIs, ComfyUI, InvokeAI and NovelAI store how an image was made.
_PROMPT_WORDS = (
    "parameters", "prompt", "workflow", "generation", "invokeai", "sd-metadata", "steps:", "dream",
    "negative", "sampler",
)  # fmt: skip
_KEYWORD_CHARS = 79
_SOFTWARE = frozenset({b"Software", b"date:create", b"date:modify", b"date:timestamp"})
# What a piece holds: its kind, and what it is called there.
_HOLDS = {
    "gps": ("gps", "a place on earth, in the image's metadata"),
    "person": ("person-name", "a person's name, in the image's metadata"),
    "device": ("device", "the owner or serial number of a device, in the image's metadata"),
    "prompt": ("prompt", "the prompt with which the image was made, in its metadata"),
    "text": ("image-text", "text in the image's metadata"),
}


def is_image(data: bytes) -> bool:
    """Return whether `data` begins as a PNG, JPEG or WebP image."""
    return data.startswith((_PNG, _JPEG)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def leaks_in_image(place: str, data: bytes) -> tuple[Leak, ...]:
    """Return what the metadata of the image `data` tells; never raises, () for other data."""
    held: Counter[str] = Counter()
    texts = []
    for holds, text in _metadata(data):
        held["prompt" if holds == "text" and _is_prompt(text) else holds] += 1
        texts.append(text)
    told = {_HOLDS[holds][0] for holds in held}
    written = leaks_in_text(place, "\n".join(texts))
    return (
        *(
            leak_of_found(
                place, Found(_HOLDS[holds][0], count, Certainty.TABLE), what=_HOLDS[holds][1]
            )
            for holds, count in sorted(held.items())
        ),
        *(leak for leak in written if leak.kind not in told),
    )


def _is_prompt(text: str) -> bool:
    lowered = text[: 4 * 1024].lower()
    return any(word in lowered for word in _PROMPT_WORDS)


def _metadata(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield what a piece of metadata holds (`text`, `gps`, `person`, `device`) and its text."""
    if data.startswith(_PNG):
        pieces = _of_png(data)
    elif data.startswith(_JPEG):
        pieces = _of_jpeg(data)
    elif is_image(data):
        pieces = _of_webp(data)
    else:
        return
    for name, piece in pieces:
        if name == "exif":
            yield from ((field.holds, field.text) for field in read_exif(piece))
        else:
            text = decoded(piece[:_MOST_TEXT_BYTES])
            if text.strip():
                yield "text", text
            if "GPSLatitude" in text:  # XMP writes degrees in a form of its own
                yield "gps", ""


def _of_png(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, content = (
            data[position + 4 : position + 8],
            data[position + 8 : position + 8 + length],
        )
        if not kind:
            return
        if kind == b"eXIf":
            yield "exif", content
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield "text", _png_text(kind, content)
        position += 12 + length


def _png_text(kind: bytes, content: bytes) -> bytes:
    keyword, _, rest = content.partition(b"\0")
    if kind == b"zTXt":
        rest = _inflated(rest[1:])
    elif kind == b"iTXt":
        compressed, rest = rest[:1] == b"\x01", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]
        rest = _inflated(rest) if compressed else rest
    tells = rest.strip() and keyword not in _SOFTWARE
    return keyword[:_KEYWORD_CHARS] + b": " + rest if tells else b""


def _inflated(data: bytes) -> bytes:
    try:
        # Bounded: a few bytes can unpack to gigabytes.
        return zlib.decompressobj().decompress(data, _MOST_TEXT_BYTES)
    except zlib.error:
        return b""


_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_MARK, _JPEG_MARK_BYTES = 0xFF, 2
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_APP1, _JPEG_APP13, _JPEG_COMMENT = 0xE1, 0xED, 0xFE
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def _of_jpeg(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 2
    for _ in range(_MOST_CHUNKS):
        mark = data[position : position + 2]
        if (
            len(mark) < _JPEG_MARK_BYTES
            or mark[0] != _JPEG_MARK
            or mark[1] in (_JPEG_SCAN, _JPEG_END)
        ):
            return
        if mark[1] in _JPEG_ALONE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield from _jpeg_segment(mark[1], data[position + 4 : position + 2 + length])
        position += 2 + max(length, 2)


def _jpeg_segment(mark: int, content: bytes) -> Iterator[tuple[str, bytes]]:
    if mark == _JPEG_APP1 and content.startswith(b"Exif\0\0"):
        yield "exif", content
    elif mark == _JPEG_APP1 and content.startswith(_XMP):
        yield "text", content.removeprefix(_XMP)
    elif mark == _JPEG_COMMENT:
        yield "text", content
    elif (
        mark == _JPEG_APP13
    ):  # Photoshop's block with IPTC: captions and names, between binary marks
        yield "text", bytes(byte if byte >= ord(" ") else ord("\n") for byte in content)


def _of_webp(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 12
    for _ in range(_MOST_CHUNKS):
        kind = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        content = data[position + 8 : position + 8 + length]
        if not kind:
            return
        if kind == b"EXIF":
            yield "exif", content
        elif kind == b"XMP ":
            yield "text", content
        position += 8 + length + length % 2
