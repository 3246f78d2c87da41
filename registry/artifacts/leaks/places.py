"""Places on earth in a text: pairs of degrees that are named so, ISO 6709, `geo:` and degree signs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.leak import Certainty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage

_NAMED = re.compile(
    r"\bgps|\blat\b|latitude|\blon\b|\blng\b|longitude|coordinate|\bgeo|location|经度|纬度|坐标|定位"
)
_ANY_NAME = re.compile(r"(?i:gps|lat|lon|lng|coord|geo|location)|经度|纬度|坐标|定位")
_PAIR = re.compile(
    r"(-?[0-9]{1,3}\.[0-9]{3,17}+)\s{0,3}+[,;/ ]\s{0,3}+(-?[0-9]{1,3}\.[0-9]{3,17}+)(?![0-9.])"
)
_LATITUDE = re.compile(
    r"(?i:(?:gps[_ ]?)?lat(?:itude)?)[\"']?\s{0,3}+[:=]\s{0,3}+[\"']?(-?[0-9]{1,2}\.[0-9]{3,17})"
)
_LATITUDE_ZH = re.compile(r"纬度[\"']?\s{0,3}+[:=]?\s{0,3}+[\"']?(-?[0-9]{1,2}\.[0-9]{3,17})")
_ISO_6709 = re.compile(
    r"[+-][0-9]{2}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,8})?[+-][0-9]{3}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,8})?"
    r"(?:[+-][0-9]{1,6}(?:\.[0-9]{1,4})?)?(?:CRS[A-Za-z0-9_]{1,16})?/"
)
_GEO_URI = re.compile(r"geo:-?[0-9]{1,2}(?:\.[0-9]{1,17})?,-?[0-9]{1,3}(?:\.[0-9]{1,17})?")
_DEGREES = re.compile(
    r"[0-9]{1,2}\s?[°度]\s?[0-9]{1,2}\s?['\u2032\u2019分]\s?(?:[0-9]{1,2}(?:\.[0-9]{1,6})?\s?(?:[\"\u2033\u201d秒]|'')?\s?)?[NSns北南]"
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
    if _ANY_NAME.search(text):
        yield from _named(passage)


def _named(passage: Passage) -> Iterator[Hit]:
    for match in _PAIR.finditer(passage.text):
        if _is_place(match[1], match[2]) and _NAMED.search(passage.before(match.start())):
            yield Hit("gps", Certainty.PATTERN)
    for pattern in (_LATITUDE, _LATITUDE_ZH):
        for match in pattern.finditer(passage.text):
            if abs(float(match[1])) <= _MOST_LATITUDE:
                yield Hit("gps", Certainty.PATTERN)


def _is_place(first: str, second: str) -> bool:
    one, two = abs(float(first)), abs(float(second))
    # Chinese maps write the longitude first.
    return min(one, two) <= _MOST_LATITUDE and max(one, two) <= _MOST_LONGITUDE
