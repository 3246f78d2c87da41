"""What scanners say: a kind, how certain it is, how often; never where, never what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.artifacts.leaks.leak import Certainty


@dataclass(frozen=True, slots=True)
class Hit:
    """One occurrence of a kind of `registry.artifacts.leaks.kinds`."""

    kind: str
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class Found:
    """How often a kind stands in a text; `certainty` is the best of its occurrences."""

    kind: str
    count: int
    certainty: Certainty
