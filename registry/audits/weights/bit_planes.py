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


@dataclass(frozen=True, slots=True)
class Spelled:
    """Tensor `number` of a region spells `kind` (words) in the lowest `depth` bits of its values."""

    number: int
    depth: int
    kind: str


def spelled(region: Region) -> Iterator[Spelled]:
    """Yield what the low bits of each tensor of `region` spell; tensors below 256 values are left out."""
    numbers = [n for n, count in enumerate(region.counts.tolist()) if count >= STREAM_BITS]
    if not numbers or LAYOUTS[region.dtype].width == 1:
        return
    at_start = window_rows(region, region.starts[numbers], STREAM_BITS)
    for depth in _DEPTHS:
        yield from _in_streams(at_start, numbers, depth)
    yield from _in_bytes(at_start, numbers, LAYOUTS[region.dtype].width)
    for place in _PLACES[1:]:
        inward = ((region.counts[numbers] - STREAM_BITS) * place).long()
        rows = window_rows(region, region.starts[numbers] + inward, STREAM_BITS)
        yield from _in_streams(rows, numbers, 1)


def _in_streams(rows: torch.Tensor, numbers: list[int], depth: int) -> Iterator[Spelled]:
    for from_top in (True, False):
        bits = _stream(rows[:, : STREAM_BITS // depth], depth, from_top=from_top)
        octets = _octets(bits, from_top=from_top)
        yield from _hits(octets, numbers, depth)


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


def _hits(octets: torch.Tensor, numbers: list[int], depth: int) -> Iterator[Spelled]:
    pairs = octets[:, :-_BYTE].int().mul_(256).add_(octets[:, _BYTE:])
    candidates = _PAIR_TABLE[pairs.flatten()].nonzero()[:_MOST_CANDIDATES, 0].tolist()
    width = pairs.shape[1]
    for place in candidates:
        row, start = divmod(place, width)
        kind = signature_at(bytes(octets[row, start::_BYTE].tolist()))
        if kind is not None:
            yield Spelled(numbers[row], depth, kind)
    whole = octets[:, : octets.shape[1] // _BYTE * _BYTE]
    # No byte of ASCII has its top bit set: that rules out nearly all rows at little cost.
    highest = whole.view(len(octets), -1, _BYTE).amax(1)
    plain = (highest < _TOP_BIT) & (highest > _SPACE)
    for row, phase in plain.nonzero()[:_MOST_CANDIDATES].tolist():
        if is_text(bytes(octets[row, phase::_BYTE].tolist())):
            yield Spelled(numbers[row], depth, "text")


def _in_bytes(rows: torch.Tensor, numbers: list[int], width: int) -> Iterator[Spelled]:
    """Yield what the lowest byte, and the lower half, of each value spell one after the other."""
    for count in {1, width // 2}:
        planes = [
            rows.bitwise_right_shift(_BYTE * byte).bitwise_and(255).to(torch.uint8)
            for byte in range(count)
        ]
        table = torch.stack(planes, 2).flatten(1) if count > 1 else planes[0]
        content = table.numpy().tobytes()
        # Both are so rare that a look at all rows at once nearly always settles it.
        if kind_of(content) is None:
            continue
        for row, number in enumerate(numbers):
            kind = kind_of(content[row * table.shape[1] : (row + 1) * table.shape[1]])
            if kind is not None:
                yield Spelled(number, _BYTE * count, kind)


def _table(size: int, members: set[int]) -> torch.Tensor:
    table = torch.zeros(size, dtype=torch.bool)
    table[sorted(members)] = True
    return table


_PAIR_TABLE = _table(65536, {int.from_bytes(pair, "big") for pair in FIRST_PAIRS})
