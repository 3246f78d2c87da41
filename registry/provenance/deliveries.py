"""Deliveries: planned once, prepared once, moved by compare-and-set, acknowledged once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.digest import sha256_of
from registry.errors import LostRaceError, NotFoundError
from registry.provenance.artifacts import get_artifact
from registry.provenance.candidates import Noted
from registry.provenance.columns import Cell
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models_delivery import DeliveryRow
from registry.provenance.moves import Move, add_row, move_row
from registry.provenance.states import DeliveryState
from registry.provenance.subjects import open_column, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A wish: this artifact to this recipient by this channel. `ordinal` 2 is a deliberate repeat."""

    id: str
    artifact_id: str
    recipient_id: str
    channel: str
    ordinal: int = 1


@dataclass(frozen=True, slots=True)
class Preparation:
    """All that is needed to make the same parcel again, byte for byte.

    `header` is the re-wrapped age header; the payload follows it unchanged. The bundle is sealed
    in the database, since it names the artifact's files.
    """

    header: bytes = field(repr=False)
    bundle: bytes = field(repr=False)
    payload_digest: str
    statement_digest: str
    status_id: str
    nonce: str = field(repr=False)
    acknowledge_by: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as recorded; digests are None until it is prepared."""

    id: str
    artifact_id: str
    rendition: str
    recipient_id: str
    channel: str
    ordinal: int
    state: DeliveryState
    reason: str | None
    attempts: int
    planned_at: datetime
    acknowledge_by: datetime | None
    acknowledged_at: datetime | None
    payload_digest: str | None
    header_digest: str | None
    bundle_digest: str | None
    nonce: str | None = field(repr=False)
    status_id: str | None
    statement_digest: str | None


def plan_delivery(tx: Transaction, new: NewDelivery, now: datetime) -> Noted:
    """Record a wish once; for the same artifact, recipient, channel and ordinal the first id stays."""
    known = tx.session.scalar(
        select(DeliveryRow.id).where(
            DeliveryRow.artifact_id == new.artifact_id,
            DeliveryRow.recipient_id == new.recipient_id,
            DeliveryRow.channel == new.channel,
            DeliveryRow.ordinal == new.ordinal,
        )
    )
    if known is not None:
        return Noted(known, is_new=False)
    row = DeliveryRow(
        id=new.id,
        artifact_id=new.artifact_id,
        rendition=get_artifact(tx, new.artifact_id).rendition,
        recipient_id=new.recipient_id,
        channel=new.channel,
        ordinal=new.ordinal,
        state=DeliveryState.PLANNED,
        planned_at=now,
        moved_at=now,
    )
    add_row(tx, row)
    _note(tx, row, "delivery planned", now)
    return Noted(new.id, is_new=True)


def set_delivery_prepared(
    tx: Transaction, delivery_id: str, made: Preparation, now: datetime
) -> None:
    """Move a planned delivery to prepared with what was made for it.

    A run that comes second must use what the first one made (`read_preparation`): another header is
    another file, and the statement in the log names the first.

    Raises:
        LostRaceError: it is not planned any more.
        NotFoundError: no such id.
    """
    move = Move((DeliveryState.PLANNED,), DeliveryState.PREPARED, now)
    move_row(tx, DeliveryRow, delivery_id, move)
    row = _row(tx, delivery_id)
    subject_id = get_artifact(tx, row.artifact_id).subject_id
    row.header, row.header_digest = made.header, sha256_of(made.header).value
    row.sealed_bundle = seal_column(tx, subject_id, _bundle_cell(delivery_id), made.bundle)
    row.bundle_digest = sha256_of(made.bundle).value
    row.payload_digest = made.payload_digest
    row.statement_digest, row.status_id = made.statement_digest, made.status_id
    row.nonce, row.acknowledge_by = made.nonce, made.acknowledge_by
    tx.session.flush()
    _note(tx, row, "delivery prepared", now)


def read_preparation(reader: Reader, delivery_id: str) -> Preparation | None:
    """Return what was made for a delivery; None before it is prepared, or after erasure.

    Raises:
        NotFoundError: no such id.
        ContentMismatchError: the stored bundle was changed or moved.
    """
    row = _row(reader, delivery_id)
    bundle = open_column(reader, _bundle_cell(delivery_id), row.sealed_bundle)
    if (
        bundle is None
        or row.header is None
        or row.payload_digest is None
        or row.statement_digest is None
        or row.status_id is None
        or row.nonce is None
        or row.acknowledge_by is None
    ):
        return None
    return Preparation(
        header=row.header,
        bundle=bundle,
        payload_digest=row.payload_digest,
        statement_digest=row.statement_digest,
        status_id=row.status_id,
        nonce=row.nonce,
        acknowledge_by=row.acknowledge_by,
    )


def get_delivery(reader: Reader, delivery_id: str) -> Delivery:
    """Return a delivery by full id.

    Raises:
        NotFoundError: no such id.
    """
    return _delivery(_row(reader, delivery_id))


def find_delivery(reader: Reader, reference: str) -> Delivery:
    """Return the delivery with this id, or this beginning of one.

    Raises:
        NotFoundError: none, or more than one.
    """
    rows = reader.session.scalars(
        select(DeliveryRow).where(DeliveryRow.id.startswith(reference.lower(), autoescape=True))
    ).all()
    if len(rows) != 1 or not reference:
        answer = "no delivery begins" if not rows else f"{len(rows)} deliveries begin"
        raise NotFoundError(f"{answer} with that id", hint="see `loraseal status`")
    return _delivery(rows[0])


def deliveries_of(reader: Reader, artifact_id: str) -> tuple[Delivery, ...]:
    """Return the deliveries of an artifact, oldest first."""
    rows = reader.session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.artifact_id == artifact_id)
        .order_by(DeliveryRow.planned_at, DeliveryRow.id)
    )
    return tuple(_delivery(row) for row in rows)


def deliveries_in(
    reader: Reader, state: DeliveryState, *, limit: int = 1000
) -> tuple[Delivery, ...]:
    """Return deliveries in a state, oldest first."""
    rows = reader.session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.state == state.value)
        .order_by(DeliveryRow.planned_at, DeliveryRow.id)
        .limit(limit)
    )
    return tuple(_delivery(row) for row in rows)


def overdue_deliveries(reader: Reader, now: datetime, *, limit: int = 1000) -> tuple[Delivery, ...]:
    """Return deliveries that were sent, and not acknowledged by their time, oldest first."""
    rows = reader.session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.state == DeliveryState.SENT.value, DeliveryRow.acknowledge_by <= now)
        .order_by(DeliveryRow.planned_at, DeliveryRow.id)
        .limit(limit)
    )
    return tuple(_delivery(row) for row in rows)


def explain_wait(tx: Transaction, delivery_id: str, reason: str, now: datetime) -> None:
    """Record why a prepared delivery cannot leave yet; the same reason again changes nothing.

    Raises:
        NotFoundError: no such id.
    """
    row = _row(tx, delivery_id)
    if row.state != DeliveryState.PREPARED.value or row.reason == reason:
        return
    row.reason, row.moved_at = reason, now
    tx.session.flush()
    _note(tx, row, "delivery waits", now, reason)


def move_delivery(tx: Transaction, delivery_id: str, move: Move) -> None:
    """Move a delivery, compare-and-set, and note the event.

    Raises:
        LostRaceError: it is in none of the old states.
        NotFoundError: no such id.
    """
    move_row(tx, DeliveryRow, delivery_id, move)
    _note(tx, _row(tx, delivery_id), f"delivery {move.new}", move.at, move.reason or "")


def begin_attempt(tx: Transaction, delivery_id: str, attempt: int, move: Move) -> None:
    """Count attempt number `attempt` and move to sending. The same attempt cannot begin twice.

    Raises:
        LostRaceError: this attempt was begun before, or the delivery is in none of the old states.
    """
    row = _row(tx, delivery_id)
    if row.attempts != attempt - 1:
        raise LostRaceError(
            f"delivery {delivery_id[:12]} has had {row.attempts} attempts, expected {attempt - 1}"
        )
    move_delivery(tx, delivery_id, move)
    row.attempts = attempt
    tx.session.flush()


def acknowledge(tx: Transaction, delivery_id: str, now: datetime) -> bool:
    """Mark a delivery acknowledged; return whether this was the first time.

    It may be in any state: a receipt proves arrival whatever the channel said.
    """
    row = _row(tx, delivery_id)
    if row.acknowledged_at is not None:
        return False
    row.state, row.reason = DeliveryState.ACKNOWLEDGED, None
    row.acknowledged_at = row.moved_at = now
    tx.session.flush()
    _note(tx, row, "delivery acknowledged", now)
    return True


def _note(tx: Transaction, row: DeliveryRow, kind: str, now: datetime, detail: str = "") -> None:
    note_event(tx, NewEvent(kind, now, row.artifact_id, row.id, detail))


def _row(reader: Reader, delivery_id: str) -> DeliveryRow:
    row = reader.session.get(DeliveryRow, delivery_id)
    if row is None:
        raise NotFoundError(f"no delivery {delivery_id[:12]}")
    return row


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        artifact_id=row.artifact_id,
        rendition=row.rendition,
        recipient_id=row.recipient_id,
        channel=row.channel,
        ordinal=row.ordinal,
        state=DeliveryState(row.state),
        reason=row.reason,
        attempts=row.attempts,
        planned_at=row.planned_at,
        acknowledge_by=row.acknowledge_by,
        acknowledged_at=row.acknowledged_at,
        payload_digest=row.payload_digest,
        header_digest=row.header_digest,
        bundle_digest=row.bundle_digest,
        nonce=row.nonce,
        status_id=row.status_id,
        statement_digest=row.statement_digest,
    )


def _bundle_cell(delivery_id: str) -> Cell:
    return Cell(DeliveryRow.__tablename__, delivery_id, "bundle")
