"""Audit reports read back whole, as they were before they were recorded: rows, so nothing is proved by them.

Whoever relies on one compares its digest with the signed verdict that names it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.provenance.models import AuditRow
from registry.provenance.subjects import open_text
from registry.provenance.verdicts import audit_cell, read_findings

if TYPE_CHECKING:
    from registry.provenance.ledger import Reader


def reports_of(reader: Reader, artifact_id: str) -> dict[str, AuditReport]:
    """Return the reports on an artifact by the digest of the verdict statement that stands for each.

    A report whose personal columns cannot be opened here is left out.
    """
    rows = reader.session.scalars(select(AuditRow).where(AuditRow.artifact_id == artifact_id)).all()
    found = ((row.statement_digest, _report(reader, row)) for row in rows)
    return {digest: report for digest, report in found if report is not None}


def _report(reader: Reader, row: AuditRow) -> AuditReport | None:
    detail = open_text(reader, audit_cell(row.id), row.sealed_detail)
    if detail is None:
        return None
    body = json.loads(detail)
    return AuditReport(
        rule=row.rule,
        version=row.version,
        verdict=Verdict(row.verdict),
        coverage=Coverage(row.examined, row.total, row.unit),
        summary=body["summary"],
        findings=tuple(_finding(*item) for item in read_findings(reader, row.id)),
        metrics=tuple((name, value) for name, value in body["metrics"].items()),
        supplier=row.supplier,
        privacy=row.privacy,
    )


def _finding(rule: str, verdict: str, detail: str | None) -> Finding:
    body = json.loads(detail or "{}")
    return Finding(
        rule=rule,
        verdict=Verdict(verdict),
        message=body.get("message", ""),
        advice=body.get("advice", ""),
        place=body.get("place", ""),
    )
