"""The exact interval of a proportion (Clopper and Pearson 1934), from k cases among n."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 100  # halvings: far below the resolution of a float


def clopper_pearson(cases: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the true proportion in at least `confidence` of all repetitions.

    Without trials it is (0, 1): nothing is known.
    """
    if not 0 <= cases <= trials:
        raise ValueError(f"{cases} cases among {trials} trials")
    tail = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if cases > 0:
        low = _solve(
            lambda share: 1 - binomial_at_most(cases - 1, trials, share), tail, rising=True
        )
    if cases < trials:
        high = _solve(lambda share: binomial_at_most(cases, trials, share), tail, rising=False)
    return low, high


def binomial_at_most(cases: int, trials: int, share: float) -> float:
    """Return the probability of at most `cases` among `trials` where each has probability `share`."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if cases >= trials else 0.0
    return math.fsum(_exactly(count, trials, share) for count in range(cases + 1))


def _exactly(cases: int, trials: int, share: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(cases + 1) - math.lgamma(trials - cases + 1)
    return math.exp(ways + cases * math.log(share) + (trials - cases) * math.log1p(-share))


def _solve(probability: Callable[[float], float], wanted: float, *, rising: bool) -> float:
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if (probability(middle) < wanted) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
