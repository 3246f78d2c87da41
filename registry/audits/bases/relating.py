"""How an update relates to the weight that it changes: relative norms, and intruder dimensions.

A top left singular vector of W + dW whose largest |cosine| with the left singular vectors of W is below
0.5 is an intruder (Shuttleworth et al. 2025, arXiv:2410.21228). With all of U(W) and its values at hand a
low-rank update needs no product with W but one: in the coordinates of U(W), and of what dW adds to them,

    (W + BA)(W + BA)' = diag(values**2) + E F' + F E' + F (A A') F',   E = Q' W A',  F = Q' B

so that its top vectors cost little, and their cosines with U(W) are their coordinates. A full update is
multiplied out instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.bases.top_vectors import TopVectors, top_vectors
from registry.errors import FormatError
from registry.updates.factors import LowRank
from registry.updates.values import singular_values

if TYPE_CHECKING:
    from registry.audits.bases.cache import BaseWeight

TOP = 10
COSINE = 0.5
_SPARE = 8
# Of the update's own size: what rounding of `left` to float16 leaves outside of its span is no direction.
_OUTSIDE = 1e-2
_OVERFLOW = "its update is not finite, or too large to be multiplied"
_DENSE_TOLERANCE = 1e-5  # products in float32


@dataclass(frozen=True, slots=True)
class Relation:
    """One update beside its weight: ||dW||_F / ||W||_F, s1(dW) / s1(W), and intruders among the top 10.

    No singular value of W moves by more than `largest` times its first (Weyl). `intruders` is None where the
    top vectors did not settle; `examined` is how many there are to look at.
    """

    norm: float
    largest: float
    intruders: int | None
    examined: int


def relate_low_rank(up: torch.Tensor, down: torch.Tensor, base: BaseWeight) -> Relation:
    """Return the relation of the update up @ down, scale included, to `base`; (m, r) and (r, n).

    Raises:
        FormatError: the products are not finite.

    Products with `left` and `weight` are float32, everything after them float64.
    """
    up, down = up.float(), down.float()
    frame = _frame(up, down, base)
    count = min(TOP, len(base.values))
    own = torch.linalg.svd(frame.inside @ frame.triangle, full_matrices=False).U
    start = torch.cat([_unit_vectors(frame, count + _SPARE), own[:, : count + _SPARE]], 1)
    top = top_vectors(frame.apply, start, count)
    cosines = top.vectors[: frame.known].abs().amax(0)
    values = singular_values(LowRank(up, down))
    return _relation(torch.linalg.vector_norm(values), values[0], base, top, cosines)


def relate_full(update: torch.Tensor, base: BaseWeight) -> Relation:
    """Return the relation of a full update (m, n), scale included, to `base`.

    Raises:
        FormatError: the sum is not finite.
    """
    update = update.float()
    changed, left = base.weight.float() + update, base.left.float()
    if not math.isfinite(float(torch.linalg.vector_norm(changed))):
        raise FormatError(_OVERFLOW)
    count = min(TOP, len(base.values))
    wide = left[:, : count + _SPARE].double()
    # Whatever its range, its own longest columns are in it: no start from W alone can say that.
    order = torch.linalg.vector_norm(update, dim=0).argsort(descending=True, stable=True)
    own = update[:, order[: 1 + _SPARE]].double()
    first = top_vectors(_Squared(update), own, 1, tolerance=_DENSE_TOLERANCE)
    start = torch.cat([wide, first.vectors], 1)
    top = top_vectors(_Squared(changed), start, count, tolerance=_DENSE_TOLERANCE)
    cosines = (left.T @ top.vectors.float()).abs().amax(0)
    norm = torch.linalg.vector_norm(update, dtype=torch.float64)
    return _relation(norm, first.values[0].clamp_min(0).sqrt(), base, top, cosines)


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """The operator of the module docstring: `known` coordinates along U(W), then those that dW adds.

    `triangle` has the update's A as R of a QR, so that F @ triangle has its left vectors.
    """

    known: int
    squares: torch.Tensor
    inside: torch.Tensor
    crossed: torch.Tensor
    gram: torch.Tensor
    triangle: torch.Tensor

    def apply(self, block: torch.Tensor) -> torch.Tensor:
        along, across = self.inside.T @ block, self.crossed.T @ block
        added = self.crossed @ along + self.inside @ (across + self.gram @ along)
        return self.squares[:, None] * block + added


def _frame(up: torch.Tensor, down: torch.Tensor, base: BaseWeight) -> _Frame:
    left = base.left.to(up.dtype)
    reached = base.weight.to(up.dtype) @ down.T
    inside, crossed = left.T @ up, left.T @ reached
    if not bool(torch.isfinite(inside).all() and torch.isfinite(crossed).all()):
        raise FormatError(_OVERFLOW)
    outside = _outside(up, left, inside)
    widened = down.double()
    values = base.values.double()
    return _Frame(
        known=left.shape[1],
        squares=torch.cat([values.square(), values.new_zeros(outside.shape[1])]),
        inside=torch.cat([inside, outside.T @ up]).double(),
        crossed=torch.cat([crossed, outside.T @ reached]).double(),
        gram=widened @ widened.T,
        triangle=torch.linalg.qr(widened.T, mode="r").R.T,
    )


def _outside(up: torch.Tensor, left: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of what `up` has outside the span of `left`; often of no columns."""
    rest = up - left @ inside
    vectors, values, _ = torch.linalg.svd(rest, full_matrices=False)
    basis: torch.Tensor = vectors[:, values > _OUTSIDE * torch.linalg.matrix_norm(up)]
    return basis


def _unit_vectors(frame: _Frame, count: int) -> torch.Tensor:
    size = len(frame.squares)
    return torch.eye(size, min(count, size), dtype=torch.float64, device=frame.squares.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Squared:
    """M M' as an operator on float64; the products are those of M's type."""

    matrix: torch.Tensor

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        narrow = block.to(self.matrix.dtype)
        return (self.matrix @ (self.matrix.T @ narrow)).double()


def _relation(
    norm: torch.Tensor,
    first: torch.Tensor,
    base: BaseWeight,
    top: TopVectors,
    cosines: torch.Tensor,
) -> Relation:
    values = base.values.double()
    whole, largest = float(torch.linalg.vector_norm(values)), float(values[0])
    intruders = int((cosines < COSINE).sum()) if top.has_settled else None
    return Relation(
        norm=float(norm) / whole if whole else math.inf,
        largest=float(first) / largest if largest else math.inf,
        intruders=intruders,
        examined=len(cosines),
    )
