"""One finding: a place that tells something, what kind of thing it is, and what to do; never the thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sensitivity(StrEnum):
    """How much a place tells: `high` names people, places or content; `unknown` is in no table."""

    HIGH = "high"
    MEDIUM = "medium"
    UNKNOWN = "unknown"
    LOW = "low"


class Certainty(StrEnum):
    """Why we say so: the key or name is in a table, a check digit or fixed form fits, or only a form does."""

    TABLE = "table"
    CHECKED = "checked"
    PATTERN = "pattern"


@dataclass(frozen=True, slots=True)
class Leak:
    """A metadata key or a side file that tells something; never what it tells.

    `kind` is for machines (`registry.artifacts.leaks.kinds`), `reason` says what it is and why it matters,
    `advice` what to do. `count` is how often it occurs there.
    """

    key: str
    sensitivity: Sensitivity
    reason: str
    kind: str = "unknown"
    advice: str = ""
    count: int = 1
    certainty: Certainty = Certainty.TABLE


def sort_leaks(leaks: Iterable[Leak]) -> tuple[Leak, ...]:
    """Return `leaks`, worst first, then by key, then by kind."""
    order = list(Sensitivity)
    return tuple(
        sorted(leaks, key=lambda leak: (order.index(leak.sensitivity), leak.key, leak.kind))
    )
