"""The largest eigenvectors of a symmetric operator: block Krylov with Rayleigh-Ritz, from a given start.

Deterministic: no random start and no random block. It says how well it settled, so that a caller reports
what did not and never takes it for an answer. Method: Musco and Musco 2015, restarted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_DEPTH = 6
_RESTARTS = 40
_NOISE = 1e3  # times the rounding of one operation


@dataclass(frozen=True, slots=True, eq=False)
class TopVectors:
    """Eigenvalues (count,), descending, and vectors (d, count); whether their residuals are small."""

    values: torch.Tensor
    vectors: torch.Tensor
    has_settled: bool


def top_vectors(
    apply: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    count: int,
    *,
    tolerance: float = 1e-8,
) -> TopVectors:
    """Return the `count` largest eigenvectors of the positive semi-definite operator `apply`.

    `apply` maps (d, w) to (d, w); `start` is (d, w) with w at least `count` where d allows it. Settled means
    that every residual is within `tolerance` of the largest eigenvalue.
    """
    size = start.shape[0]
    basis = torch.linalg.qr(start[:, :size]).Q
    if size <= basis.shape[1] * (_DEPTH + 1):
        identity = torch.eye(size, dtype=start.dtype, device=start.device)
        return _dense(apply(identity), count)
    found = TopVectors(basis[0, :0], basis[:, :0], has_settled=False)
    for _ in range(_RESTARTS):
        blocks, images = _grow(apply, basis)
        spanned, imaged = torch.cat(blocks, 1), torch.cat(images, 1)
        values, mixing = _descending(spanned.T @ imaged)
        kept = mixing[:, : basis.shape[1]]
        basis = spanned @ kept
        residual = (imaged @ kept - basis * values[: basis.shape[1]])[:, :count]
        worst = float(torch.linalg.vector_norm(residual, dim=0).max())
        largest = float(values[0])
        settled = worst <= tolerance * largest
        found = TopVectors(values[:count], basis[:, :count], has_settled=settled)
        if settled or math.isnan(worst):
            break
        basis = torch.linalg.qr(basis).Q
    return found


def _grow(
    apply: Callable[[torch.Tensor], torch.Tensor], basis: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the blocks of the Krylov space and their images under `apply`."""
    blocks, images = [basis], [apply(basis)]
    for _ in range(_DEPTH):
        following = _outside(images[-1], blocks)
        if following.shape[1] == 0:  # the space holds all that the start can reach
            break
        blocks.append(following)
        images.append(apply(following))
    return blocks, images


def _outside(image: torch.Tensor, blocks: list[torch.Tensor]) -> torch.Tensor:
    """Return an orthonormal basis of what `image` has outside of `blocks`, rounding left out."""
    floor = _NOISE * torch.finfo(image.dtype).eps * torch.linalg.matrix_norm(image)
    vectors, values, _ = torch.linalg.svd(_without(image, blocks), full_matrices=False)
    # What is left of a column may be mostly rounding, which is not orthogonal to anything.
    basis: torch.Tensor = torch.linalg.qr(_without(vectors[:, values > floor], blocks)).Q
    return basis


def _without(vectors: torch.Tensor, blocks: list[torch.Tensor]) -> torch.Tensor:
    for _ in range(2):
        for block in blocks:
            vectors = vectors - block @ (block.T @ vectors)
    return vectors


def _dense(matrix: torch.Tensor, count: int) -> TopVectors:
    values, vectors = _descending(matrix)
    return TopVectors(values[:count], vectors[:, :count], has_settled=True)


def _descending(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.flip(0), vectors.flip(1)
