"""From z to words: which recipients reach the threshold, and what that says and does not say."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ALPHA = 1e-6
SYMMETRY = (
    "the scheme is symmetric: whoever holds the registry's master secret could have made this mark. "
    "The commitment in the log shows only that the seed was fixed at delivery"
)
COPY = "a mark names a copy, not a person: a copy that was taken from its recipient bears it too"
SILENCE = "no recipient reaches the threshold, which says nothing of whose copy it was made from"


@dataclass(frozen=True, slots=True)
class Named:
    """A recipient whose mark reaches the threshold."""

    recipient: str
    z: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The recipients that reach `threshold`, strongest first; several where copies were mixed.

    The chance that any of the `recipients` whose copies were not used is among them is at most `alpha`, for one
    suspect: who tests many suspects has to share it out among them.
    """

    named: tuple[Named, ...]
    threshold: float
    alpha: float
    recipients: int

    def words(self) -> tuple[str, ...]:
        """Return what may be said, a sentence each, without final stop."""
        if not self.named:
            return (SILENCE,)
        return (
            *(
                f"z = {one.z:.1f} for recipient {one.recipient}; the chance that an innocent one of "
                f"{self.recipients} recipients reaches this is at most {self.alpha:g}"
                for one in self.named
            ),
            COPY,
            SYMMETRY,
        )


def threshold(alpha: float, recipients: int, tests: int = 1) -> float:
    """Return the z that an innocent one of `recipients` reaches with a chance of at most `alpha`.

    `tests` is how many z each recipient is given, of which the largest counts.

    Raises:
        ValueError: a chance not between 0 and 1/2, or nobody to accuse.
    """
    if not 0 < alpha < 1 / 2:
        raise ValueError(f"alpha is {alpha}, expected between 0 and 1/2")
    if recipients < 1 or tests < 1:
        raise ValueError(f"{recipients} recipients with {tests} tests each, expected at least 1")
    # The quantile of the small tail: 1 - alpha / n would round to 1.
    return -statistics.NormalDist().inv_cdf(alpha / (recipients * tests))


def accuse(
    z_by_recipient: Mapping[str, float],
    alpha: float = ALPHA,
    recipients: int | None = None,
    tests: int = 1,
) -> Verdict:
    """Return the recipients whose z reaches the threshold.

    `recipients` is of how many the largest could have been named, at least those given; give all to whom
    the artifact was delivered, the ones not tested too. `tests` as for `threshold`.

    Raises:
        ValueError: fewer recipients than were tested, a z that is no number, or see `threshold`.
    """
    count = len(z_by_recipient) if recipients is None else recipients
    if count < len(z_by_recipient):
        raise ValueError(f"{len(z_by_recipient)} recipients were tested of {count}")
    if any(math.isnan(z) for z in z_by_recipient.values()):
        raise ValueError("a z is no number")
    least = threshold(alpha, count, tests)
    reached = [Named(name, z) for name, z in z_by_recipient.items() if z >= least]
    reached.sort(key=lambda one: (-one.z, one.recipient))
    return Verdict(tuple(reached), least, alpha, count)
