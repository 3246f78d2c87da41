"""Phone, card, identity and company numbers in a text.

Precision first: training metadata is full of numbers. A number that touches a letter or another digit,
that is a fraction, or whose name says that something was counted or timed, is none of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.leaks.cards import is_card_number
from registry.artifacts.leaks.chinese import (
    IDENTITY_CHARS,
    is_credit_code,
    is_identity_number,
    is_old_identity_number,
    is_organisation_code,
    is_registration_number,
)
from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.leak import Certainty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage

_RUN = re.compile(r"[0-9](?:[ -]?[0-9]){10,}+")
_GROUP = re.compile(r"[0-9]++")
_FEWEST, _MOST = 11, 19
# How people write numbers in groups: mobile numbers, cards, identity numbers.
# Identity numbers that end in X have one digit less.
_SHAPES = frozenset(
    {(3, 4, 4), (4, 4, 4, 4), (4, 4, 4, 4, 3), (6, 8, 4), (6, 8, 3), (6, 4, 4, 4), (6, 4, 4, 3)}
)
_LAST_GROUPS = frozenset(shape[-1] for shape in _SHAPES)
_SHORTEST_SHAPE, _LONGEST_SHAPE = 3, 5
_CHINA = ("86", "0086")
_MOBILE = re.compile(
    r"(?:0086|86)?1(?:3[0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])[0-9]{8}"
)
# A number under such a name was counted, timed or drawn by lot.
_COUNTED_WORDS = (
    "seed seeds step steps time times timestamp timestamps ts at session epoch epochs bytes size sizes flos"
    " flops tokens params parameters count counts memory mem offset offsets samples loss lr rate version hash"
    " crc crc32 sha256 started finished runtime duration total ns ms us ctime mtime noise iter iters elapsed"
)
_COUNTED = frozenset(_COUNTED_WORDS.split())
_WORDS = re.compile(r"[A-Z]?[a-z]++|[A-Z]++|[0-9]++")
# ComfyUI's workflows hold seeds of up to 20 digits without a name, followed by what to do with them.
_SEED_FOLLOWS = re.compile(r'\s{0,4}+,\s{0,4}+"(?:fixed|randomize|increment|decrement)"')


@dataclass(frozen=True, slots=True)
class _Number:
    """Digits that may be one number; `end` is where they end in the text."""

    value: str
    start: int
    end: int


def scan_digits(passage: Passage) -> Iterator[Hit]:
    """Yield phone, card, identity and company numbers."""
    for number in _numbers(passage.text):
        kind = _kind_of(passage, number)
        if kind is not None:
            yield kind
    yield from _credit_codes(passage)
    yield from _organisation_codes(passage)
    yield from _international(passage)


def _numbers(text: str) -> Iterator[_Number]:
    for run in _RUN.finditer(text):
        recent: list[tuple[int, int]] = []
        for group in _GROUP.finditer(text, *run.span()):
            start, end = group.span()
            if _FEWEST <= end - start <= _MOST:
                yield _Number(group[0], start, end)
            recent = [*recent[1 - _LONGEST_SHAPE :], (start, end)]
            if end - start in _LAST_GROUPS:
                yield from _grouped(text, recent)


def _grouped(text: str, recent: list[tuple[int, int]]) -> Iterator[_Number]:
    for size in range(_SHORTEST_SHAPE, len(recent) + 1):
        parts = recent[-size:]
        if tuple(end - start for start, end in parts) not in _SHAPES:
            continue
        start, end = parts[0][0], parts[-1][1]
        separators = {text[stop] for _, stop in parts[:-1]}
        if len(separators) == 1 and not _continues(text, (start, end), separators.pop()):
            yield _Number("".join(text[a:b] for a, b in parts), start, end)


def _continues(text: str, span: tuple[int, int], separator: str) -> bool:
    start, end = span
    if text[end : end + 1] == separator and text[end + 1 : end + 2].isdecimal():
        return True
    if text[start - 1 : start] != separator or not text[: start - 1][-1:].isdecimal():
        return False
    head = text[max(start - 6, 0) : start - 1]
    return not (
        head.endswith(_CHINA) and not head.removesuffix("86").removesuffix("00")[-1:].isdecimal()
    )


def _kind_of(passage: Passage, number: _Number) -> Hit | None:
    text, value, end = passage.text, number.value, number.end
    if len(value) == IDENTITY_CHARS - 1 and text[end : end + 1] in ("X", "x"):
        value, end = value + "X", end + 1
    if not passage.stands_alone(number.start, end):
        return None
    if len(value) == IDENTITY_CHARS and is_identity_number(value):
        return Hit("cn-identity-number", Certainty.CHECKED)
    if not value.isdecimal() or _is_counted(passage, number):
        return None
    return _other_kind(passage, number)


def _other_kind(passage: Passage, number: _Number) -> Hit | None:
    value = number.value
    if _MOBILE.fullmatch(value):
        return Hit("cn-mobile", Certainty.PATTERN)
    if is_card_number(value):
        return Hit("bank-card", Certainty.CHECKED)
    if is_old_identity_number(value):
        return Hit("cn-identity-number-old", Certainty.PATTERN)
    if is_registration_number(value):
        named = _COMPANY_WORDS.search(passage.before(number.start)) is not None
        return Hit("cn-company-number-old", Certainty.CHECKED if named else Certainty.PATTERN)
    return None


def _is_counted(passage: Passage, number: _Number) -> bool:
    label = passage.label_before(number.start)
    if _COUNTED & {word.lower() for word in _WORDS.findall(label)}:
        return True
    return _SEED_FOLLOWS.match(passage.text, number.end) is not None


_CREDIT_FORM = re.compile(r"[1-9ANY][1-9][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}", re.ASCII)


def _credit_codes(passage: Passage) -> Iterator[Hit]:
    for match in _CREDIT_FORM.finditer(passage.text):
        code = match[0]
        if not passage.stands_alone(*match.span()) or is_identity_number(code):
            continue
        if is_credit_code(code):
            yield Hit("cn-company-number", Certainty.CHECKED)


_COMPANY_WORDS = re.compile(
    "执照|注册号|工商|组织机构|机构代码|registration|licen[cs]e|organi[sz]ation code"
)
_ORGANISATION = re.compile(r"[0-9A-Z]{8}-[0-9X]", re.ASCII)


def _organisation_codes(passage: Passage) -> Iterator[Hit]:
    # Its check digit fits one number in 11, and dates look like it: only where a word says what it is.
    if "机构" not in passage.text and "rgani" not in passage.text:
        return
    for match in _ORGANISATION.finditer(passage.text):
        if not passage.stands_alone(*match.span()) or not is_organisation_code(match[0]):
            continue
        if _COMPANY_WORDS.search(passage.before(match.start())):
            yield Hit("cn-organisation-code", Certainty.CHECKED)


_INTERNATIONAL = re.compile(r"\+([1-9][0-9]{0,14}+(?:[ -]?\(?[0-9]{1,12}+\)?){0,6}+)")
# ITU-T E.164: the first digits that are given out, by their length.
_COUNTRY = re.compile(
    r"1|7|2[07]|2[1-69][0-9]|3[0-469]|3[578][0-9]|4[013-9]|42[0-9]|5[1-8]|5[09][0-9]|6[0-6]|6[789][0-9]"
    r"|8[1246]|8[58][0-9]|9[0-58]|9[679][0-9]"
)


_FEWEST_E164, _MOST_E164 = 9, 15


def _international(passage: Passage) -> Iterator[Hit]:
    if "+" not in passage.text:
        return
    for match in _INTERNATIONAL.finditer(passage.text):
        value = ""
        for group in _GROUP.findall(match[1]):
            value += group if len(value) + len(group) <= _MOST_E164 else ""
        if len(value) < _FEWEST_E164 or not passage.stands_alone(*match.span()):
            continue
        # Chinese mobile numbers are found above, with or without the plus.
        if _COUNTRY.match(value) and not _MOBILE.fullmatch(value):
            yield Hit("phone", Certainty.PATTERN)


# Passports (E, G, D, S, P; EA..EZ), and permits for Hong Kong, Macau (C, W) and Taiwan (L, T).
_TRAVEL = re.compile(r"[EGDSPCWLT][A-Z]?[0-9]{7,8}", re.ASCII)
_TRAVEL_WORDS = re.compile("护照|通行证|passport")


def scan_travel_documents(passage: Passage) -> Iterator[Hit]:
    """Yield passport and permit numbers; they have no check digit here, so only where they are named."""
    if not any(word in passage.text for word in ("护照", "通行证", "assport", "ASSPORT")):
        return
    for match in _TRAVEL.finditer(passage.text):
        if passage.stands_alone(*match.span()) and _TRAVEL_WORDS.search(
            passage.before(match.start())
        ):
            yield Hit("cn-passport", Certainty.PATTERN)
