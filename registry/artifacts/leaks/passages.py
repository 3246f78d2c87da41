"""Text as scanners read it: widths and dashes made plain, JSON escapes undone, bytes decoded.

Everything here is one pass over its input, and nothing grows: a value of 16 MiB stays below that.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT_CHARS = 64
_UNESCAPE_ROUNDS = 2  # JSON within JSON, as ot_config and ss_datasets come in a README
_BETWEEN_NAMES = re.compile(r"[\s\"'`,;{}()\[\]:=]")


def _plain_table() -> dict[int, str | None]:
    # What NFKC turns into one plain character. NFKC itself can make 18 characters of one, so a hostile
    # value would grow; and digits, letters and separators are all that matters here.
    table: dict[int, str | None] = {}
    for code in (0xA0, *range(0x2000, 0x2070), 0x3000, *range(0xFF00, 0xFF5F)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain.isascii():
            table[code] = plain
    for code in (*range(0x1D7CE, 0x1D800), *range(0x2460, 0x2469)):
        table[code] = unicodedata.normalize("NFKC", chr(code))
    table |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")
    # Invisible: numbers copied out of chat programs carry them.
    table |= dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF), None)
    return table


_PLAIN = _plain_table()
_ODD = re.compile("[" + "".join(map(re.escape, map(chr, _PLAIN))) + "]")


_LOWER_ASCII = {ord(upper): upper.lower() for upper in string.ascii_uppercase}


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to scan; what stands just before a number or a token is its context."""

    text: str
    lowered: str

    @classmethod
    def of(cls, text: str) -> Passage:
        """Return the passage of `text`."""
        lowered = text.lower()
        # Some letters become two in lower case: then places would not agree, and only A to Z matter.
        same = len(lowered) == len(text)
        return cls(text, lowered if same else text.translate(_LOWER_ASCII))

    def windows(self, words: tuple[str, ...], back: int, ahead: int) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the text around each of `words` (lower case).

        A window is `back` characters before the word and `ahead` after its first; at least half of these
        follow every word, and no character is in more than a few windows, however close the words stand.
        """
        for word in words:
            covered = 0
            place = self.lowered.find(word)
            while place >= 0:
                if place + ahead // 2 > covered or not covered:
                    covered = place + ahead
                    yield max(place - back, 0), covered
                place = self.lowered.find(word, place + 1)

    def before(self, start: int) -> str:
        """Return what stands just before `start`, in lower case."""
        return self.lowered[max(start - CONTEXT_CHARS, 0) : start]

    def label_before(self, start: int) -> str:
        """Return the name that `start` is the value of, as in `"seed": 12` or `seed=12`; else ''."""
        stripped = self.text[max(start - CONTEXT_CHARS, 0) : start].rstrip(" \t\"'`[({")
        if not stripped or stripped[-1] not in ":=":
            return ""
        return _BETWEEN_NAMES.split(stripped[:-1].rstrip(" \t\"'`"))[-1]

    def stands_alone(self, start: int, end: int) -> bool:
        """Return whether no ASCII letter or digit touches `text[start:end]`, and no fraction is cut."""
        text = self.text
        if start and (_is_word(text[start - 1]) or _is_fraction(text[max(start - 2, 0) : start])):
            return False
        return not (
            end < len(text)
            and (_is_word(text[end]) or (text[end] == "." and text[end + 1 : end + 2].isdecimal()))
        )

    def is_code(self, start: int, end: int) -> bool:
        """Return whether `text[start:end]`, the value of a name, is a name itself, as in source code.

        What is quoted, has a digit or a dash, or stands behind a colon to the end of its line is none.
        """
        text = self.text
        if text[start - 1 : start] in ("'", '"') or _NOT_A_NAME.search(text, start, end):
            return False
        head = text[max(start - CONTEXT_CHARS, 0) : start].rstrip()
        return not (head.endswith(":") and text[end : end + 1] in ("", *"\r\n,}\"'"))


_NOT_A_NAME = re.compile(r"[^A-Za-z_.]")


def _is_word(character: str) -> bool:
    # Not str.isalnum: Chinese text touches numbers without a space.
    return character.isascii() and character.isalnum()


def _is_fraction(two: str) -> bool:
    return len(two) == len("0.") and two[1] == "." and two[0].isdecimal()


def normalised(text: str) -> str:
    """Return `text` with full-width digits, dashes of all kinds and odd spaces made plain ASCII."""
    return text if text.isascii() else _ODD.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    return _PLAIN[ord(match[0])] or ""


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " "}


def readings(text: str) -> Iterator[str]:
    """Yield `text` as scanners should read it: plain, and with JSON escapes undone where it has any.

    Not parsed as JSON: keys and values stand side by side in the text, depth costs nothing, and broken or
    truncated JSON is read as well.
    """
    plain = normalised(text)
    yield plain
    for _ in range(_UNESCAPE_ROUNDS):
        if "\\" not in plain or plain.lstrip()[:1] not in ("{", "[", '"'):
            return
        plain = normalised(_ESCAPE.sub(_unescaped, plain))
        yield plain


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _ESCAPED.get(match[2], match[2])


_ENCODINGS = ("utf-8-sig", "gb18030")  # logs on Chinese Windows are in the second
_CUT_BYTES = 3  # a text that was cut may end within a character


def decoded(data: bytes) -> str:
    """Return the text in `data`, in the first encoding that fits; never raises."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    for encoding in _ENCODINGS:
        for cut in range(_CUT_BYTES + 1):
            try:
                return data[: len(data) - cut].decode(encoding)
            except UnicodeDecodeError as error:
                if error.start < len(data) - cut - _CUT_BYTES - 1:
                    break
    return data.decode("latin-1")


# Lengths before a string in a pickle are bytes that can look like a letter and would hide its start.
_PICKLED_LENGTH = re.compile(rb"\x8c.|[XT\x8d].{3}\x00(?:\x00{4})?", re.DOTALL)
_UNPRINTABLE = re.compile(rb"[\x00-\x1f\x7f]{1,4096}+")


def printable(data: bytes) -> str:
    """Return what is printable in binary `data`, the rest as line breaks; nothing is interpreted."""
    runs = _UNPRINTABLE.sub(b"\n", _PICKLED_LENGTH.sub(b"\n", data))
    return runs.decode("utf-8", "replace")
