"""Numbers that China gives to persons and organisations, and how to tell them from other numbers.

GB 11643-1999 (resident identity number, check by ISO 7064 MOD 11-2), GB 32100-2015 (unified social
credit code, modulo 31), GB 11714-1997 (organisation code), GS 15-2006 (business registration number,
ISO 7064 MOD 11,10), and the regions of GB/T 2260 by their first two digits.
"""

from __future__ import annotations

import datetime
import re

_PROVINCE_CODES = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54"
    " 61 62 63 64 65 71 81 82 83"
)
_PROVINCES = frozenset(_PROVINCE_CODES.split())
IDENTITY_CHARS, _OLD_CHARS = 18, 15
_EARLIEST_YEAR, _LATEST_YEAR = 1850, 2099  # fixed, so that an answer does not depend on the day

_IDENTITY = re.compile(r"[1-9][0-9]{16}[0-9Xx]", re.ASCII)
_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDENTITY_CHECKS = "10X98765432"


def is_identity_number(text: str) -> bool:
    """Return whether `text` is a resident identity number of 18 characters with a fitting check digit.

    Also residence permits for Hong Kong, Macau and Taiwan (81, 82, 83) and for foreigners (9 and a
    province), which follow the same rule.
    """
    if not _IDENTITY.fullmatch(text) or not _is_date(text[6:14]):
        return False
    region = text[1:3] if text[0] == "9" else text[:2]
    total = sum(int(digit) * weight for digit, weight in zip(text, _IDENTITY_WEIGHTS, strict=False))
    return region in _PROVINCES and _IDENTITY_CHECKS[total % 11] == text[17].upper()


def is_old_identity_number(text: str) -> bool:
    """Return whether `text` has the form of the 15 digits given until 1999; they have no check digit."""
    fits = len(text) == _OLD_CHARS and text.isascii() and text.isdecimal()
    return fits and text[:2] in _PROVINCES and _is_date("19" + text[6:12])


def _is_date(text: str) -> bool:
    try:
        day = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return False
    return _EARLIEST_YEAR <= day.year <= _LATEST_YEAR


_CREDIT_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
# Who registered it (first character), and what kinds of bodies that office registers (second).
_CREDIT_CODE = re.compile(
    r"(?:[159N][1239]|[234678][1-9]|A[19]|Y1)[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}", re.ASCII
)


def is_credit_code(text: str) -> bool:
    """Return whether `text` is a unified social credit code (18 characters) whose check character fits."""
    if not _CREDIT_CODE.fullmatch(text):
        return False
    # 100000 is the state administration itself, which registers the largest companies.
    if text[2:4] not in _PROVINCES and text[2:8] != "100000":
        return False
    total = sum(
        _CREDIT_CHARACTERS.index(character) * pow(3, place, 31)
        for place, character in enumerate(text[:17])
    )
    return _CREDIT_CHARACTERS[-total % 31] == text[17]


_ORGANISATION_CODE = re.compile(r"[0-9A-Z]{8}-?[0-9X]", re.ASCII)
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def is_organisation_code(text: str) -> bool:
    """Return whether `text` (8 characters, a dash or none, 1 check character) is an organisation code."""
    if not _ORGANISATION_CODE.fullmatch(text):
        return False
    total = sum(
        int(character, 36) * weight
        for character, weight in zip(text, _ORGANISATION_WEIGHTS, strict=False)
    )
    return "0123456789X0"[11 - total % 11] == text[-1]


def is_registration_number(text: str) -> bool:
    """Return whether `text` is a business registration number of 15 digits whose check digit fits."""
    if not (len(text) == _OLD_CHARS and text.isascii() and text.isdecimal()):
        return False
    rest = 10
    for digit in text[:14]:
        rest = ((rest + int(digit)) % 10 or 10) * 2 % 11
    return (text[:2] in _PROVINCES or text[:6] == "100000") and (rest + int(text[14])) % 10 == 1
