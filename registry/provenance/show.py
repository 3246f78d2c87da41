"""Reading one artifact, or many, into views: `ls`, `show`, and what `trace` shows of a match."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError
from registry.formats.moments import to_text
from registry.provenance import views
from registry.provenance.artifacts import entry_cell, find_payload
from registry.provenance.candidates import paths_of
from registry.provenance.columns import Cell
from registry.provenance.lineage import edges_of
from registry.provenance.models import (
    ArtifactRow,
    AuditRow,
    DecisionRow,
    HashRow,
    ManifestEntryRow,
)
from registry.provenance.models_delivery import DeliveryRow
from registry.provenance.models_log import StatementRow
from registry.provenance.recipients import name_of_recipient
from registry.provenance.revocations import is_revoked
from registry.provenance.subjects import open_text
from registry.provenance.verdicts import audit_cell, read_findings, reasons_cell

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader
    from registry.provenance.states import ArtifactState


@dataclass(frozen=True, slots=True)
class ArtifactQuery:
    """Which artifacts `ls` lists: in one of `states` (none: any), the newest `limit`."""

    states: tuple[ArtifactState, ...] = ()
    family: str | None = None
    limit: int = 100


def list_artifacts(reader: Reader, query: ArtifactQuery) -> tuple[views.ArtifactSummary, ...]:
    """Return summaries, newest first."""
    statement = select(ArtifactRow)
    if query.states:
        statement = statement.where(ArtifactRow.state.in_([state.value for state in query.states]))
    if query.family is not None:
        statement = statement.where(ArtifactRow.family == query.family)
    rows = reader.session.scalars(
        statement.order_by(ArtifactRow.taken_at.desc(), ArtifactRow.id).limit(query.limit)
    )
    return tuple(_summary(reader, row) for row in rows.all())


def summarise(reader: Reader, artifact_id: str) -> views.ArtifactSummary:
    """Return the summary of one artifact, by full id.

    Raises:
        NotFoundError: no such id.
    """
    return _summary(reader, _row(reader, artifact_id))


def show_artifact(reader: Reader, artifact_id: str) -> views.ArtifactDetail:
    """Return all that is recorded of one artifact, by full id.

    Raises:
        NotFoundError: no such id.
        ContentMismatchError: a sealed column was changed or moved.
    """
    row, payload = _row(reader, artifact_id), find_payload(reader, artifact_id)
    return views.ArtifactDetail(
        summary=_summary(reader, row),
        base_model=row.base_model,
        host=row.host,
        paths=paths_of(reader, artifact_id),
        files=_files(reader, artifact_id),
        hashes=_hashes(reader, artifact_id),
        payload_digest=None if payload is None else payload.digest,
        payload_form=None if payload is None else payload.form,
        audits=_audits(reader, artifact_id),
        decisions=decision_views(reader, artifact_id),
        deliveries=delivery_views(reader, artifact_id),
        edges=edge_views(reader, artifact_id),
        statements=statement_views(reader, artifact_id),
    )


def artifact_name(reader: Reader, artifact_id: str) -> str | None:
    """Return the name of an artifact, None where it was erased or no key is at hand."""
    cell = Cell(ArtifactRow.__tablename__, artifact_id, "name")
    return open_text(reader, cell, _row(reader, artifact_id).sealed_name)


def read_inspection(reader: Reader, artifact_id: str) -> str | None:
    """Return the JSON text of the inspection; None where there is none or it cannot be read."""
    cell = Cell(ArtifactRow.__tablename__, artifact_id, "inspection")
    return open_text(reader, cell, _row(reader, artifact_id).sealed_inspection)


def decision_views(reader: Reader, artifact_id: str) -> tuple[views.DecisionView, ...]:
    """Return all decisions on an artifact, oldest first; the last one counts."""
    rows = reader.session.scalars(
        select(DecisionRow)
        .join(StatementRow, StatementRow.digest == DecisionRow.statement_digest)
        .where(DecisionRow.artifact_id == artifact_id)
        .order_by(StatementRow.leaf_index)
    )
    return tuple(_decision(reader, row) for row in rows.all())


def delivery_views(reader: Reader, artifact_id: str) -> tuple[views.DeliveryView, ...]:
    """Return the deliveries of an artifact, oldest first."""
    rows = reader.session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.artifact_id == artifact_id)
        .order_by(DeliveryRow.planned_at, DeliveryRow.id)
    )
    return tuple(delivery_view(reader, row) for row in rows.all())


def delivery_view(reader: Reader, row: DeliveryRow) -> views.DeliveryView:
    """Return the view of one delivery."""
    return views.DeliveryView(
        id=row.id,
        artifact_id=row.artifact_id,
        recipient_id=row.recipient_id,
        recipient=name_of_recipient(reader, row.recipient_id),
        channel=row.channel,
        ordinal=row.ordinal,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        planned_at=to_text(row.planned_at),
        acknowledge_by=_moment(row.acknowledge_by),
        acknowledged_at=_moment(row.acknowledged_at),
        revoked=row.status_id is not None and is_revoked(reader, row.status_id),
    )


def edge_views(reader: Reader, artifact_id: str) -> tuple[views.EdgeView, ...]:
    """Return the lineage of an artifact, one step up and down."""
    return tuple(
        views.EdgeView(edge.child_id, edge.relation, edge.parent, edge.grade.value, edge.source)
        for edge in edges_of(reader, artifact_id)
    )


def statement_views(reader: Reader, artifact_id: str) -> tuple[views.StatementView, ...]:
    """Return the statements about an artifact in the order of the log."""
    rows = reader.session.execute(
        select(StatementRow.digest, StatementRow.kind, StatementRow.leaf_index, StatementRow.at)
        .where(StatementRow.artifact_id == artifact_id)
        .order_by(StatementRow.leaf_index)
    )
    return tuple(
        views.StatementView(digest, kind, leaf_index, to_text(at))
        for digest, kind, leaf_index, at in rows
    )


def _row(reader: Reader, artifact_id: str) -> ArtifactRow:
    row = reader.session.get(ArtifactRow, artifact_id)
    if row is None:
        raise NotFoundError(f"no artifact {artifact_id[:12]}", hint="see `loraseal ls`")
    return row


def _summary(reader: Reader, row: ArtifactRow) -> views.ArtifactSummary:
    return views.ArtifactSummary(
        id=row.id,
        name=artifact_name(reader, row.id),
        state=row.state,
        reason=row.reason,
        kind=row.kind,
        dialect=row.dialect,
        method=row.method,
        family=row.family,
        rank=row.rank,
        alpha=row.alpha,
        modules=row.modules,
        tensors=row.tensors,
        files=row.files,
        size=row.size,
        taken_at=to_text(row.taken_at),
        moved_at=to_text(row.moved_at),
        rendition=row.rendition,
    )


def _files(reader: Reader, artifact_id: str) -> tuple[views.FileView, ...]:
    rows = reader.session.scalars(
        select(ManifestEntryRow)
        .where(ManifestEntryRow.artifact_id == artifact_id)
        .order_by(ManifestEntryRow.ordinal)
    )
    return tuple(
        views.FileView(
            open_text(reader, entry_cell(artifact_id, row.ordinal), row.sealed_path),
            row.size,
            row.sha256,
        )
        for row in rows.all()
    )


def _hashes(reader: Reader, artifact_id: str) -> tuple[views.HashView, ...]:
    rows = reader.session.execute(
        select(HashRow.algorithm, HashRow.value)
        .where(HashRow.artifact_id == artifact_id)
        .order_by(HashRow.algorithm, HashRow.value)
    )
    return tuple(views.HashView(algorithm, value) for algorithm, value in rows)


def _audits(reader: Reader, artifact_id: str) -> tuple[views.AuditView, ...]:
    rows = reader.session.scalars(
        select(AuditRow)
        .where(AuditRow.artifact_id == artifact_id)
        .order_by(AuditRow.run, AuditRow.rule)
    )
    return tuple(_audit(reader, row) for row in rows.all())


def _audit(reader: Reader, row: AuditRow) -> views.AuditView:
    text = open_text(reader, audit_cell(row.id), row.sealed_detail)
    detail = {} if text is None else json.loads(text)
    return views.AuditView(
        rule=row.rule,
        version=row.version,
        verdict=row.verdict,
        run=row.run,
        examined=row.examined,
        total=row.total,
        unit=row.unit,
        privacy=row.privacy,
        supplier=row.supplier,
        summary=detail.get("summary"),
        metrics=tuple(views.MetricView(*pair) for pair in detail.get("metrics", {}).items()),
        findings=tuple(_finding(*found) for found in read_findings(reader, row.id)),
        at=to_text(row.at),
    )


def _finding(rule: str, verdict: str, text: str | None) -> views.FindingView:
    detail = {} if text is None else json.loads(text)
    return views.FindingView(
        rule, verdict, detail.get("message"), detail.get("advice"), detail.get("place")
    )


def _decision(reader: Reader, row: DecisionRow) -> views.DecisionView:
    text = open_text(reader, reasons_cell(row.statement_digest), row.sealed_reasons)
    return views.DecisionView(
        outcome=row.outcome,
        decided_by=row.decided_by,
        privacy_audited=row.privacy_audited,
        reasons=None if text is None else tuple(json.loads(text)),
        policy_digest=row.policy_digest,
        statement_digest=row.statement_digest,
        at=to_text(row.at),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)
