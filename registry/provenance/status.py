"""`status`: how much there is of everything, and what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Exists, exists, func, or_, select
from sqlalchemy.orm import aliased

from registry.formats.moments import to_text
from registry.provenance.candidates import path_cell
from registry.provenance.events import heartbeats
from registry.provenance.log import latest_checkpoint, log_size
from registry.provenance.models import ArtifactRow, CandidateRow, RenditionOrderRow
from registry.provenance.models_delivery import DeliveryRow, RecipientRow
from registry.provenance.models_fingerprint import MarkRow
from registry.provenance.recipients import name_of_recipient
from registry.provenance.renditions import OrderState
from registry.provenance.revocations import latest_status_list
from registry.provenance.show import artifact_name
from registry.provenance.states import ArtifactState, CandidateState, DeliveryState
from registry.provenance.subjects import open_text
from registry.provenance.views import LedgerStatus, Need, StateCount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.provenance.ledger import Reader

NEEDS_LISTED = 100

_AGAIN = "it is tried again by itself; loraseal doctor and loraseal up --verbose say more"
_ARTIFACT_ADVICE = {
    ArtifactState.HELD: "loraseal show {id}, then loraseal release {id} --reason ... or leave it",
    ArtifactState.SET_ASIDE: "loraseal show {id}: the audit died on it three times",
    ArtifactState.SEALED: _AGAIN,
    ArtifactState.AUDITED: _AGAIN,
}
_FILE_ADVICE = {
    CandidateState.NOTED: _AGAIN,
    CandidateState.REFUSED: "save it again with the trainer, or move it out of the watched folder",
    CandidateState.UNREADABLE: "let the daemon's user read it (docs/operations.md), then loraseal up again",
}
_RENDITION_ADVICE = {
    OrderState.ORDERED: _AGAIN,
    OrderState.IMPOSSIBLE: "mend what the reason says and train or save it again, or deliver the original",
}
_MARK_ADVICE = {
    OrderState.ORDERED: _AGAIN,
    OrderState.IMPOSSIBLE: "deliver it without a mark: a route without mark, or loraseal deliver",
}
_DELIVERY_ADVICE = {
    DeliveryState.PREPARED: "it is tried again by itself; loraseal channel status says what is missing",
    DeliveryState.WAITING: "loraseal channel status says what it waits for; then deliver it --again",
    DeliveryState.UNCONFIRMED: "ask the recipient, then loraseal receipt import FILE",
    DeliveryState.FAILED: "loraseal channel status, then loraseal deliver ID --to NAME --by CHANNEL --again",
}


def ledger_status(reader: Reader) -> LedgerStatus:
    """Return counts, the log's sizes, the last sign of life and what needs a person."""
    beats, checkpoint, issued = (
        heartbeats(reader),
        latest_checkpoint(reader),
        latest_status_list(reader),
    )
    recipients = reader.session.scalar(select(func.count()).select_from(RecipientRow))
    return LedgerStatus(
        candidates=_counts(reader, CandidateRow),
        artifacts=_counts(reader, ArtifactRow),
        marked_copies=_counts(reader, MarkRow),
        deliveries=_counts(reader, DeliveryRow),
        recipients=recipients or 0,
        log_size=log_size(reader),
        checkpoint_size=0 if checkpoint is None else checkpoint.size,
        status_list_counter=0 if issued is None else issued.counter,
        status_list_valid_until=None if issued is None else to_text(issued.valid_until),
        last_beat=to_text(beats[0].beat_at) if beats else None,
        needs=needs_person(reader),
    )


def needs_person(reader: Reader) -> tuple[Need, ...]:
    """Return what no machine will move on, oldest first within each kind."""
    return (
        *_artifacts(reader),
        *_renditions(reader),
        *_marks(reader),
        *_deliveries(reader),
        *_refused(reader),
    )


def _counts(
    reader: Reader, table: type[ArtifactRow | CandidateRow | DeliveryRow | MarkRow]
) -> tuple[StateCount, ...]:
    rows = reader.session.execute(
        select(table.state, func.count()).group_by(table.state).order_by(table.state)
    )
    return tuple(StateCount(state, count) for state, count in rows)


def _artifacts(reader: Reader) -> tuple[Need, ...]:
    rows = reader.session.scalars(
        select(ArtifactRow)
        .where(
            ArtifactRow.state.in_([state.value for state in _ARTIFACT_ADVICE]),
            # One on its way needs nobody, unless something keeps it there.
            or_(
                ArtifactRow.state.not_in([ArtifactState.SEALED.value, ArtifactState.AUDITED.value]),
                ArtifactRow.reason.is_not(None),
            ),
        )
        .order_by(ArtifactRow.moved_at)
        .limit(NEEDS_LISTED)
    )
    return tuple(
        Need(
            kind=f"artifact {row.state}",
            id=row.id,
            name=artifact_name(reader, row.id),
            reason=row.reason or "",
            what_to_do=_ARTIFACT_ADVICE[ArtifactState(row.state)].format(id=row.id[:12]),
            since=to_text(row.moved_at),
        )
        for row in rows.all()
    )


def _renditions(reader: Reader) -> tuple[Need, ...]:
    rows = reader.session.scalars(
        select(RenditionOrderRow)
        .where(
            RenditionOrderRow.state != OrderState.MADE.value,
            RenditionOrderRow.reason.is_not(None),
        )
        .order_by(RenditionOrderRow.moved_at, RenditionOrderRow.artifact_id)
        .limit(NEEDS_LISTED)
    )
    return tuple(
        _order_need(reader, "rendition", row.artifact_id, row, _RENDITION_ADVICE)
        for row in rows.all()
    )


def _marks(reader: Reader) -> tuple[Need, ...]:
    rows = reader.session.scalars(
        select(MarkRow)
        .where(MarkRow.state != OrderState.MADE.value, MarkRow.reason.is_not(None))
        .order_by(MarkRow.moved_at, MarkRow.source_id, MarkRow.recipient_id)
        .limit(NEEDS_LISTED)
    )
    return tuple(
        _order_need(reader, "marked copy", row.source_id, row, _MARK_ADVICE) for row in rows.all()
    )


def _order_need(
    reader: Reader,
    what: str,
    artifact_id: str,
    row: RenditionOrderRow | MarkRow,
    advice: Mapping[OrderState, str],
) -> Need:
    return Need(
        kind=f"{what} {row.state}",
        id=artifact_id,
        name=artifact_name(reader, artifact_id),
        reason=row.reason or "",
        what_to_do=advice[OrderState(row.state)],
        since=to_text(row.moved_at),
    )


def _deliveries(reader: Reader) -> tuple[Need, ...]:
    rows = reader.session.scalars(
        select(DeliveryRow)
        .join(ArtifactRow, ArtifactRow.id == DeliveryRow.artifact_id)
        .where(
            DeliveryRow.state.in_([state.value for state in _DELIVERY_ADVICE]),
            # A prepared one needs nobody, unless something keeps it from leaving.
            or_(DeliveryRow.state != DeliveryState.PREPARED.value, DeliveryRow.reason.is_not(None)),
            ArtifactRow.state != ArtifactState.REVOKED.value,
        )
        .order_by(DeliveryRow.moved_at)
        .limit(NEEDS_LISTED)
    )
    return tuple(
        Need(
            kind=f"delivery {row.state}",
            id=row.id,
            name=name_of_recipient(reader, row.recipient_id),
            reason=row.reason or "",
            what_to_do=_DELIVERY_ADVICE[DeliveryState(row.state)],
            since=to_text(row.moved_at),
        )
        for row in rows.all()
    )


def _overtaken() -> Exists:
    """Say that a newer candidate stands at the same path: the file was mended, or written again."""
    newer = aliased(CandidateRow)
    return exists().where(
        newer.path_index == CandidateRow.path_index, newer.noted_at > CandidateRow.noted_at
    )


def _refused(reader: Reader) -> tuple[Need, ...]:
    rows = reader.session.scalars(
        select(CandidateRow)
        .where(
            CandidateRow.state.in_([state.value for state in _FILE_ADVICE]),
            or_(CandidateRow.state != CandidateState.NOTED.value, CandidateRow.reason.is_not(None)),
            ~_overtaken(),
        )
        .order_by(CandidateRow.moved_at)
        .limit(NEEDS_LISTED)
    )
    return tuple(
        Need(
            kind=f"file {row.state}",
            id=row.id,
            name=open_text(reader, path_cell(row.id), row.sealed_path),
            reason=row.reason or "",
            what_to_do=_FILE_ADVICE[CandidateState(row.state)],
            since=to_text(row.moved_at),
        )
        for row in rows.all()
    )
