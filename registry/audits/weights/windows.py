"""Samples of the bits of many tensors at once: one gather in place of thousands of small views.

A region is all tensors of one dtype in one file, as one flat row of integers over the body. What is worked
out for a region costs a few passes over a small matrix, however many tensors there are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.formats.safetensors import TensorInfo
from registry.updates.bits import LAYOUTS
from registry.updates.tensors import view_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.updates.files import WeightFile


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Tensors of one dtype, none of them empty, and the body of their file as integers of that width.

    Value `i` of `tensors[n]` is `bits[starts[n] + i]`; it has `counts[n]` values.
    """

    dtype: str
    tensors: tuple[TensorInfo, ...]
    bits: torch.Tensor
    starts: torch.Tensor
    counts: torch.Tensor

    def only(self, wanted: Callable[[TensorInfo], bool]) -> Region:
        """Return the region of those tensors that `wanted` says yes to."""
        kept = [number for number, tensor in enumerate(self.tensors) if wanted(tensor)]
        if len(kept) == len(self.tensors):
            return self
        tensors = tuple(self.tensors[number] for number in kept)
        return Region(self.dtype, tensors, self.bits, self.starts[kept], self.counts[kept])


def regions_of(file: WeightFile) -> Iterator[Region]:
    """Yield the float tensors of `file` that are not empty, by dtype and alignment.

    A byte-wide tensor in front of others puts them at odd places; they are looked at all the same.
    """
    groups: dict[tuple[str, int], list[TensorInfo]] = defaultdict(list)
    for tensor in file.header.tensors if file.header is not None else ():
        layout = LAYOUTS.get(tensor.dtype)
        if layout is not None and tensor.end > tensor.start:
            groups[tensor.dtype, tensor.start % layout.width].append(tensor)
    for (dtype, offset), tensors in groups.items():
        width = LAYOUTS[dtype].width
        end = max(tensor.end for tensor in tensors)
        flat = TensorInfo("", dtype, ((end - offset) // width,), offset, end)
        yield Region(
            dtype,
            tuple(tensors),
            view_bits(file, flat, width),
            torch.tensor([(tensor.start - offset) // width for tensor in tensors]),
            torch.tensor([(tensor.end - tensor.start) // width for tensor in tensors]),
        )


def spread_samples(region: Region, count: int) -> torch.Tensor:
    """Return (tensors, count) bits, evenly spread over each tensor; small ones repeat values."""
    steps = torch.arange(count)
    places = region.starts[:, None] + region.counts[:, None] * steps // count
    return region.bits[places]


def window_rows(region: Region, starts: torch.Tensor, size: int) -> torch.Tensor:
    """Return (len(starts), size) bits: the `size` values from each of `starts` on.

    All of them must lie in the body.
    """
    return region.bits.unfold(0, size, 1)[starts]
