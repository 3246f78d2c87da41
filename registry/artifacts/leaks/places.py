"""Places on earth in a text: pairs of degrees that are named so, ISO 6709, `geo:` and degree signs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.leak import Certainty
from registry.artifacts.leaks.passages import CONTEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage

_NAMED = re.compile(
    r"\bgps|\blat\b|latitude|\blon\b|\blng\b|longitude|coordinate|\bgeo|location|经度|纬度|坐标|定位"
)
_WORDS = ("gps", "lat", "lon", "lng", "coord", "geo", "location", "经度", "纬度", "坐标", "定位")
_WINDOW_CHARS = 2 * (CONTEXT_CHARS + 48)
_PAIR = re.compile(
    r"(-?[0-9]{1,3}\.[0-9]{3,17}+)\s{0,3}+[,;/ ]\s{0,3}+(-?[0-9]{1,3}\.[0-9]{3,17}+)(?![0-9.])"
)
_LATITUDE = re.compile(
    r"(?i:(?:gps[_ ]?)?\blat(?:itude)?[\"']?\s{0,3}+[:=]|纬度[\"']?\s{0,3}+[:=]?)\s{0,3}+[\"']?(-?[0-9]{1,2}\.[0-9]{3,17})"
)
_ISO_6709 = re.compile(
    r"[+-][0-9]{2}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,8}+)?[+-][0-9]{3}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,8}+)?"
    r"(?:[+-][0-9]{1,6}+(?:\.[0-9]{1,4}+)?)?(?:CRS[A-Za-z0-9_]{1,16}+)?/"
)
_GEO_URI = re.compile(r"geo:-?[0-9]{1,2}(?:\.[0-9]{1,17}+)?,-?[0-9]{1,3}(?:\.[0-9]{1,17}+)?")
_DEGREES = re.compile(
    r"[0-9]{1,2}+\s?[°度]\s?[0-9]{1,2}+\s?['\u2032\u2019分]\s?(?:[0-9]{1,2}+(?:\.[0-9]{1,6}+)?\s?(?:[\"\u2033\u201d秒]|'')?\s?)?[NSns北南]"
)
_MOST_LATITUDE, _MOST_LONGITUDE = 90.0, 180.0


def scan_places(passage: Passage) -> Iterator[Hit]:
    """Yield places on earth; a pair of numbers counts only where a word says that it is one."""
    text = passage.text
    for anchor, pattern in (
        ("geo:", _GEO_URI),
        ("/", _ISO_6709),
        ("°", _DEGREES),
        ("度", _DEGREES),
    ):
        if anchor in text:
            yield from (Hit("gps", Certainty.CHECKED) for _ in pattern.finditer(text))
    seen: set[int] = set()
    for start, end in passage.windows(_WORDS, 0, _WINDOW_CHARS):
        for place in _named(passage, start, end):
            if place not in seen:
                seen.add(place)
                yield Hit("gps", Certainty.PATTERN)


def _named(passage: Passage, start: int, end: int) -> Iterator[int]:
    """Yield where a place begins."""
    for match in _PAIR.finditer(passage.text, start, end):
        if _is_place(match[1], match[2]) and _NAMED.search(passage.before(match.start())):
            yield match.start()
    for match in _LATITUDE.finditer(passage.text, start, end):
        if abs(float(match[1])) <= _MOST_LATITUDE:
            yield match.start(1)


def _is_place(first: str, second: str) -> bool:
    one, two = abs(float(first)), abs(float(second))
    # Chinese maps write the longitude first.
    return min(one, two) <= _MOST_LATITUDE and max(one, two) <= _MOST_LONGITUDE
