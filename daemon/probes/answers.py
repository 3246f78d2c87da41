"""What a probe answers: how it went, what was found, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a probe went."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Answer:
    """One probe's answer; `advice` is empty only when all is well."""

    probe: str
    level: Level
    found: str
    advice: str = ""


def ok(probe: str, found: str) -> Answer:
    """Return an answer that asks for nothing."""
    return Answer(probe, Level.OK, found)
