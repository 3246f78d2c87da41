"""Numbers of a page from the decimal text of the details: sizes, shares of energy, who differs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.audits.details import ModuleDetail

# A median absolute deviation times this estimates the standard deviation of a normal sample.
_MAD_TO_SIGMA = 1.4826
# The dead_modules audit: below this part of the median norm of the living, a module changes nothing.
_DEAD_BELOW = 1e-8


@dataclass(frozen=True, slots=True)
class Measured:
    """One module with a spectrum: singular values (descending), Frobenius norm of all of them."""

    place: str
    kind: str
    values: tuple[float, ...]
    frobenius: float
    caveat: str = ""

    @property
    def largest(self) -> float:
        """The largest singular value."""
        return self.values[0]

    @property
    def stable_rank(self) -> float:
        """Squared Frobenius norm over the squared largest value; 0 for a module without update."""
        if not self.largest:
            return 0.0
        ratio = self.frobenius / self.largest
        return ratio * ratio

    def energy_shares(self) -> list[float]:
        """Return the part of the energy that lies in the first 1, 2, ... values; [] without energy.

        Values that were not kept count in the whole, so the last share may be below 1.
        """
        if not self.largest:
            return []
        squares = [(value / self.largest) * (value / self.largest) for value in self.values]
        whole = max(self.stable_rank, math.fsum(squares))
        if not math.isfinite(whole):
            return []
        sums, total = [], 0.0
        for square in squares:
            total += square
            sums.append(min(1.0, total / whole))
        return sums


def measured_modules(details: Sequence[ModuleDetail]) -> tuple[Measured, ...]:
    """Return the modules that have values, in order."""
    return tuple(
        Measured(
            detail.place,
            detail.kind,
            tuple(float(value) for value in detail.values),
            float(detail.frobenius),
            detail.caveat,
        )
        for detail in details
        if detail.values and detail.frobenius
    )


def split_dead(modules: Sequence[Measured]) -> tuple[tuple[Measured, ...], tuple[Measured, ...]]:
    """Return (living, dead) modules, by the rule of the dead_modules audit.

    A DoRA module without direction is neither: its magnitude may have been trained.
    """
    norms = sorted(module.frobenius for module in modules if module.frobenius > 0)
    floor = _DEAD_BELOW * (norms[(len(norms) - 1) // 2] if norms else 0.0)
    living = tuple(module for module in modules if module.frobenius > floor and module.largest > 0)
    dead = tuple(
        module
        for module in modules
        if module.frobenius <= floor
        and not (module.frobenius == 0 and module.caveat.startswith("dora"))
    )
    return living, dead


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile of ascending, finite numbers, linear between neighbours.

    Raises:
        ValueError: there is no number.
    """
    if not ordered:
        raise ValueError("no number has no quantile")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def robust_z(values: Sequence[float]) -> list[float]:
    """Return (value - median) / (1.4826 * MAD) of each finite value; 0 where the MAD is 0."""
    if not values:
        return []
    median = quantile(sorted(values), 0.5)
    spread = quantile(sorted(abs(value - median) for value in values), 0.5) * _MAD_TO_SIGMA
    return [(value - median) / spread if spread else 0.0 for value in values]
