"""Every value of a region in blocks of 256: numbers far beyond any weight, and low bits in use here and there.

Bytes that are no weights (text, archives, ciphertext) read as floats are mostly beyond 128, whatever the
type: their exponent bits are those of letters or of dice. A file whose trainer rounded to BF16 or F16 has
only zeros in the low bits of wider types; where some blocks have them and others not, someone wrote there.
All blocks are looked at: this is one pass at memory speed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING

import torch

from registry.audits.weights.signatures import kind_of
from registry.updates.bits import LAYOUTS, chunks
from registry.updates.tensors import FLOAT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.weights.windows import Region

BLOCK = 256
# No factor, norm or magnitude of a trained adapter is mostly beyond this.
HUGE = 128.0
HUGE_SHARE = 0.05
# Low bits that stay zero in values that came from a type with fewer of them, narrowest first.
ROUNDED = {"F64": (0x1FFFFFFF,), "F32": (0xFFFF, 0x1FFF), "F16": (0x7,)}
_SMALLEST_NORMAL = {"F16": 0x0400, "F32": 0x00800000, "F64": 0x0010000000000000}
_DENSE = 0.25
_MOSTLY, _MAJORITY = 0.8, 0.5
_MOST_LOOKED_AT = 256  # blocks of one tensor, and bytes / 512 of one blob
_LEAST_ENTROPY_BYTES = 1024
_ENTROPY_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Blob:
    """Tensor `number` of a region has `blocks` blocks of bytes that are no weights; `kind` in words."""

    number: int
    blocks: int
    kind: str | None


@dataclass(frozen=True, slots=True)
class Patch:
    """Tensor `number` uses its low `bits` in `used` blocks and never in `clean` others."""

    number: int
    bits: int
    used: int
    clean: int


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What is in each block of a region; block `i` begins at value 256 * i.

    `peaks` is the largest magnitude, as bits. `clean` blocks have nothing in the bits of `mask`, `used` ones
    have, and dead ones are neither; `mask` is 0 where no block is clean. Blocks `first[n]` to `last[n]` - 1
    lie in tensor `n`.
    """

    region: Region
    peaks: torch.Tensor
    first: tuple[int, ...]
    last: tuple[int, ...]
    mask: int
    clean: torch.Tensor
    used: torch.Tensor


def blocks_of(region: Region) -> Blocks:
    """Return the blocks of `region`: two passes over it, three where it was rounded to F16."""
    starts, ends = region.starts, region.starts + region.counts
    peaks = _peaks(region.bits, LAYOUTS[region.dtype].mask)
    mask, clean, used = _rounding(region, peaks > 0)
    return Blocks(
        region,
        peaks,
        tuple(((starts + BLOCK - 1) // BLOCK).tolist()),
        tuple((ends // BLOCK).tolist()),
        mask,
        clean,
        used,
    )


def _rounding(region: Region, living: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Return the widest mask whose bits are empty in any living block, and the clean and used blocks."""
    for mask in ROUNDED.get(region.dtype, ()):
        low = _peaks(region.bits, mask)
        clean = living & (low == 0)
        if bool(clean.any()):
            return mask, clean, living & (low > 0)
    none = torch.zeros_like(living)
    return 0, none, none


def find_blobs(blocks: Blocks) -> Iterator[Blob]:
    """Yield each tensor with blocks that hold bytes and no weights."""
    region = blocks.region
    if LAYOUTS[region.dtype].width == 1:
        return
    huge = _pattern(HUGE, region.dtype)
    for number, places in _places(blocks, blocks.peaks >= huge):
        looked = places[:_MOST_LOOKED_AT]
        values = region.bits.unfold(0, BLOCK, BLOCK)[looked]
        beyond = values.bitwise_and(LAYOUTS[region.dtype].mask) >= huge
        if float(beyond.float().mean()) >= HUGE_SHARE:
            yield Blob(number, len(places), _kind(region, looked))


def find_patches(blocks: Blocks) -> Iterator[Patch]:
    """Yield each tensor that was rounded in some blocks and has dense low bits in others."""
    if not blocks.mask:
        return
    before = _running(blocks.clean)
    for number, places in _places(blocks, blocks.used):
        dense, sparse = _densities(blocks.region, places, blocks.mask)
        used = max(dense + sparse, len(places) - _MOST_LOOKED_AT)
        clean = before[blocks.last[number]] - before[blocks.first[number]] + len(places) - used
        if 0 < dense >= _MOSTLY * (dense + sparse) and clean >= _MAJORITY * (clean + used):
            yield Patch(number, blocks.mask.bit_length(), used, clean)


def rounded_tensors(blocks: Blocks) -> dict[int, bool]:
    """Return for each tensor whether all its blocks have empty low bits; False if nearly none has.

    Tensors in between, dead ones and those without a whole block are left out; {} where none is rounded.
    """
    if not blocks.mask:
        return {}
    before, found = _running(blocks.clean), {}
    used = dict(_places(blocks, blocks.used))
    for number, (first, last) in enumerate(zip(blocks.first, blocks.last, strict=True)):
        has_clean = last > first and before[last] > before[first]
        dense, sparse = (
            _densities(blocks.region, used[number], blocks.mask) if number in used else (0, 0)
        )
        if has_clean and not dense + sparse:
            found[number] = True
        elif dense and not has_clean and dense >= _MOSTLY * (dense + sparse):
            found[number] = False
    return found if any(found.values()) else {}


def _peaks(bits: torch.Tensor, mask: int) -> torch.Tensor:
    whole = bits[: len(bits) // BLOCK * BLOCK]
    if not len(whole):
        return whole
    return torch.cat([chunk.bitwise_and(mask).view(-1, BLOCK).amax(1) for chunk in chunks(whole)])


def _running(flags: torch.Tensor) -> list[int]:
    """Return how many flags are set before each place, and in all."""
    return [0, *flags.cumsum(0).tolist()]


def _places(blocks: Blocks, flags: torch.Tensor) -> Iterator[tuple[int, list[int]]]:
    """Yield number and flagged blocks of each tensor that has any."""
    found = flags.nonzero()[:, 0]
    if not len(found):
        return
    edges = torch.searchsorted(found, torch.tensor([blocks.first, blocks.last])).tolist()
    for number, (begin, end) in enumerate(zip(*edges, strict=True)):
        if end > begin:
            yield number, found[begin:end].tolist()


def _densities(region: Region, places: list[int], mask: int) -> tuple[int, int]:
    """Return in how many of these blocks many normal numbers use the low bits, and in how many a few.

    Below the normal numbers of F16 the low bits are in use though the value was rounded before; a sum of
    rounded numbers uses them here and there. At most the first 256 blocks are looked at.
    """
    values = region.bits.unfold(0, BLOCK, BLOCK)[places[:_MOST_LOOKED_AT]]
    normal = values.bitwise_and(LAYOUTS[region.dtype].mask) >= _SMALLEST_NORMAL[region.dtype]
    used = (values.bitwise_and(mask) != 0) & normal
    density = used.sum(1) / normal.sum(1).clamp(min=1)
    dense = int((density >= _DENSE).sum())
    return dense, int((density > 0).sum()) - dense


def _pattern(value: float, dtype: str) -> int:
    """Return the bits of `value` in this type."""
    one = torch.tensor([value], dtype=FLOAT_DTYPES[dtype])
    return int.from_bytes(bytes(one.view(torch.uint8).tolist()), "little")


def _kind(region: Region, places: list[int]) -> str | None:
    """Return what the bytes in these blocks are, from the first stretch of them; None if unknown."""
    layout = LAYOUTS[region.dtype]
    gaps = [at for at, (one, other) in enumerate(pairwise(places), 1) if other != one + 1]
    run = places[: gaps[0]] if gaps else places
    # A file may begin in the block before, whose own numbers were still small.
    begin = max(0, run[0] - 1) * BLOCK
    values = region.bits[begin : (run[-1] + 1) * BLOCK]
    beyond = (values.bitwise_and(layout.mask) >= _pattern(HUGE, region.dtype)).nonzero()[:, 0]
    inside = values[int(beyond[0]) : int(beyond[-1]) + 1]
    return kind_of(_octets(values)) or _random(_octets(inside))


def _octets(values: torch.Tensor) -> bytes:
    return values.view(torch.uint8).numpy().tobytes()


def _random(data: bytes) -> str | None:
    """Say so if the bytes are as even as only ciphertext and archives are."""
    if len(data) < _LEAST_ENTROPY_BYTES:
        return None
    counts = Counter(data).values()
    entropy = -sum(count / len(data) * log2(count / len(data)) for count in counts)
    # What 256 equally likely bytes are expected to show in so few draws (Miller's correction).
    expected = 8 - 255 / (2 * len(data)) * log2(2.718281828459045)
    return "encrypted or compressed bytes" if entropy > expected - _ENTROPY_SLACK else None
