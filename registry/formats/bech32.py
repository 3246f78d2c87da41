"""Bech32 after BIP 173, without its length limit: how age writes recipients and identities.

Messages never quote the text: it may be a secret key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {char: value for value, char in enumerate(_CHARSET)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARS = 6
_MAX_CHARS = 4096  # an age1pq1 recipient has 1,959
_FIRST_PRINTABLE, _LAST_PRINTABLE = 33, 126


def encode_bech32(prefix: str, data: bytes) -> str:
    """Return `data` under `prefix`; the whole text is upper-case if the prefix is."""
    lower = prefix.lower()
    values = _regroup(data, 8, 5, pad=True)
    checksum = _polymod([*_expand(lower), *values, *[0] * _CHECKSUM_CHARS]) ^ 1
    tail = [checksum >> 5 * (_CHECKSUM_CHARS - 1 - i) & 31 for i in range(_CHECKSUM_CHARS)]
    text = lower + "1" + "".join(_CHARSET[value] for value in [*values, *tail])
    return text.upper() if prefix != lower else text


def decode_bech32(text: str) -> tuple[str, bytes]:
    """Return the prefix, in the case that it was written in, and the data.

    Raises:
        FormatError: mixed case, character outside the alphabet, wrong checksum, stray bits.
    """
    if len(text) > _MAX_CHARS:
        raise FormatError(f"bech32 text has {len(text)} characters, more than {_MAX_CHARS}")
    if not all(_FIRST_PRINTABLE <= ord(char) <= _LAST_PRINTABLE for char in text):
        raise FormatError("bech32 text has a space or a character that is not ASCII")
    if text not in (text.lower(), text.upper()):
        raise FormatError("bech32 text mixes upper and lower case")
    prefix, separator, tail = text.rpartition("1")
    if not separator or not prefix or len(tail) < _CHECKSUM_CHARS:
        raise FormatError("bech32 text has no prefix or is cut off")
    values = [_VALUES.get(char, -1) for char in tail.lower()]
    if -1 in values:
        raise FormatError("bech32 text has a character outside its alphabet")
    if _polymod([*_expand(prefix.lower()), *values]) != 1:
        raise FormatError("bech32 checksum is wrong: a character was changed or lost")
    return prefix, bytes(_regroup(values[:-_CHECKSUM_CHARS], 5, 8, pad=False))


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum


def _expand(prefix: str) -> list[int]:
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _regroup(values: Iterable[int], width: int, to_width: int, *, pad: bool) -> list[int]:
    result, accumulator, bits = [], 0, 0
    for value in values:
        accumulator = (accumulator << width | value) & 0xFFF
        bits += width
        while bits >= to_width:
            bits -= to_width
            result.append(accumulator >> bits & (1 << to_width) - 1)
    rest = accumulator & (1 << bits) - 1
    if pad and bits:
        result.append(rest << to_width - bits & (1 << to_width) - 1)
    elif not pad and (bits >= width or rest):
        # Two texts for one key would defeat comparing them.
        raise FormatError("bech32 text has stray bits at its end")
    return result
