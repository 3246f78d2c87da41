"""The secret projections of a sketch, as tensors on a device.

A sketch of an m x n update W is S = P W Q.T with P (k, m) and Q (k, n) of entries +-1/sqrt(k): <S, S'> then
estimates <W, W'>. For each pair of (side, width) one matrix is drawn and kept while a run lasts; every
part turns its columns over by signs of its own name. Without those, two adapters whose layers all write
into one direction (a residual stream does that) would be wrong in all layers by the same amount.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from registry.fingerprints.signs import draw_signs
from registry.fingerprints.sketch import K

if TYPE_CHECKING:
    from registry.fingerprints.signs import Signs

# Widest layers: vocabularies of a quarter million.
WIDTH_LIMIT = 2**20
_CACHED_VALUES = 2**24


class Projections:
    """The projections of one key on one device; matrices are kept up to a bound."""

    def __init__(self, key: bytes, device: str) -> None:
        self._key = key
        self._device = torch.device(device)
        self._kept: dict[str, torch.Tensor] = {}
        self._count = 0

    def of_part(self, name: str, outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return P (k, outputs) and Q (k, inputs) of the part with this canonical name, float32."""
        flips = draw_signs(self._key, f"flips/{outputs}x{inputs}/{name}", outputs + inputs)
        left = self._matrix("left", outputs) * self._on_device(flips[:outputs])
        return left, self._matrix("right", inputs) * self._on_device(flips[outputs:])

    def _matrix(self, side: str, width: int) -> torch.Tensor:
        purpose = f"{side}/{width}"
        matrix = self._kept.get(purpose)
        if matrix is None:
            signs = draw_signs(self._key, purpose, K * width).reshape(K, width)
            matrix = self._on_device(signs) / math.sqrt(K)
            if self._count + matrix.numel() <= _CACHED_VALUES:
                self._count += matrix.numel()
                self._kept[purpose] = matrix
        return matrix

    def _on_device(self, signs: Signs) -> torch.Tensor:
        return torch.from_numpy(signs).to(self._device).float()
