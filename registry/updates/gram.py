"""Singular values of up @ down from r x r matrices; the update itself is never formed.

With G = up.T @ up = L L.T and H = down @ down.T = K K.T (Cholesky), the singular values of up @ down are
those of L.T @ K. Everything after the Gram matrices is float64, for all modules of one rank at once.

A Gram matrix squares the condition: with ratio q = smallest / largest singular value the error of a
value is about u / q of the largest. So a module whose factors or product are worse conditioned than
the arithmetic is trusted for, or where Cholesky fails (dead directions, overflow), is done again:
Gram matrices in float32, then in float64, then QR in float64 (`values.py`), which is backward stable. The factors
are judged one by one, because up @ R and inv(R) @ down have the same product and, for a hostile R,
useless Gram matrices. Sources: facts measured against dense float64, `tests/updates/test_gram.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.updates.exactness import exact_bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.updates.factors import LowRank

_STACK_BYTES = 32 * 1024**2
_FLOAT64_BYTES = 8


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Float type of the Gram matrices, and the ratio of singular values down to which they are trusted.

    With these ratios every value is within 1e-6 of the largest one.
    """

    dtype: torch.dtype
    trusted_ratio: float


COARSE = Arithmetic(torch.float32, 5e-3)
FINE = Arithmetic(torch.float64, 1e-6)
# Here every value that a digest shows is right to more digits than it shows.
STEADY = Arithmetic(torch.float64, 1e-4)


@dataclass(frozen=True, slots=True)
class Solved:
    """What a stack gives back for one module: its number and the values, None if not to be trusted.

    `is_exact`: its Gram matrices were summed without any rounding.
    """

    number: int
    values: torch.Tensor | None
    is_exact: bool = False


class GramStack:
    """Collects the Gram matrices of modules of one rank and solves them together."""

    def __init__(self, rank: int, device: str, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self._device = torch.device(device)
        self._room = max(1, _STACK_BYTES // (rank * rank * _FLOAT64_BYTES))
        self._numbers: list[int] = []
        self._bounds: list[tuple[float, float]] = []
        self._grams = torch.empty(
            (2, self._room, rank, rank), dtype=self.arithmetic.dtype, device=self._device
        )
        self._scratch = torch.empty(0, dtype=self.arithmetic.dtype, device=self._device)

    @property
    def is_full(self) -> bool:
        """Whether it must be solved before the next `add`."""
        return len(self._numbers) == self._room

    def add(self, number: int, update: LowRank) -> None:
        """Take the Gram matrices of both factors of module `number`."""
        place = len(self._numbers)
        up = self._widened(update.up)
        torch.mm(up.T, up, out=self._grams[0, place])
        down = self._widened(update.down)
        torch.mm(down, down.T, out=self._grams[1, place])
        self._numbers.append(number)
        self._bounds.append(exact_bounds(update))

    def solve(self) -> Iterator[Solved]:
        """Yield what was added, in order, and start anew. Values are float64, descending, on the CPU."""
        numbers, bounds = self._numbers, self._bounds
        self._numbers, self._bounds = [], []
        yield from solve(self._grams[:, : len(numbers)], numbers, bounds, self.arithmetic)

    def _widened(self, factor: torch.Tensor) -> torch.Tensor:
        """Return `factor` in the arithmetic's type; the answer may live in a buffer that is reused."""
        if factor.dtype is self.arithmetic.dtype and factor.device == self._device:
            return factor
        count = factor.numel()
        if self._scratch.numel() < count:
            self._scratch = self._scratch.new_empty(count)
        return self._scratch[:count].view(factor.shape).copy_(factor)


def exact_bounds(update: LowRank) -> tuple[float, float]:
    """Return below which sums of squares the Gram matrices of both factors are exact."""
    return exact_bound(update.up.dtype), exact_bound(update.down.dtype)


def solve(
    grams: torch.Tensor,
    numbers: list[int],
    bounds: list[tuple[float, float]],
    arithmetic: Arithmetic,
) -> Iterator[Solved]:
    """Yield the singular values of modules from their Gram matrices (2, modules, r, r), in order.

    `numbers` and `bounds` (see `exact_bounds`) have one entry per module.
    """
    if not numbers:
        return
    if arithmetic is STEADY:
        grams = grams.cpu()  # one decomposition for all devices
    grams = grams.double()
    exact = (
        _is_exact(grams, bounds) if arithmetic.dtype is torch.float64 else [False] * len(numbers)
    )
    factors, failures = torch.linalg.cholesky_ex(grams)
    core = factors[0].mT @ factors[1]
    sound = (failures == 0).all(0) & torch.isfinite(core).all((1, 2))
    # A failed factorisation leaves rubbish behind: solve zeroes in its place.
    core = torch.where(sound[:, None, None], core, 0)
    values = torch.linalg.eigvalsh(core.mT @ core).clamp_min_(0).sqrt_().flip(-1)
    trusted = (sound & _is_well_conditioned(factors, values, arithmetic.trusted_ratio)).tolist()
    values = values.cpu()
    for place, number in enumerate(numbers):
        if trusted[place]:
            yield Solved(number, values[place], exact[place])
        else:
            yield Solved(number, None)


def _is_exact(grams: torch.Tensor, bounds: list[tuple[float, float]]) -> list[bool]:
    # Squares only add up: a sum that passed the bound on its way is not below it at the end.
    largest = grams.diagonal(dim1=-2, dim2=-1).amax(-1)
    limits = torch.tensor(bounds, dtype=torch.float64, device=grams.device).T
    found: list[bool] = (largest < limits).all(0).tolist()
    return found


def _is_well_conditioned(factors: torch.Tensor, values: torch.Tensor, limit: float) -> torch.Tensor:
    pivots = factors.diagonal(dim1=-2, dim2=-1).abs()
    by_factor = (pivots.amin(-1) >= limit * pivots.amax(-1)).all(0)
    by_product = (values[:, -1] >= limit * values[:, 0]) & (values[:, 0] > 0)
    return by_factor & by_product
