"""Verdict: an auditor's host says what one audit said of one rendition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.formats.fields import Fields
from registry.formats.findings import Coverage, Verdict
from registry.formats.predicates.predicate import PREFIX, artifact_subject

if TYPE_CHECKING:
    from registry.formats.canonical import Json
    from registry.formats.statement import Subject


@dataclass(frozen=True, slots=True)
class VerdictStatement:
    """One audit's verdict, with its coverage: a check that saw little says so.

    `metrics_digest` is the sha256 of the canonical report (findings and measured values), which stays
    with the registry. `privacy` is true for audits of what the weights give away about training data.
    """

    TYPE: ClassVar[str] = PREFIX + "verdict:v1"

    artifact_id: str
    rendition: str
    rule: str
    version: str
    verdict: Verdict
    coverage: Coverage
    metrics_digest: str
    supplier: str
    privacy: bool
    auditor_key_id: str
    at: str

    @property
    def moment(self) -> str:
        """When the audit ended."""
        return self.at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact."""
        return (artifact_subject(self.artifact_id),)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        coverage: dict[str, Json] = {
            "examined": self.coverage.examined,
            "total": self.coverage.total,
            "unit": self.coverage.unit,
        }
        return {
            "artifact_id": self.artifact_id,
            "rendition": self.rendition,
            "rule": self.rule,
            "version": self.version,
            "verdict": self.verdict.value,
            "coverage": coverage,
            "metrics_digest": self.metrics_digest,
            "supplier": self.supplier,
            "privacy": self.privacy,
            "auditor_key_id": self.auditor_key_id,
            "at": self.at,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the verdict in `fields`.

        Raises:
            FormatError: a member is missing or malformed.
        """
        coverage = Fields.of(fields.member("coverage"), "verdict coverage")
        return cls(
            artifact_id=fields.hexadecimal("artifact_id"),
            rendition=fields.text("rendition"),
            rule=fields.text("rule"),
            version=fields.text("version"),
            verdict=Verdict(fields.choice("verdict", [item.value for item in Verdict])),
            coverage=Coverage(
                coverage.integer("examined"), coverage.integer("total"), coverage.text("unit")
            ),
            metrics_digest=fields.hexadecimal("metrics_digest"),
            supplier=fields.text("supplier"),
            privacy=fields.flag("privacy"),
            auditor_key_id=fields.hexadecimal("auditor_key_id"),
            at=fields.moment("at"),
        )
