"""Singular values of one update by itself: QR, Gram matrix of the smaller side, Kronecker products.

The way for modules that cannot share a stack (`gram.py`), and the rescue of those whose Gram matrices
are not to be trusted.
"""

from __future__ import annotations

import math

import torch

from registry.updates.factors import FULL_ENTRIES, Full, Kronecker, LowRank

KRONECKER_VALUES = 2**22  # a Kronecker product with more singular values is not written out
# Below this a decomposition costs nothing, and keeps the digits that a Gram matrix loses.
_SMALL_SIDE = 64
# Squares and sums of squares of values within these bounds neither overflow nor vanish.
_SMALLEST, _LARGEST = 1e-120, 1e120


def singular_values(update: LowRank | Full, device: str = "cpu") -> torch.Tensor:
    """Return the singular values of `update`, float64, descending, on the CPU; NaN if not finite.

    Low rank by QR, at cost O(r**2 (m + n)): min(m, r, n) values. In full by `full_values`.
    """
    if isinstance(update, Full):
        return full_values(update.matrix, device)
    left = torch.linalg.qr(update.up.double(), mode="r").R
    right = torch.linalg.qr(update.down.double().T, mode="r").R
    return _decomposed(left @ right.T)


def full_values(matrix: torch.Tensor, device: str = "cpu") -> torch.Tensor:
    """Return the singular values of a matrix, float64, descending, on the CPU; NaN if not finite.

    Large ones from the float64 Gram matrix of the smaller side, made on `device`: every value is within
    1e-6 of the largest for a smaller side up to `FULL_ENTRIES` ** 0.5.
    """
    if min(matrix.shape) <= _SMALL_SIDE:
        return _decomposed(matrix.double())
    wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).to(device).double()
    largest = float(wide.abs().amax())
    if not math.isfinite(largest):
        return torch.full((wide.shape[0],), torch.nan, dtype=torch.float64)
    # A power of two: the division is exact.
    unit = 1.0 if _SMALLEST < largest < _LARGEST or largest == 0 else _power_of_two(largest)
    if unit != 1:
        wide = wide / unit
    values: torch.Tensor = torch.linalg.eigvalsh((wide @ wide.T).cpu())
    return values.clamp_min_(0).sqrt_().flip(-1) * unit


def kronecker_values(update: Kronecker, device: str = "cpu") -> torch.Tensor:
    """Return the singular values of left (x) right: all products, float64, descending."""
    left, right = singular_values(update.left, device), singular_values(update.right, device)
    return torch.outer(left, right).flatten().sort(descending=True).values


def is_small_enough(update: Kronecker) -> bool:
    """Whether no full factor is too large to decompose, and the values are not too many."""
    counts = [_count_values(side) for side in (update.left, update.right)]
    return math.prod(counts) <= KRONECKER_VALUES and all(
        not isinstance(side, Full) or side.matrix.numel() <= FULL_ENTRIES
        for side in (update.left, update.right)
    )


def work_of(update: Full | Kronecker) -> int:
    """Return about how many multiplications the full matrices in `update` cost."""
    if isinstance(update, Kronecker):
        sides = [side for side in (update.left, update.right) if isinstance(side, Full)]
        return sum(work_of(side) for side in sides)
    small, large = sorted(update.matrix.shape)
    return small * small * large + 2 * small**3


def _count_values(side: LowRank | Full) -> int:
    if isinstance(side, Full):
        return int(min(side.matrix.shape))
    return int(min(*side.up.shape, side.down.shape[1]))


def _decomposed(core: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(core).all()):
        return torch.full((min(core.shape),), torch.nan, dtype=torch.float64)
    values: torch.Tensor = torch.linalg.svdvals(core.cpu())
    return values


def _power_of_two(value: float) -> float:
    return math.ldexp(1.0, math.frexp(value)[1] - 1)
