"""Floats by their bits: with the sign cleared they order like magnitudes, NaN and infinity on top.

One integer maximum over a tensor therefore says how large its largest value is and whether any value
is no number, without a temporary per value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.updates.tensors import FLOAT_DTYPES, view_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import WeightFile

_CHUNK_VALUES = 2**18  # 0.25 to 2 MiB: stays in the cache between the two passes over it


@dataclass(frozen=True, slots=True)
class Layout:
    """Width in bytes, mask that clears the sign, and the first bit pattern that is not a number."""

    width: int
    mask: int
    limit: int


LAYOUTS: dict[str, Layout] = {
    "F64": Layout(8, 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
    "F32": Layout(4, 0x7FFFFFFF, 0x7F800000),
    "F16": Layout(2, 0x7FFF, 0x7C00),
    "BF16": Layout(2, 0x7FFF, 0x7F80),
    "F8_E5M2": Layout(1, 0x7F, 0x7C),
    "F8_E4M3": Layout(1, 0x7F, 0x7F),
}


def largest_magnitude(file: WeightFile, tensor: TensorInfo) -> float | None:
    """Return the largest magnitude in `tensor`, 0 for an empty one, None if any is no number.

    Its dtype must be one of `LAYOUTS`.
    """
    layout = LAYOUTS[tensor.dtype]
    values = view_bits(file, tensor, layout.width)
    largest = max(
        (int(chunk.bitwise_and(layout.mask).max()) for chunk in chunks(values)), default=0
    )
    if largest >= layout.limit:
        return None
    pattern = bytearray(largest.to_bytes(layout.width, "little"))
    return float(torch.frombuffer(pattern, dtype=FLOAT_DTYPES[tensor.dtype]).double()[0])


def chunks(values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a flat tensor in pieces that fit the cache."""
    for start in range(0, values.numel(), _CHUNK_VALUES):
        yield values[start : start + _CHUNK_VALUES]
