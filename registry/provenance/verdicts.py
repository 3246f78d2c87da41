"""What audits said and what was decided: copies of signed statements, for queries and screens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from registry.formats.findings import Outcome, Verdict
from registry.provenance.artifacts import get_artifact
from registry.provenance.columns import Cell
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import AuditRow, DecisionRow, FindingRow, WaiverRow
from registry.provenance.models_log import StatementRow
from registry.provenance.moves import add_row
from registry.provenance.subjects import open_text, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.findings import AuditReport, Decision, Finding
    from registry.provenance.artifacts import Artifact
    from registry.provenance.ledger import Reader, Transaction


@dataclass(frozen=True, slots=True)
class NewAudit:
    """One report and the digest of its verdict statement. `run` counts re-audits, from 1."""

    artifact_id: str
    report: AuditReport
    statement_digest: str
    at: datetime
    run: int = 1


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision and its release statement. `relied_on` are digests of verdict statements.

    `decided_by` is `policy` or `operator`; the operator's key is in the statement.
    """

    artifact_id: str
    decision: Decision = field(repr=False)
    relied_on: tuple[str, ...]
    policy_digest: str
    decided_by: str
    status_id: str
    statement_digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class NewWaiver:
    """A finding, by fingerprint, that a person lets pass until `expires_at`."""

    artifact_id: str
    finding: str
    reason: str = field(repr=False)
    expires_at: datetime
    statement_digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CurrentDecision:
    """The latest decision on an artifact."""

    outcome: Outcome
    privacy_audited: bool
    decided_by: str
    policy_digest: str
    relied_on: tuple[str, ...]
    status_id: str
    statement_digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What the rows keep of one audit, enough to find its statement."""

    rule: str
    version: str
    verdict: Verdict
    privacy: bool
    run: int
    statement_digest: str


def record_audit(tx: Transaction, new: NewAudit) -> str:
    """Record a report; return the statement digest that counts for this artifact, run and rule.

    When a run is repeated after a crash, the first record stays and its digest is returned.
    """
    artifact = get_artifact(tx, new.artifact_id)
    audit_id = f"{new.artifact_id}/{artifact.rendition}/{new.run}/{new.report.rule}"
    known = tx.session.get(AuditRow, audit_id)
    if known is not None:
        return known.statement_digest
    add_row(tx, _audit_row(tx, audit_id, artifact, new))
    for ordinal, finding in enumerate(new.report.findings):
        tx.session.add(_finding_row(tx, artifact.subject_id, (audit_id, ordinal), finding))
    tx.session.flush()
    return new.statement_digest


def audits_of(reader: Reader, artifact_id: str) -> tuple[AuditRecord, ...]:
    """Return the audits of the latest run, by rule."""
    mine = AuditRow.artifact_id == artifact_id
    latest = select(func.max(AuditRow.run)).where(mine).scalar_subquery()
    rows = reader.session.scalars(
        select(AuditRow).where(mine, AuditRow.run == latest).order_by(AuditRow.rule)
    )
    return tuple(
        AuditRecord(
            rule=row.rule,
            version=row.version,
            verdict=Verdict(row.verdict),
            privacy=row.privacy,
            run=row.run,
            statement_digest=row.statement_digest,
        )
        for row in rows
    )


def record_decision(tx: Transaction, new: NewDecision) -> None:
    """Record a decision, once for each release statement."""
    if tx.session.get(DecisionRow, new.statement_digest) is not None:
        return
    artifact = get_artifact(tx, new.artifact_id)
    reasons = json.dumps(list(new.decision.reasons), ensure_ascii=False)
    row = DecisionRow(
        statement_digest=new.statement_digest,
        artifact_id=new.artifact_id,
        rendition=artifact.rendition,
        outcome=new.decision.outcome,
        privacy_audited=new.decision.privacy_audited,
        policy_digest=new.policy_digest,
        decided_by=new.decided_by,
        relied_on=",".join(new.relied_on),
        sealed_reasons=seal_column(
            tx, artifact.subject_id, reasons_cell(new.statement_digest), reasons
        ),
        status_id=new.status_id,
        at=new.at,
    )
    add_row(tx, row)
    detail = f"{new.decision.outcome} by {new.decided_by}"
    note_event(tx, NewEvent("artifact decided", new.at, new.artifact_id, detail=detail))


def find_decision(reader: Reader, artifact_id: str) -> CurrentDecision | None:
    """Return the latest decision on an artifact, None before the first."""
    row = reader.session.scalar(
        select(DecisionRow)
        .join(StatementRow, StatementRow.digest == DecisionRow.statement_digest)
        .where(DecisionRow.artifact_id == artifact_id)
        .order_by(StatementRow.leaf_index.desc())  # two moments may be equal, two leaves never
        .limit(1)
    )
    if row is None:
        return None
    return CurrentDecision(
        outcome=Outcome(row.outcome),
        privacy_audited=row.privacy_audited,
        decided_by=row.decided_by,
        policy_digest=row.policy_digest,
        relied_on=tuple(row.relied_on.split(",")) if row.relied_on else (),
        status_id=row.status_id,
        statement_digest=row.statement_digest,
        at=row.at,
    )


def record_waiver(tx: Transaction, new: NewWaiver) -> None:
    """Record a waiver, once for each finding and statement."""
    key = (new.artifact_id, new.finding, new.statement_digest)
    if tx.session.get(WaiverRow, key) is not None:
        return
    cell = Cell(WaiverRow.__tablename__, "/".join(key), "reason")
    subject_id = get_artifact(tx, new.artifact_id).subject_id
    row = WaiverRow(
        artifact_id=new.artifact_id,
        finding=new.finding,
        statement_digest=new.statement_digest,
        sealed_reason=seal_column(tx, subject_id, cell, new.reason),
        expires_at=new.expires_at,
        at=new.at,
    )
    add_row(tx, row)


def waived_findings(reader: Reader, artifact_id: str, now: datetime) -> tuple[str, ...]:
    """Return the fingerprints that are waived at `now`, sorted; the signed statement decides."""
    rows = reader.session.scalars(
        select(WaiverRow.finding)
        .where(WaiverRow.artifact_id == artifact_id, WaiverRow.expires_at > now)
        .distinct()
        .order_by(WaiverRow.finding)
    )
    return tuple(rows)


def reasons_cell(statement_digest: str) -> Cell:
    """Return the cell of a decision's reasons."""
    return Cell(DecisionRow.__tablename__, statement_digest, "reasons")


def read_findings(reader: Reader, audit_id: str) -> tuple[tuple[str, str, str | None], ...]:
    """Return (rule, verdict, JSON of message, advice and place) of each finding, in order."""
    rows = reader.session.scalars(
        select(FindingRow).where(FindingRow.audit_id == audit_id).order_by(FindingRow.ordinal)
    )
    return tuple(
        (
            row.rule,
            row.verdict,
            open_text(reader, _finding_cell(audit_id, row.ordinal), row.sealed_detail),
        )
        for row in rows
    )


def audit_cell(audit_id: str) -> Cell:
    """Return the cell of an audit's summary and metrics."""
    return Cell(AuditRow.__tablename__, audit_id, "detail")


def _audit_row(tx: Transaction, audit_id: str, artifact: Artifact, new: NewAudit) -> AuditRow:
    report = new.report
    detail = json.dumps(
        {"summary": report.summary, "metrics": dict(report.metrics)}, ensure_ascii=False
    )
    return AuditRow(
        id=audit_id,
        artifact_id=new.artifact_id,
        rendition=artifact.rendition,
        run=new.run,
        rule=report.rule,
        version=report.version,
        verdict=report.verdict,
        examined=report.coverage.examined,
        total=report.coverage.total,
        unit=report.coverage.unit,
        privacy=report.privacy,
        supplier=report.supplier,
        sealed_detail=seal_column(tx, artifact.subject_id, audit_cell(audit_id), detail),
        statement_digest=new.statement_digest,
        at=new.at,
    )


def _finding_row(
    tx: Transaction, subject_id: str, key: tuple[str, int], finding: Finding
) -> FindingRow:
    audit_id, ordinal = key
    detail = json.dumps(
        {"message": finding.message, "advice": finding.advice, "place": finding.place},
        ensure_ascii=False,
    )
    return FindingRow(
        audit_id=audit_id,
        ordinal=ordinal,
        rule=finding.rule,
        verdict=finding.verdict,
        sealed_detail=seal_column(tx, subject_id, _finding_cell(audit_id, ordinal), detail),
    )


def _finding_cell(audit_id: str, ordinal: int) -> Cell:
    return Cell(FindingRow.__tablename__, f"{audit_id}/{ordinal}", "detail")
