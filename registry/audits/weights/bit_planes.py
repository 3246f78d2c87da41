"""What the lowest bits of weights spell when they are read one after the other.

Steganography in models replaces the lowest bits of the values, in the order of the tensor. Here the lowest 1, 2
and 4 bits of the first values of each tensor (and the lowest 1 of two places further on) are strung
together, in both orders, and known files and text are looked for at every bit position; of the low
bytes it is done byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.weights.signatures import (
    FIRST_PAIRS,
    is_text,
    kind_of,
    signature_at,
)
from registry.audits.weights.windows import window_rows
from registry.updates.bits import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.weights.windows import Region

STREAM_BITS = 256
# Lowest bits of a value that are strung together; whole bytes are looked at apart.
_DEPTHS = (1, 2, 4)
_BYTE = 8
_TOP_BIT = 128
_SPACE = 32
# A tensor is looked at here for single bits, in parts of its length.
_PLACES = (0.0, 1 / 3, 2 / 3)
_MOST_CANDIDATES = 4096
_LEAST_TOPS = 4  # signs and sizes; factors have six and more
_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Spelled:
    """Tensor `number` of a region spells `kind` (words) in the lowest `depth` bits of its values."""

    number: int
    depth: int
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """256 values of each of some tensors of a region, which have these numbers in it."""

    values: torch.Tensor
    numbers: list[int]
    width: int

    def is_narrow(self, row: int) -> bool:
        """Return whether these values hardly differ, so that their low bits may look like letters.

        All between 1.03 and 1.12, as scales of norms are, the low bytes of F16 are printable.
        """
        top = self.values[row].bitwise_right_shift(_BYTE * (self.width - 1))
        return len(set(top.tolist())) < _LEAST_TOPS


def spelled(region: Region) -> Iterator[Spelled]:
    """Yield what the low bits of each tensor of `region` spell; tensors below 256 values are left out.

    Text is not told of tensors whose values all have one sign and size.
    """
    numbers = [n for n, count in enumerate(region.counts.tolist()) if count >= STREAM_BITS]
    width = LAYOUTS[region.dtype].width
    if not numbers or width == 1:
        return
    for place in _PLACES:
        inward = ((region.counts[numbers] - STREAM_BITS) * place).long()
        values = window_rows(region, region.starts[numbers] + inward, STREAM_BITS)
        rows = _Rows(values, numbers, width)
        for depth in _DEPTHS if place == 0 else _DEPTHS[:1]:
            yield from _in_streams(rows, depth)
        if place == 0:
            yield from _in_bytes(rows)


def _in_streams(rows: _Rows, depth: int) -> Iterator[Spelled]:
    for from_top in (True, False):
        bits = _stream(rows.values[:, : STREAM_BITS // depth], depth, from_top=from_top)
        octets = _octets(bits, from_top=from_top)
        for row, kind in _hits(octets):
            if kind != _TEXT or not rows.is_narrow(row):
                yield Spelled(rows.numbers[row], depth, kind)


def _stream(values: torch.Tensor, depth: int, *, from_top: bool) -> torch.Tensor:
    """Return (rows, 256) bits: the lowest `depth` of each value, its highest or its lowest one first."""
    low = values.bitwise_and((1 << depth) - 1).to(torch.uint8)
    if depth == 1:
        return low
    order = range(depth - 1, -1, -1) if from_top else range(depth)
    planes = [low.bitwise_right_shift(bit).bitwise_and(1) for bit in order]
    return torch.stack(planes, 2).flatten(1)


def _octets(bits: torch.Tensor, *, from_top: bool) -> torch.Tensor:
    """Return (rows, 249) bytes: the one that begins at each bit."""
    count = bits.shape[1] - _BYTE + 1
    found = torch.zeros((len(bits), count), dtype=torch.uint8)
    for bit in range(_BYTE):
        shift = _BYTE - 1 - bit if from_top else bit
        found |= bits[:, bit : bit + count] << shift
    return found


def _hits(octets: torch.Tensor) -> Iterator[tuple[int, str]]:
    """Yield row and kind of everything that is spelled from some bit on."""
    pairs = octets[:, :-_BYTE].int().mul_(256).add_(octets[:, _BYTE:])
    candidates = _PAIR_TABLE[pairs.flatten()].nonzero()[:_MOST_CANDIDATES, 0].tolist()
    for place in candidates:
        row, start = divmod(place, pairs.shape[1])
        kind = signature_at(bytes(octets[row, start::_BYTE].tolist()))
        if kind is not None:
            yield row, kind
    whole = octets[:, : octets.shape[1] // _BYTE * _BYTE]
    # No byte of ASCII has its top bit set: that rules out nearly all rows at little cost.
    highest = whole.view(len(octets), -1, _BYTE).amax(1)
    plain = (highest < _TOP_BIT) & (highest > _SPACE)
    for row, phase in plain.nonzero()[:_MOST_CANDIDATES].tolist():
        if is_text(bytes(octets[row, phase::_BYTE].tolist())):
            yield row, _TEXT


def _in_bytes(rows: _Rows) -> Iterator[Spelled]:
    """Yield what the lowest byte, and the lower half, of each value spell one after the other."""
    for count in {1, rows.width // 2}:
        planes = [
            rows.values.bitwise_right_shift(_BYTE * byte).bitwise_and(255).to(torch.uint8)
            for byte in range(count)
        ]
        table = torch.stack(planes, 2).flatten(1)
        content, size = table.numpy().tobytes(), table.shape[1]
        # Both are so rare that a look at all rows at once nearly always settles it.
        if kind_of(content) is None:
            continue
        for row, number in enumerate(rows.numbers):
            kind = kind_of(content[row * size : (row + 1) * size])
            if kind is not None and (kind != _TEXT or not rows.is_narrow(row)):
                yield Spelled(number, _BYTE * count, kind)


def _table(size: int, members: set[int]) -> torch.Tensor:
    table = torch.zeros(size, dtype=torch.bool)
    table[sorted(members)] = True
    return table


_PAIR_TABLE = _table(65536, {int.from_bytes(pair, "big") for pair in FIRST_PAIRS})
