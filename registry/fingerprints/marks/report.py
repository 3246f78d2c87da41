"""What marking changed, measured on the stored bytes, and whether it is enough to accuse anyone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.fingerprints.marks.seeds import MARK_VERSION

if TYPE_CHECKING:
    from registry.fingerprints.marks.basis import ModuleBasis
    from registry.fingerprints.marks.options import MarkOptions

# An untouched copy scores the root of the number of chips: 32 with so many. That leaves room for the
# threshold (5.6 to 6.4) after an attack that takes four fifths of it.
LEAST_CHIPS = 1024
LEAST_MODULES = 8


@dataclass(frozen=True, slots=True)
class MarkReport:
    """What was marked, and what that changed, measured on the bytes as they are stored.

    `spread_modules` bear both or the spread mark, `gauge_modules` the gauge mark alone; `left` counts modules that
    stay byte for byte, by reason. An untouched copy reaches a z of the root of `chips` by the spread mark, of
    the root of `turns` by the gauge mark.
    `cosine` (of all marked updates together) and `largest_change` (relative, of the worst
    module) compare the stored copy with the original. `epsilon` is 0 without the spread mark.
    """

    version: int
    epsilon: float
    spread_modules: int
    gauge_modules: int
    left: tuple[tuple[str, int], ...]
    chips: int
    turns: int
    cosine: float
    largest_change: float


@dataclass(frozen=True, slots=True)
class Change:
    """Squared norms and inner product of the stored and the original update, unscaled."""

    stored: float
    inner: float
    original: float

    @property
    def relative(self) -> float:
        """Norm of the difference in parts of the original's; infinite where one is no number."""
        square = self.stored - 2 * self.inner + self.original
        if not math.isfinite(square):
            return math.inf
        return math.sqrt(max(0.0, square) / self.original)


class Tally:
    """What happened to each module so far."""

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self.marked: Counter[bool] = Counter()
        self.chips = self.turns = 0
        self.sums = [0.0, 0.0, 0.0]
        self.largest = 0.0

    def leave(self, reason: str) -> None:
        """Count a module that stays as it is."""
        self.left[reason] += 1

    def take(self, basis: ModuleBasis, change: Change | None, options: MarkOptions) -> None:
        """Count a module that was marked, or that was to be and could not be stored."""
        if change is None:
            self.leave("its numbers do not survive being stored again")
            return
        spread = options.spread and basis.takes_spread
        self.marked[spread] += 1
        self.chips += basis.chips if spread else 0
        self.turns += basis.turns if options.gauge else 0
        weight = basis.located.factor**2
        for place, value in enumerate((change.stored, change.inner, change.original)):
            self.sums[place] += weight * value
        self.largest = max(self.largest, change.relative)

    def report(self, options: MarkOptions) -> MarkReport:
        """Return the report.

        Raises:
            FormatError: too little was marked for a detector to say anything.
        """
        self._check(options)
        stored, inner, original = self.sums
        return MarkReport(
            version=MARK_VERSION,
            epsilon=options.epsilon if options.spread else 0.0,
            spread_modules=self.marked[True],
            gauge_modules=self.marked[False],
            left=tuple(sorted(self.left.items())),
            chips=self.chips,
            turns=self.turns,
            cosine=inner / math.sqrt(stored * original),
            largest_change=self.largest,
        )

    def _check(self, options: MarkOptions) -> None:
        modules = self.marked[True] + (0 if options.spread else self.marked[False])
        room = self.chips if options.spread else self.turns
        if modules >= LEAST_MODULES and room >= LEAST_CHIPS:
            return
        reasons = ", ".join(f"{reason}: {count}" for reason, count in self.left.most_common(3))
        raise FormatError(
            f"mark would have {room} chips in {modules} modules, expected at least {LEAST_CHIPS} in "
            f"{LEAST_MODULES}" + (f" (left out: {reasons})" if reasons else ""),
            hint="too little to tell recipients apart: deliver this adapter without a mark",
        )
