"""Sentences of the audits in another language: matched with templates, their values put in again.

Audits write English with names and numbers in it, and so do audits that others supply. What no
template knows stays English and is marked so; a sentence is never left out for want of words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GAP = "{}"
_SLOT = re.compile(r"\{([0-9])\}")
_PROSE = re.compile(r"[A-Za-z]+ +[A-Za-z]+")
_DEPTH = 3
# Sentences may match several templates; the ones with most fixed letters are looked at closer.
_CANDIDATES = 4
# A template with fewer letters of its own fits anything: only a reading without English counts.
_TELLING_LETTERS = 12
# Sentences joined by semicolons; more than that is no sentence of an audit.
_PARTS = 12


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a sentence. `fixed`: ours, in the language asked for; else a value, as it came.

    `english`: a value that holds a sentence for which there are no words.
    """

    text: str
    fixed: bool = False
    english: bool = False


Pieces = tuple[Piece, ...]


class Translator:
    """Templates of one language. Keys have `{}` for each value, their words `{0}`, `{1}`, ..."""

    def __init__(self, catalog: Mapping[str, str], *, separator: str) -> None:
        """Take a catalog; `separator` stands between sentences that were joined by semicolons."""
        self._separator = separator
        self._whole = {key: words for key, words in catalog.items() if GAP not in key}
        split = [(tuple(key.split(GAP)), words) for key, words in catalog.items() if GAP in key]
        self._templates = sorted(split, key=lambda pair: -sum(map(len, pair[0])))

    def translate(self, text: str) -> Pieces:
        """Return the sentence in pieces; joined they are all that it says, in reading order."""
        return self._translate(text, _DEPTH)

    def knows(self, text: str) -> bool:
        """Say whether nothing of the sentence would stay English."""
        return not any(piece.english for piece in self.translate(text))

    def _translate(self, text: str, depth: int) -> Pieces:
        if text in self._whole:
            return (Piece(self._whole[text], fixed=True),)
        options = list(self._options(text, depth)) if depth else []
        if options:
            return min(options, key=lambda option: option[0])[1]
        return (Piece(text, english=bool(_PROSE.search(text))),)

    def _options(self, text: str, depth: int) -> Iterator[tuple[tuple[int, int], Pieces]]:
        """Yield what the sentence may be, each with how bad a reading that is.

        English left over is worst; then a sentence that is a value and does not stand last, where
        audits put their reasons. Among equals the first is taken, which has most fixed letters.
        """
        found = 0
        if 0 < text.count("; ") < _PARTS:
            pieces = tuple(self._joined(text.split("; "), depth - 1))
            yield (_english_chars(pieces), 1), pieces
        for literals, words in self._templates:
            values = match(literals, text)
            if values is not None:
                pieces = tuple(self._filled(words, values, depth - 1))
                english = _english_chars(pieces)
                if english and sum(map(len, literals)) < _TELLING_LETTERS:
                    continue
                inner = sum(bool(_PROSE.search(value)) for value in values[:-1])
                yield (english, inner), pieces
                found += 1
                if found == _CANDIDATES:
                    return

    def _filled(self, words: str, values: tuple[str, ...], depth: int) -> Iterator[Piece]:
        # re.split leaves the slots' digits at the odd places.
        for number, part in enumerate(_SLOT.split(words)):
            if number % 2:
                yield from self._value(values[int(part)], depth)
            elif part:
                yield Piece(part, fixed=True)

    def _value(self, value: str, depth: int) -> Pieces:
        return self._translate(value, depth) if value else (Piece(value),)

    def _joined(self, parts: list[str], depth: int) -> Iterator[Piece]:
        for number, part in enumerate(parts):
            if number:
                yield Piece(self._separator, fixed=True)
            yield from self._translate(part, depth)


def match(literals: tuple[str, ...], text: str) -> tuple[str, ...] | None:
    """Return the values between `literals` that make `text`, the earliest ones; None without any.

    Takes time in proportion to the text: a pattern with several gaps must not be made slow by a name.
    """
    first, last = literals[0], literals[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return None
    place, end = len(first), len(text) - len(last)
    values = []
    for literal in literals[1:-1]:
        found = text.find(literal, place, end)
        if found < 0:
            return None
        values.append(text[place:found])
        place = found + len(literal)
    return (*values, text[place:end])


def _english_chars(pieces: Pieces) -> int:
    return sum(len(piece.text) for piece in pieces if piece.english)
