"""How often unrelated adapters look alike by chance: the null that every answer is measured against.

Of two updates with nothing in common, the sketches of one layer have a cosine c around 0 with deviation
1/k, and the cosine of the whole is the sum of w c over the layers, w the layer's share. That its tail is
Gaussian is true of many layers of high rank only: of 10^6 pairs with 24 layers of rank 4, 32 lay beyond
five deviations where a Gaussian has 0.6. The heaviest tail we know of has an update with one non-zero
entry, where c is the product of two sums of k signs over k; the bound here is Chernoff's for that case, so
it holds for few layers too and is never below the Gaussian tail.

What it does not cover: adapters that do have something in common. Two trainings from one base on one
subject, or from one initialisation, are not orthogonal (`bench/sketches.py` measures it), and then a high
cosine is no chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from registry.fingerprints.sketch import K

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps of the search for the best tilt, each of which leaves 0.618 of the range.
_STEPS = 16
_GOLDEN = (math.sqrt(5) - 1) / 2
# |sum of k signs| / k and its chance; k is even.
_SIGN_SUMS = 2.0 * np.arange(K // 2 + 1) / K
_CHANCES = np.array([math.comb(K, K // 2 + n) * (2 - (n == 0)) for n in range(K // 2 + 1)]) / 2.0**K


def deviation(weights: NDArray[np.float64]) -> float:
    """Return the standard deviation of the cosine of unrelated sketches.

    `weights` (layers,) is sqrt(e e') / sqrt(sum e sum e') for the energies e, e' of each layer that both
    have. With equal profiles this is 1 / (k sqrt(L_eff)), L_eff = (sum e)**2 / sum e**2.
    """
    return float(np.sqrt(np.square(weights).sum())) / K


def chance_bound(cosine: float, weights: NDArray[np.float64]) -> float:
    """Return an upper bound of the chance that |cosine| is at least this for unrelated updates."""
    size = abs(cosine)
    spread = deviation(weights)
    if spread == 0 or size == 0:
        return 1.0

    def exponent(log_tilt: float) -> float:
        tilt = math.exp(log_tilt) * size / spread**2
        return float(_log_moment(tilt * weights).sum()) - tilt * size

    # Convex in the tilt, and every tilt gives a valid bound; 1 is the Gaussian's best.
    low, high = math.log(0.01), math.log(10)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = exponent(left), exponent(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = exponent(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = exponent(right)
    return min(1.0, 2 * math.exp(min(0.0, at_left, at_right)))


def _log_moment(tilts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log E exp(t X Y) for X, Y sums of k signs over k: E over X of cosh(t X / k) ** k."""
    steps = np.outer(tilts, _SIGN_SUMS) / K
    # log cosh(x) = x + log1p(exp(-2 x)) - log 2, without overflow
    logs = K * (steps + np.log1p(np.exp(-2 * steps)) - math.log(2))
    top = logs.max(1)
    total: NDArray[np.float64] = top + np.log(np.exp(logs - top[:, None]) @ _CHANCES)
    return total
