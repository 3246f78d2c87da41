"""How much each entry of a suspect's core counts: chips in entries that noise drowned count little.

Divided by the envelope sqrt(s_i s_j) / s_1 the mark has one strength everywhere, and noise that came evenly over
the update (a merge, more training) is strongest where the envelope is small. So the variance of an entry
is taken as a + b / envelope**2, fitted to the suspect itself, and the entry, clipped at three of its
deviations, is divided by it: what a matched filter does. No seed has a part in this, so z of those who are
innocent is not touched by it, however well the fit is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from registry.fingerprints.marks.basis import ModuleBasis

_CLIP = 3.0
_ROUNDS = 6
# The median of a squared standard normal is 0.455.
_MEDIAN_TO_VARIANCE = 2.2


def weighted(core: torch.Tensor, basis: ModuleBasis) -> torch.Tensor:
    """Return the weighted core (d, d) of d strong directions, on the CPU.

    Its diagonal is zero and its squared norm d (d - 1); it is zero where it says nothing.
    """
    count = basis.directions
    result = torch.zeros(count, count, dtype=torch.float64)
    if basis.chips == 0:
        return result
    off = ~torch.eye(count, dtype=torch.bool)
    strong = basis.values[:count].cpu()
    squared_envelope = ((strong[:, None] * strong) / strong[0] ** 2)[off]
    entries = core[:count, :count].cpu()[off]
    largest = float(entries.abs().max())
    if largest == 0:
        return result
    # Entries of any size: their squares must neither overflow nor vanish.
    white = entries / largest / squared_envelope.sqrt()
    variance = _fitted(white.square(), 1 / squared_envelope)
    bound = _CLIP * variance.sqrt()
    scaled = torch.minimum(torch.maximum(white, -bound), bound) / variance
    result[off] = scaled * (math.sqrt(basis.chips) / float(scaled.norm()))
    return result


def _fitted(squares: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Return a + b * `inverse` with a, b >= 0, fitted to `squares` cut off at three deviations."""
    middle = float(squares.median()) * _MEDIAN_TO_VARIANCE
    variance = torch.full_like(squares, middle or float(squares.mean()))
    for _ in range(_ROUNDS):
        cut = torch.minimum(squares, _CLIP**2 * variance)
        weights = variance**-2
        constant, slope = _line(inverse, cut, weights / weights.sum())
        least = torch.finfo(torch.float64).tiny ** 0.25
        variance = (constant + slope * inverse).clamp_min(least)
    return variance


def _line(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> tuple[float, float]:
    """Return the weighted least squares line of y >= 0 over x > 0, neither coefficient negative."""
    mean_x, mean_y = float((weights * x).sum()), float((weights * y).sum())
    mean_xx, mean_xy = float((weights * x * x).sum()), float((weights * x * y).sum())
    spread = mean_xx - mean_x**2
    slope = (mean_xy - mean_x * mean_y) / spread if spread > 0 else 0.0
    constant = mean_y - slope * mean_x
    if slope < 0 or not math.isfinite(slope):
        return mean_y, 0.0
    return (constant, slope) if constant >= 0 else (0.0, mean_xy / mean_xx)
