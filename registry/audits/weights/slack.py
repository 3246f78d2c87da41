"""Bytes that no loader reads: white space in a header, and what hangs on to the other files of a folder."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.audits.weights.signatures import find_signature, signature_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.updates.files import WeightFile

# Writers pad to 8 bytes; sd-scripts' writer for large models to 256 in all.
_PAD_BYTES, _LARGE_PAD_BYTES = 8, 256
_LENGTH_BYTES = 8
_TEXT_SUFFIXES = frozenset(
    {".json", ".txt", ".md", ".jinja", ".yaml", ".yml", ".toml", ".csv", ".cfg", ".ini"}
)
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_MOST_JSON_BYTES = 2**20
_TAIL_BYTES = 64
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_PLAIN_SPACES = re.compile(rb"[,:] ")


def header_slack(file: WeightFile) -> Iterator[str]:
    """Yield, in words, what white space a header has that its writer did not need."""
    if file.header is None:
        return
    text = bytes(file.data[_LENGTH_BYTES : file.header.header_bytes])
    padding = len(text) - len(text.rstrip())
    is_large_pad = (len(text) + _LENGTH_BYTES) % _LARGE_PAD_BYTES == 0
    if padding >= (_LARGE_PAD_BYTES if is_large_pad else _PAD_BYTES):
        yield f"the header ends with {padding} blanks, writers need at most 7"
    between = _PLAIN_SPACES.sub(b"", _STRINGS.sub(b"", text.rstrip()))
    blanks = len(between) - len(between.translate(None, b" \t\r\n"))
    if blanks:
        yield f"{blanks} blanks stand between the words of the header, where writers leave none"


def stray_bytes(file: WeightFile) -> Iterator[tuple[str, bool]]:
    """Yield, in words, what is odd about a file without weights, and whether it is a file inside it."""
    if file.header is not None or not len(file.data):
        return
    suffix = PurePosixPath(file.path).suffix.lower()
    start = bytes(file.data[:_TAIL_BYTES])
    if suffix in _TEXT_SUFFIXES:
        kind = signature_at(start)
        if kind is not None and kind not in _TEXTS:
            yield f"it bears the name of a text and is {kind}", True
        elif suffix == ".json" and _has_json_tail(file.data):
            yield "something follows after its JSON", False
    elif start.startswith(_PNG_START):
        yield from _after_png(bytes(file.data))


# These are texts too.
_TEXTS = frozenset({"an armoured block", "a script"})


def _after_png(data: bytes) -> Iterator[tuple[str, bool]]:
    place = data.find(_PNG_END)
    rest = data[place + len(_PNG_END) :] if place >= 0 else b""
    if rest:
        kind = find_signature(rest)
        words = f": {kind}" if kind is not None else ""
        yield f"{len(rest)} bytes follow after its image{words}", kind is not None


def _has_json_tail(data: memoryview) -> bool:
    if len(data) <= _MOST_JSON_BYTES:
        try:
            text = bytes(data).decode("utf-8")
            _, end = json.JSONDecoder().raw_decode(text.lstrip())
        except (ValueError, RecursionError):
            return False  # no JSON at all: others say so
        tail = text.lstrip()[end:]
        return bool(tail.strip()) or len(tail) > _TAIL_BYTES
    tail_bytes = bytes(data[-_TAIL_BYTES:])
    return not tail_bytes.rstrip().endswith((b"}", b"]"))
