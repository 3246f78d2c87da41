"""Building a report that keeps its promises: as severe as its worst finding, bounded, printable."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from registry.audits.audit import severity, worst_of
from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.limits import AUDIT_FINDINGS, AUDIT_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.audits.audit import Audit


def build_report(
    audit: Audit,
    coverage: Coverage,
    findings: Iterable[Finding],
    *,
    summary: str,
    metrics: Sequence[tuple[str, str]] = (),
) -> AuditReport:
    """Return the report of `audit`, as severe as its worst finding.

    Findings beyond the limit are counted in a last one, most severe first. An audit that had
    something to look at and looked at none of it is `INCONCLUSIVE` at best; with nothing to look at
    it is `NOT_APPLICABLE` at best.
    """
    ordered = sorted(findings, key=lambda finding: -severity(finding.verdict))
    verdict = worst_of(ordered)
    if coverage.examined == 0:
        nothing = Verdict.INCONCLUSIVE if coverage.total else Verdict.NOT_APPLICABLE
        verdict = max(verdict, nothing, key=severity)
    return AuditReport(
        rule=audit.rule,
        version=audit.version,
        verdict=verdict,
        coverage=coverage,
        summary=summary,
        findings=_bounded(audit.rule, ordered),
        metrics=tuple(metrics),
        privacy=audit.privacy,
    )


def failed_report(rule: str, version: str, verdict: Verdict, finding: Finding) -> AuditReport:
    """Return the report of an audit that could not look at anything, with the reason as finding."""
    coverage = Coverage(0, 0, "modules")
    return AuditReport(rule, version, verdict, coverage, finding.message, (finding,))


def clean_text(text: str) -> str:
    """Return `text` without control, bidirectional and surrogate characters, cut to the limit.

    Tensor names come from the payload: printed raw they could rewrite a terminal.
    """
    safe = "".join(char if is_printable(char) else "\N{REPLACEMENT CHARACTER}" for char in text)
    return safe if len(safe) <= AUDIT_TEXT_CHARS else safe[: AUDIT_TEXT_CHARS - 3] + "..."


def _bounded(rule: str, findings: list[Finding]) -> tuple[Finding, ...]:
    kept = [
        Finding(
            finding.rule,
            finding.verdict,
            clean_text(finding.message),
            clean_text(finding.advice),
            clean_text(finding.place),
        )
        for finding in findings[: AUDIT_FINDINGS - 1]
    ]
    rest = findings[len(kept) :]
    if rest:
        message = f"{len(rest)} more findings are not listed"
        kept.append(Finding(rule, rest[0].verdict, message, "mend the listed ones first"))
    return tuple(kept)


def is_printable(char: str) -> bool:
    """Say whether `char` neither steers a terminal nor hides."""
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
