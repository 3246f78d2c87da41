"""The ASCII armor of age v1: strict PEM around the binary file (C2SP age.md, "ASCII armor").

64 columns, LF or CRLF, canonical padded base64, no headers; white space only before and after.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ARMOR_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
MAX_ARMOR_LINE_BYTES = 1024

_COLUMNS = 64
_BYTES_PER_LINE = 48
_MAX_WHITESPACE_BYTES = 1024


def is_armor_start(line: bytes) -> bool:
    """Return whether a file that begins with `line` is to be read as armor."""
    text = line.strip()
    return text.startswith(b"-----BEGIN") or (not text and line != b"")


class ArmorEncoder:
    """Makes armor piece by piece: `begin`, any number of `add`, `end`."""

    def __init__(self) -> None:
        self._rest = b""

    def begin(self) -> bytes:
        """Return the BEGIN line."""
        return ARMOR_BEGIN + b"\n"

    def add(self, data: bytes | memoryview) -> bytes:
        """Return the full lines that `data` completes; what is left waits for the next piece."""
        waiting = self._rest + data
        whole = len(waiting) - len(waiting) % _BYTES_PER_LINE
        self._rest = waiting[whole:]
        return _text_lines(waiting[:whole])

    def end(self) -> bytes:
        """Return the last, shorter line, if any, and the END line."""
        return _text_lines(self._rest) + ARMOR_END + b"\n"


def dump_armor(data: bytes) -> bytes:
    """Return the armored form of the binary age file `data`."""
    encoder = ArmorEncoder()
    return encoder.begin() + encoder.add(data) + encoder.end()


def parse_armor(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes inside the armor that `lines` (split at line feeds) are.

    Only exhaustion without an error proves that the armor is whole.

    Raises:
        FormatError: anything but the one strict form.
    """
    source = _without_carriage_returns(lines)
    _skip_to_begin(source)
    full = True
    for line in source:
        if line == ARMOR_END:
            _refuse_trailing(source)
            return
        if not full:
            raise FormatError("armor has a short line before its last one")
        full = len(line) == _COLUMNS and not line.endswith(b"=")
        yield _parse_line(line)
    raise FormatError("armor is cut off: it has no END line", hint="ask for the file again")


def _text_lines(data: bytes) -> bytes:
    text = base64.b64encode(data)
    lines = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
    return b"".join(line + b"\n" for line in lines)


def _without_carriage_returns(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line.removesuffix(b"\r")


def _skip_to_begin(lines: Iterator[bytes]) -> None:
    skipped = 0
    for line in lines:
        if line == ARMOR_BEGIN:
            return
        skipped += len(line) + 1
        if line.strip() or skipped > _MAX_WHITESPACE_BYTES:
            break
    raise FormatError("armor does not begin with its BEGIN line alone")


def _parse_line(line: bytes) -> bytes:
    if not line or len(line) > _COLUMNS:
        raise FormatError(f"armor has a line of {len(line)} columns, expected 1 to {_COLUMNS}")
    try:
        data = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise FormatError("armor has a line that is not base64") from error
    if base64.b64encode(data) != line:
        raise FormatError("armor has a line that is not canonical base64")
    return data


def _refuse_trailing(lines: Iterator[bytes]) -> None:
    seen = 0
    for line in lines:
        seen += len(line) + 1
        if line.strip() or seen > _MAX_WHITESPACE_BYTES:
            raise FormatError("armor has data after its END line")
