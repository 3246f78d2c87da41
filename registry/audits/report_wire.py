"""Reports as canonical JSON between the audit child and its parent.

The parent reads what the child wrote as it would read a stranger's file: bounded, every field and
type checked, unknown fields refused, and never a verdict milder than the worst finding beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.audits.audit import severity, worst_of
from registry.audits.reporting import is_printable
from registry.errors import FormatError
from registry.formats.fields import Fields
from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.limits import AUDIT_FINDINGS, AUDIT_METRICS, AUDIT_TEXT_CHARS

if TYPE_CHECKING:
    from registry.formats.canonical import Json

_REPORT = frozenset(
    (
        "coverage",
        "findings",
        "metrics",
        "privacy",
        "rule",
        "summary",
        "supplier",
        "verdict",
        "version",
    )
)
_FINDING = frozenset(("rule", "verdict", "message", "advice", "place"))
_COVERAGE = frozenset(("examined", "total", "unit"))


def report_to_json(report: AuditReport) -> Json:
    """Return `report` as canonical-JSON data (no floats; metrics are text)."""
    findings: list[Json] = [
        {
            "rule": finding.rule,
            "verdict": finding.verdict.value,
            "message": finding.message,
            "advice": finding.advice,
            "place": finding.place,
        }
        for finding in report.findings
    ]
    coverage = report.coverage
    metrics: list[Json] = [[name, value] for name, value in report.metrics]
    return {
        "rule": report.rule,
        "version": report.version,
        "verdict": report.verdict.value,
        "coverage": {
            "examined": coverage.examined,
            "total": coverage.total,
            "unit": coverage.unit,
        },
        "summary": report.summary,
        "findings": findings,
        "metrics": metrics,
        "supplier": report.supplier,
        "privacy": report.privacy,
    }


def report_from_json(value: Json) -> AuditReport:
    """Return the report in `value`.

    Raises:
        FormatError: a field is missing, unknown, of another type, too long, or contradicts another.
    """
    fields = _exact(value, _REPORT, "audit report")
    findings = tuple(_finding(row) for row in fields.items("findings", most=AUDIT_FINDINGS))
    verdict = _verdict(fields)
    if severity(verdict) < severity(worst_of(findings)):
        raise FormatError(f"audit report says {verdict} and holds a worse finding")
    return AuditReport(
        rule=_text(fields, "rule"),
        version=_text(fields, "version"),
        verdict=verdict,
        coverage=_coverage(fields.member("coverage")),
        summary=_text(fields, "summary"),
        findings=findings,
        metrics=tuple(_metric(row) for row in fields.items("metrics", most=AUDIT_METRICS)),
        supplier=_text(fields, "supplier"),
        privacy=fields.flag("privacy"),
    )


def _exact(value: Json, names: frozenset[str], what: str) -> Fields:
    fields = Fields.of(value, what)
    fields.exactly(*names)
    return fields


def _text(fields: Fields, name: str) -> str:
    return _printable(fields.text(name, max_chars=AUDIT_TEXT_CHARS), f"{fields.what}: {name!r}")


def _printable(value: str, what: str) -> str:
    if not all(is_printable(char) for char in value):
        raise FormatError(f"{what} holds a character that is not printable")
    return value


def _verdict(fields: Fields) -> Verdict:
    return Verdict(fields.choice("verdict", [verdict.value for verdict in Verdict]))


def _coverage(value: Json) -> Coverage:
    fields = _exact(value, _COVERAGE, "audit coverage")
    examined, total = fields.integer("examined"), fields.integer("total")
    if examined > total:
        raise FormatError(f"audit coverage is {examined} of {total}")
    return Coverage(examined, total, _text(fields, "unit"))


def _finding(value: Json) -> Finding:
    fields = _exact(value, _FINDING, "audit finding")
    return Finding(
        rule=_text(fields, "rule"),
        verdict=_verdict(fields),
        message=_text(fields, "message"),
        advice=_text(fields, "advice"),
        place=_text(fields, "place"),
    )


def _metric(value: Json) -> tuple[str, str]:
    match value:
        case [str() as name, str() as text] if len(name) + len(text) <= AUDIT_TEXT_CHARS:
            return _printable(name, "audit metric"), _printable(text, "audit metric")
        case _:
            raise FormatError("audit metric is not a name and a value")
