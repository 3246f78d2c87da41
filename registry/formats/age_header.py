"""The text header of an age v1 file: version line, stanzas, MAC line (C2SP age.md, "Header").

Bytes to dataclasses and back; no key is touched here. What `parse_header` accepts has exactly one
spelling, so `dump_header(parse_header(data)) == data`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from registry.errors import FormatError
from registry.limits import AGE_HEADER_BYTES, AGE_STANZAS

VERSION_LINE = b"age-encryption.org/v1\n"
MAC_BYTES = 32
MAX_LINE_BYTES = AGE_HEADER_BYTES

_STANZA_PREFIX = b"-> "
_MAC_PREFIX = b"---"
_COLUMNS = 64
_BODY_BYTES_PER_LINE = 48
_ARGUMENT = re.compile(r"[\x21-\x7e]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One wrapped file key: its type, further arguments (printable ASCII) and body bytes."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """All stanzas in file order and the 32-byte MAC. Nothing here is verified yet."""

    stanzas: tuple[Stanza, ...]
    mac: bytes


def parse_header(data: bytes) -> Header:
    """Return the header that `data` is, up to and including the line feed after the MAC.

    Raises:
        FormatError: too long, wrong version, a stanza or the MAC line not as the format says,
            or anything after the MAC line.
    """
    if len(data) > AGE_HEADER_BYTES:
        raise FormatError(f"age header has {len(data)} bytes, more than {AGE_HEADER_BYTES}")
    if not data.startswith(VERSION_LINE):
        raise FormatError(
            "not an age v1 file: the first line is not 'age-encryption.org/v1'",
            hint="a sealed adapter is a file named *.age; is this the right file?",
        )
    *lines, rest = data[len(VERSION_LINE) :].split(b"\n")
    if rest or not lines or not lines[-1].startswith(_MAC_PREFIX):
        raise FormatError("age header is cut off before its MAC line, or has data after it")
    return Header(_parse_stanzas(lines[:-1]), _parse_mac(lines[-1]))


def dump_header(header: Header) -> bytes:
    """Return the bytes of `header`, with the MAC as it is given."""
    return mac_input(header.stanzas) + b" " + encode_base64(header.mac).encode() + b"\n"


def mac_input(stanzas: tuple[Stanza, ...]) -> bytes:
    """Return what the header MAC covers: all up to and including `---`, without the space after."""
    return VERSION_LINE + b"".join(_dump_stanza(stanza) for stanza in stanzas) + _MAC_PREFIX


def is_mac_line(line: bytes) -> bool:
    """Return whether `line` ends a header; whether it is well formed is not judged."""
    return line.startswith(_MAC_PREFIX)


def encode_base64(data: bytes) -> str:
    """Return standard base64 without padding, as age writes it."""
    return base64.b64encode(data).decode().rstrip("=")


def decode_base64(text: str, *, what: str) -> bytes:
    """Return the bytes of canonical, unpadded base64.

    Raises:
        FormatError: padding, another alphabet, stray bits. `what` names it in the message.
    """
    if not _BASE64.fullmatch(text):
        raise FormatError(f"{what} is not unpadded base64")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise FormatError(f"{what} is not unpadded base64") from error
    if encode_base64(data) != text:
        # Two spellings of one stanza would let anyone change a header unseen by its digest.
        raise FormatError(f"{what} is not canonical base64")
    return data


def _parse_stanzas(lines: list[bytes]) -> tuple[Stanza, ...]:
    stanzas: list[Stanza] = []
    position = 0
    while position < len(lines):
        if len(stanzas) == AGE_STANZAS:
            raise FormatError(f"age header has more than {AGE_STANZAS} stanzas")
        kind, arguments = _parse_arguments(lines[position])
        body, position = _parse_body(lines, position + 1)
        stanzas.append(Stanza(kind, arguments, body))
    if not stanzas:
        raise FormatError("age header has no stanza")
    return tuple(stanzas)


def _parse_arguments(line: bytes) -> tuple[str, tuple[str, ...]]:
    if not line.startswith(_STANZA_PREFIX):
        raise FormatError("age header has a line that begins no stanza and ends no header")
    words = line[len(_STANZA_PREFIX) :].decode("latin-1").split(" ")
    if not all(_ARGUMENT.fullmatch(word) for word in words):
        raise FormatError("age stanza has an empty argument or a character that is not allowed")
    return words[0], tuple(words[1:])


def _parse_body(lines: list[bytes], position: int) -> tuple[bytes, int]:
    """Return the body that starts at `position`, and the position after it."""
    text: list[str] = []
    for index in range(position, len(lines)):
        line = lines[index].decode("latin-1")
        if len(line) > _COLUMNS:
            raise FormatError(f"age stanza body has a line longer than {_COLUMNS} columns")
        text.append(line)
        if len(line) < _COLUMNS:
            return decode_base64("".join(text), what="age stanza body"), index + 1
    raise FormatError("age stanza body does not end with a short line")


def _parse_mac(line: bytes) -> bytes:
    if not line.startswith(_MAC_PREFIX + b" "):
        raise FormatError("age header's MAC line is not '--- ' and a MAC")
    mac = decode_base64(line[len(_MAC_PREFIX) + 1 :].decode("latin-1"), what="age header MAC")
    if len(mac) != MAC_BYTES:
        raise FormatError(f"age header MAC has {len(mac)} bytes, expected {MAC_BYTES}")
    return mac


def _dump_stanza(stanza: Stanza) -> bytes:
    words = (stanza.kind, *stanza.arguments)
    if not all(_ARGUMENT.fullmatch(word) for word in words):
        raise ValueError("stanza arguments must be printable ASCII, none empty")
    body = stanza.body
    starts = range(0, len(body) + 1, _BODY_BYTES_PER_LINE)
    lines = [encode_base64(body[start : start + _BODY_BYTES_PER_LINE]) for start in starts]
    return "".join(f"{line}\n" for line in ("-> " + " ".join(words), *lines)).encode()
