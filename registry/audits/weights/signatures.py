"""What files begin with, and what text looks like: to be found where only numbers should be.

Each signature has at least six fixed bytes or is checked by what must follow it, so that random bytes match
once in some 10^11 places.
"""

from __future__ import annotations

import re

# Name, the bytes to look for, and what must follow from there on.
_SIGNATURES: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = tuple(
    (name, start, re.compile(re.escape(start) + rest, re.DOTALL))
    for name, start, rest in (
        ("a zip archive", b"PK\x03\x04", rb"[\x00-\x3f]\x00.[\x00-\x08][\x00\x08\x09\x0c\x0e]\x00"),
        ("a program (ELF)", b"\x7fELF", rb"[\x01\x02][\x01\x02]\x01"),
        ("a program (Mach-O)", b"\xcf\xfa\xed\xfe", rb"[\x07\x0c]\x00\x00[\x00\x01]"),
        ("a program (WebAssembly)", b"\0asm\x01\0\0\0", rb""),
        ("a script", b"#!/", rb"(?:usr/)?bin/"),
        ("a PNG image", b"\x89PNG\r\n\x1a\n", rb""),
        ("a JPEG image", b"\xff\xd8\xff", rb"[\xe0\xe1]..(?:JFIF|Exif)"),
        ("a PDF document", b"%PDF-", rb"[12]\."),
        ("an age file", b"age-encryption.org/v1", rb""),
        ("an armoured block", b"-----BEGIN ", rb"[A-Z]{3}"),
        ("an encrypted file (OpenSSL)", b"Salted__", rb""),
        ("a pickle", b"\x80", rb"[\x04\x05]\x95.{4}\0\0\0\0"),
        ("a pickle", b"\x80\x02", rb"[}\](cX][q\x00-\x7f]?(?:q\0|[a-z_]{3})"),
        ("a gzip archive", b"\x1f\x8b\x08", rb"[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]"),
        ("a bzip2 archive", b"BZh", rb"[1-9]1AY&SY"),
        ("an xz archive", b"\xfd7zXZ\x00", rb""),
        ("a 7z archive", b"7z\xbc\xaf\x27\x1c", rb""),
        ("a rar archive", b"Rar!\x1a\x07", rb""),
        ("a database (SQLite)", b"SQLite format 3\0", rb""),
        ("a GGUF file", b"GGUF", rb"[\x01-\x04]\0\0\0"),
        ("another safetensors file", b'{"', rb'(?:__metadata__|[^"]{1,80}"\s?:\s?\{"dtype)'),
    )
)
# The first two bytes of each, for a quick look at many places; a pickle's second may be one of two.
FIRST_PAIRS: frozenset[bytes] = frozenset(
    pair
    for _, start, _ in _SIGNATURES
    for pair in ((start[:2],) if len(start) > 1 else (start + b"\x04", start + b"\x05"))
)
PRINTABLE = bytes((9, 10, 13, *range(32, 127)))
_TEXT_RUN = re.compile(rb"[\t\n\r -~]{64,}")
_TEXT_SHARE = 0.95
_TEXT_BYTES = 24
_TEXT_COLUMN = 5  # in every fourth byte of a run
_TEXT_LETTERS = 6  # a run of one character is a pattern and no text


def find_signature(data: bytes) -> str | None:
    """Return what kind of file begins somewhere in `data`, in words, or None."""
    for name, start, whole in _SIGNATURES:
        place = data.find(start)
        while place >= 0:
            if whole.match(data, place):
                return name
            place = data.find(start, place + 1)
    return None


def signature_at(data: bytes) -> str | None:
    """Return what kind of file `data` begins with, in words, or None."""
    return next((name for name, _, whole in _SIGNATURES if whole.match(data)), None)


def is_text(data: bytes) -> bool:
    """Return whether `data`, of 24 bytes or more, is nearly all printable ASCII of several kinds."""
    if len(data) < _TEXT_BYTES:
        return False
    rest = len(data.translate(None, PRINTABLE))
    return rest <= (1 - _TEXT_SHARE) * len(data) and len(set(data)) >= _TEXT_LETTERS


def has_text(data: bytes) -> bool:
    """Return whether 64 bytes or more of printable ASCII stand together somewhere in `data`."""
    return any(_is_varied(run[0]) for run in _TEXT_RUN.finditer(data))


def _is_varied(run: bytes) -> bool:
    # Numbers from 2.5 to 3.9 in BF16 are printable too, but every second byte of them is an @.
    return all(len(set(run[start::4])) >= _TEXT_COLUMN for start in range(4))


def kind_of(data: bytes) -> str | None:
    """Return what `data` holds that is no weights, in words: a known file, or text; else None."""
    return find_signature(data) or ("text" if has_text(data) else None)
