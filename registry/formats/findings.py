"""What audits see (findings), what one audit says (verdict), what policy does (decision)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What one audit says of one rendition. Only `PASS` and `WARN` move an artifact on."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WARN = "warn"
    REVIEW = "review"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"


class Outcome(StrEnum):
    """What policy, or an operator, does with the verdicts."""

    RELEASED = "released"
    HELD = "held"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what there was an audit looked at; `unit` is a plural noun."""

    examined: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an audit saw.

    `verdict` is what this finding alone would say; `place` is a module or tensor name, or "".
    """

    rule: str
    verdict: Verdict
    message: str
    advice: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """One audit of one rendition.

    `metrics` are measured values as text with their unit, since signed statements hold no floats.
    `supplier` is the distribution that brought the audit, with its version.
    """

    rule: str
    version: str
    verdict: Verdict
    coverage: Coverage
    summary: str
    findings: tuple[Finding, ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()
    supplier: str = "loraseal"
    privacy: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy does with an artifact, and why; `reasons` is never empty."""

    outcome: Outcome
    reasons: tuple[str, ...]
    relied_on: tuple[str, ...]
    privacy_audited: bool
