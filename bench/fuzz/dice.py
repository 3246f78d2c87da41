"""Choices that are the same on every run, and edits of bytes that know no format.

A mutant is named by its seed and its number: nothing else decides what it is (no clock, no `random`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_BLOCK_BYTES = 256
_MOST_SPAN = 24
# What means something to a reader of JSON or of lengths, and what must not be there at all.
_ODD_BYTES = (
    *(bytes([byte]) for byte in b'{}[]",:0159 -+.eE\\/\t\n\0\x7f\x80\xff'),
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\\u0000",
    b"\\ud800",
    b"\\u202e",
    b"NaN",
    b"-Infinity",
    b"true",
    b"null",
    b'"":',
    b"GGUF",
    b"PK\x03\x04",
)
ODD_NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 4096, 65535, 65536, 10**8),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**60, 2**60 + 1, 2**63 - 1, 2**63, 2**64 - 1),
)


class Dice:
    """An endless stream of choices out of one seed and one number."""

    def __init__(self, seed: int, number: int) -> None:
        self._key = b"loraseal mutants %d %d " % (seed, number)
        self._bytes = hashlib.shake_128(self._key).digest(_BLOCK_BYTES)
        self._position = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        end = self._position + 4
        if end > len(self._bytes):
            self._bytes = hashlib.shake_128(self._key + self._bytes[-16:]).digest(_BLOCK_BYTES)
            self._position, end = 0, 4
        found = int.from_bytes(self._bytes[self._position : end], "little")
        self._position = end
        return found % limit

    def one_in(self, chances: int) -> bool:
        """Return true once in `chances` times."""
        return not self.below(chances)

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`."""
        return items[self.below(len(items))]


def edit_bytes(data: bytes, dice: Dice) -> bytes:
    """Return `data` with one to three edits: flips, cuts, doublings, swaps, odd bytes and numbers."""
    for _ in range(1 + dice.below(3)):
        data = _EDITS[dice.below(len(_EDITS))](data, dice)
    return data


def _span(data: bytes, dice: Dice) -> tuple[int, int]:
    start = dice.below(len(data) + 1)
    return start, min(len(data), start + 1 + dice.below(_MOST_SPAN))


def _flip(data: bytes, dice: Dice) -> bytes:
    if not data:
        return b"\0"
    place, mask = dice.below(len(data)), 1 << dice.below(8)
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def _insert_odd(data: bytes, dice: Dice) -> bytes:
    place = dice.below(len(data) + 1)
    return data[:place] + dice.pick(_ODD_BYTES) + data[place:]


def _overwrite_odd(data: bytes, dice: Dice) -> bytes:
    place, odd = dice.below(len(data) + 1), dice.pick(_ODD_BYTES)
    return data[:place] + odd + data[place + len(odd) :]


def _drop(data: bytes, dice: Dice) -> bytes:
    start, end = _span(data, dice)
    return data[:start] + data[end:]


def _double(data: bytes, dice: Dice) -> bytes:
    start, end = _span(data, dice)
    return data[:end] + data[start:end] + data[end:]


def _splice(data: bytes, dice: Dice) -> bytes:
    start, end = _span(data, dice)
    place = dice.below(len(data) + 1)
    return data[:place] + data[start:end] + data[place + end - start :]


def _swap(data: bytes, dice: Dice) -> bytes:
    (first, middle), size = _span(data, dice), 1 + dice.below(_MOST_SPAN)
    return data[:first] + data[middle : middle + size] + data[first:middle] + data[middle + size :]


def _cut(data: bytes, dice: Dice) -> bytes:
    return data[: dice.below(len(data) + 1)]


def _extend(data: bytes, dice: Dice) -> bytes:
    return data + dice.pick(_ODD_BYTES) * (1 + dice.below(_MOST_SPAN))


def _set_number(data: bytes, dice: Dice) -> bytes:
    size = dice.pick((4, 8))
    place = dice.below(max(1, len(data) - size))
    number = (dice.pick(ODD_NUMBERS) + dice.below(3) - 1) % 2 ** (8 * size)
    return data[:place] + number.to_bytes(size, "little") + data[place + size :]


_EDITS = (
    *(_flip, _flip, _insert_odd, _overwrite_odd, _drop, _double, _splice, _swap, _set_number),
    *(_cut, _extend),
)
