"""How often unrelated adapters look alike by chance: the null that every answer is measured against.

Of two updates with nothing in common, the sketches of one layer have a cosine c around 0 with deviation
1/k, and the cosine of the whole is the sum of w c over the layers, w the layer's share. That its tail is
Gaussian is true of many layers of high rank only. The worst case for one layer is an update with one
non-zero entry, where c is the product of two sums of k signs over k; the bound here is Chernoff's for that
case, so it holds for few layers too and is never below the Gaussian tail.

What it does not cover: adapters that do have something in common. Two trainings from one base on one
subject, or from one initialisation, need not be orthogonal, and then a high cosine is no chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from registry.fingerprints.sketch import K

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TILTS = 48
# |sum of k signs| / k and its chance, for 0 .. k.
_SIGN_SUMS = np.abs(2.0 * np.arange(K + 1) - K) / K
_CHANCES = np.array([math.comb(K, ups) for ups in range(K + 1)]) / 2.0**K


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
    best = 0.0
    # Every tilt gives a valid bound; the Gaussian's best one is the middle of those tried.
    for tilt in np.geomspace(0.01, 10, _TILTS) * (size / spread**2):
        best = min(best, float(_log_moment(tilt * weights).sum()) - tilt * size)
    return min(1.0, 2 * math.exp(best))


def _log_moment(tilts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log E exp(t X Y) for X, Y sums of k signs over k: E over X of cosh(t X / k) ** k."""
    steps = np.abs(np.outer(tilts, _SIGN_SUMS)) / K
    # log cosh(x) = x + log1p(exp(-2 x)) - log 2, without overflow
    logs = K * (steps + np.log1p(np.exp(-2 * steps)) - math.log(2))
    top = logs.max(1)
    total: NDArray[np.float64] = top + np.log(np.exp(logs - top[:, None]) @ _CHANCES)
    return total
