"""Which marks a copy gets, and how strong."""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import UsageError

EPSILON = 0.01
MOST_EPSILON = 0.05


@dataclass(frozen=True, slots=True)
class MarkOptions:
    """Which marks, and how strong: `epsilon` is the relative change of every update by the spread one."""

    gauge: bool = True
    spread: bool = True
    epsilon: float = EPSILON

    def check(self) -> None:
        """Return if the options make sense.

        Raises:
            UsageError: no mark at all, or a strength out of range.
        """
        if not (self.gauge or self.spread):
            raise UsageError("neither mark is asked for", hint="ask for gauge, spread, or both")
        if self.spread and not 0 < self.epsilon <= MOST_EPSILON:
            raise UsageError(
                f"strength of the mark is {self.epsilon}, expected above 0 and at most {MOST_EPSILON}",
                hint=f"leave it at {EPSILON}",
            )


BOTH = MarkOptions()
