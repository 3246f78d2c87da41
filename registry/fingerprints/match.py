"""How alike the functions of two adapters are, from their sketches, and how sure that is.

The thresholds come from a table of known changes (casts, resizing, pruning, merges) measured on
synthetic and on trained adapters: docs/benchmarks.md, `bench/sketches.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from registry.fingerprints.null import chance_bound
from registry.fingerprints.sketch import K

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from registry.fingerprints.sketch import Sketch

_SAME, _RE_ENCODED, _DERIVED = 0.9999, 0.95, 0.3
_NULL_DEVIATIONS = 4.0
# An update of zero changes nothing and hides nothing.
_UNSEEN = {
    "no_factors": "modules or biases without factors",
    "not_finite": "modules that are not finite",
    "too_large": "modules too large to sketch",
    "faulty": "faulty modules",
    "unnamed": "modules without a name",
    "direction_only": "DoRA magnitudes",
}
# Below the re-encoded, a likeness that so many comparisons would bring by chance is none.
_CHANCE_RATE = 1e-2


class Kinship(StrEnum):
    """What a cosine says. It never says which of two came first."""

    SAME_FUNCTION = "same_function"
    """The same update up to strength: cast, re-factored, alpha changed (|cosine| >= 0.9999)."""
    RE_ENCODED = "re_encoded"
    """Quantised, resized, lightly pruned or trained on a little (>= 0.95)."""
    DERIVED = "derived"
    """A derivative, a merge that it is part of, or a sibling: trained on the same pictures or from the same
    first factors, which reached 0.48 on a tiny base (>= 0.3). Decomposition tells a merge."""
    WEAK = "weak"
    """More than chance: a small part of a merge, some layers, or what trainings of one base share."""
    UNRELATED = "unrelated"
    """No more than unrelated adapters have: within four standard deviations, or, below 0.95, what chance
    brings in so many comparisons. It does not say that there is nothing in common."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """The cosine of two updates as their sketches estimate it, and its null.

    `layers` were compared, of `layers_first` and `layers_second`. `null_deviation` is that of unrelated
    adapters, `effective_layers` the number of equally strong layers with the same one.
    """

    cosine: float
    layers: int
    layers_first: int
    layers_second: int
    null_deviation: float
    effective_layers: float

    @property
    def error(self) -> float:
        """Standard deviation of the estimate itself, about (1 - cosine**2) of the null's."""
        return (1 - self.cosine**2) * self.null_deviation


@dataclass(frozen=True, slots=True)
class Match:
    """Two adapters compared. `is_negated`: one takes away what the other adds.

    `overall` counts layers that only one of them has as different; `shared` leaves them out, so a
    high value there says that the layers in common are the same. `kinship` goes by `overall`.
    `false_match_rate` bounds how many of the comparisons made would look so alike by chance if no two
    of the adapters had anything in common; see `null` for what that leaves out. `not_compared` says in words
    what either holds that is in no sketch: with any of it nothing is called the same function.
    """

    kinship: Kinship
    overall: Similarity
    shared: Similarity
    is_negated: bool
    false_match_rate: float
    not_compared: tuple[str, ...] = ()


def compare(first: Sketch, second: Sketch, *, comparisons: int = 1) -> Match:
    """Return how alike two adapters are; `comparisons` is among how many pairs this one was found.

    Raises:
        ValueError: sketches of different keys or versions, or `comparisons` below 1.
    """
    if comparisons < 1:
        raise ValueError("there is at least the one comparison")
    pair = _Pair(first, second)
    overall = pair.similarity(float(first.energies.sum()), float(second.energies.sum()))
    shared = pair.similarity(float(pair.energies[0].sum()), float(pair.energies[1].sum()))
    rate = min(1.0, comparisons * chance_bound(shared.cosine, pair.weights))
    unseen = _not_compared(first, second)
    kinship = kinship_of(overall, rate)
    if unseen and kinship is Kinship.SAME_FUNCTION:
        kinship = Kinship.RE_ENCODED
    return Match(kinship, overall, shared, overall.cosine < 0, rate, unseen)


def _not_compared(first: Sketch, second: Sketch) -> tuple[str, ...]:
    """Name what either sketch leaves out and what could make their functions differ all the same."""
    found = []
    for field, words in _UNSEEN.items():
        count = max(getattr(first.omissions, field), getattr(second.omissions, field))
        if count:
            found.append(f"{count} {words}")
    return tuple(found)


def similarity(first: Sketch, second: Sketch) -> Similarity:
    """Return the cosine over the layers of either; a layer that one lacks is zero there.

    Raises:
        ValueError: sketches of different keys or versions.
    """
    return _Pair(first, second).similarity(
        float(first.energies.sum()), float(second.energies.sum())
    )


def shared_similarity(first: Sketch, second: Sketch) -> Similarity:
    """Return the cosine over the layers that both have.

    Raises:
        ValueError: sketches of different keys or versions.
    """
    pair = _Pair(first, second)
    return pair.similarity(float(pair.energies[0].sum()), float(pair.energies[1].sum()))


def kinship_of(found: Similarity, false_match_rate: float = 0.0) -> Kinship:
    """Return the class of a cosine that chance would bring this often; unrelated wins where the null is wide."""
    size = abs(found.cosine)
    if size < _NULL_DEVIATIONS * found.null_deviation or size == 0:
        return Kinship.UNRELATED
    if size >= _SAME:
        return Kinship.SAME_FUNCTION
    if size >= _RE_ENCODED:
        return Kinship.RE_ENCODED
    if false_match_rate > _CHANCE_RATE:
        return Kinship.UNRELATED
    return Kinship.DERIVED if size >= _DERIVED else Kinship.WEAK


class _Pair:
    """Two sketches, brought to the layers that both have."""

    def __init__(self, first: Sketch, second: Sketch) -> None:
        if not first.is_comparable(second):
            raise ValueError("sketches of different keys or versions cannot be compared")
        left, right = shared_places(first.numbers, second.numbers)
        self._lengths = (len(first), len(second))
        self.energies = (first.energies[left], second.energies[right])
        flat = first.values.astype(np.float64)[left], second.values.astype(np.float64)[right]
        self._product = float(np.vdot(*flat))

    @property
    def weights(self) -> NDArray[np.float64]:
        """Share of each common layer in the null of the cosine over the layers in common."""
        first, second = self.energies
        scale = float(first.sum()) * float(second.sum())
        return np.sqrt(first * second / scale) if scale > 0 else np.zeros(len(first))

    def similarity(self, first_energy: float, second_energy: float) -> Similarity:
        scale = (first_energy * second_energy) ** 0.5
        products = self.energies[0] * self.energies[1]
        spread = float(np.sqrt(products.sum())) / scale / K if scale > 0 else 0.0
        cosine = self._product / scale if scale > 0 else 0.0
        return Similarity(
            cosine=max(-1.0, min(1.0, cosine)),
            layers=len(products),
            layers_first=self._lengths[0],
            layers_second=self._lengths[1],
            null_deviation=spread,
            effective_layers=1 / (K * spread) ** 2 if spread > 0 else 0.0,
        )


def shared_places(
    first: NDArray[np.uint64], second: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of the common numbers in two ascending rows of numbers."""
    if np.array_equal(first, second):
        same = np.arange(len(first))
        return same, same
    _, left, right = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return left, right
