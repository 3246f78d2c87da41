"""Parcels (messages of an attempt) and receipts. A parcel is written down before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.digest import sha256_of
from registry.errors import LostRaceError, NotFoundError
from registry.provenance.columns import Cell
from registry.provenance.deliveries import acknowledge, get_delivery
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models_delivery import ParcelRow, ReceiptRow
from registry.provenance.moves import add_row
from registry.provenance.recipients import get_recipient
from registry.provenance.states import ParcelState
from registry.provenance.subjects import open_column, open_text, require_keeper, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_REFERENCE_FIELD = "parcel.reference"


@dataclass(frozen=True, slots=True)
class ParcelKey:
    """Which message: part `number` (from 1) of attempt `attempt` (from 1) at a delivery."""

    delivery_id: str
    attempt: int
    number: int


@dataclass(frozen=True, slots=True)
class NewParcel:
    """A message about to be sent: one of `count` parts, with the digest and size of its file."""

    key: ParcelKey
    count: int
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ParcelFate:
    """What became of a message; `reference` is the channel's own name for it."""

    state: ParcelState
    at: datetime
    reference: str | None = field(default=None, repr=False)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ParcelRecord:
    """A message as recorded."""

    key: ParcelKey
    count: int
    sha256: str
    size: int
    state: ParcelState
    reason: str | None
    reference: str | None = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A receipt that custody has checked: `body` is the signed receipt, opened."""

    delivery_id: str
    level: str
    body: bytes = field(repr=False)
    at: datetime


def intend_parcel(tx: Transaction, new: NewParcel, now: datetime) -> ParcelState:
    """Write down that a message is about to be sent, once; return its state.

    `INTENDED` from a run before this one means: it may have been sent, so ask the channel first.
    """
    known = _find(tx, new.key)
    if known is not None:
        return ParcelState(known.state)
    add_row(
        tx,
        ParcelRow(
            delivery_id=new.key.delivery_id,
            attempt=new.key.attempt,
            number=new.key.number,
            count=new.count,
            sha256=new.sha256,
            size=new.size,
            state=ParcelState.INTENDED,
            at=now,
        ),
    )
    return ParcelState.INTENDED


def record_send(tx: Transaction, key: ParcelKey, fate: ParcelFate) -> None:
    """Record what became of a message. `SENT` is final; the others may still become it.

    Raises:
        NotFoundError: it was never intended.
        LostRaceError: it was recorded as sent, and this says otherwise.
    """
    row = _find(tx, key)
    if row is None:
        raise NotFoundError(f"delivery {key.delivery_id[:12]} has no parcel {key.number}")
    if row.state == ParcelState.SENT:
        if fate.state is not ParcelState.SENT:
            raise LostRaceError(f"parcel {key.number} of {key.delivery_id[:12]} was sent before")
        return
    row.state, row.reason, row.at = fate.state, fate.reason, fate.at
    if fate.reference is not None:
        keeper = require_keeper(tx)
        recipient = get_recipient(tx, get_delivery(tx, key.delivery_id).recipient_id)
        row.sealed_reference = seal_column(
            tx, recipient.subject_id, _reference_cell(key), fate.reference
        )
        row.reference_index = keeper.index(_REFERENCE_FIELD, fate.reference)
    tx.session.flush()


def parcels_of(reader: Reader, delivery_id: str) -> tuple[ParcelRecord, ...]:
    """Return the messages of a delivery by attempt and number."""
    rows = reader.session.scalars(
        select(ParcelRow)
        .where(ParcelRow.delivery_id == delivery_id)
        .order_by(ParcelRow.attempt, ParcelRow.number)
    )
    return tuple(_record(reader, row) for row in rows.all())


def find_parcel(reader: Reader, reference: str) -> ParcelRecord | None:
    """Return the message that a channel calls `reference`, None if it is not ours."""
    index = require_keeper(reader).index(_REFERENCE_FIELD, reference)
    row = reader.session.scalar(select(ParcelRow).where(ParcelRow.reference_index == index))
    return None if row is None else _record(reader, row)


def record_receipt(tx: Transaction, new: NewReceipt) -> bool:
    """Record a checked receipt and acknowledge its delivery; return whether it was new.

    One receipt counts for each level; a second one of the same level changes nothing.

    Raises:
        NotFoundError: no such delivery.
    """
    delivery = get_delivery(tx, new.delivery_id)
    if tx.session.get(ReceiptRow, (new.delivery_id, new.level)) is not None:
        return False
    subject_id = get_recipient(tx, delivery.recipient_id).subject_id
    cell = _receipt_cell(new.delivery_id, new.level)
    add_row(
        tx,
        ReceiptRow(
            delivery_id=new.delivery_id,
            level=new.level,
            digest=sha256_of(new.body).value,
            sealed_body=seal_column(tx, subject_id, cell, new.body),
            at=new.at,
        ),
    )
    event = NewEvent(
        "receipt recorded", new.at, delivery.artifact_id, new.delivery_id, detail=new.level
    )
    note_event(tx, event)
    acknowledge(tx, new.delivery_id, new.at)
    return True


def receipts_of(reader: Reader, delivery_id: str) -> tuple[tuple[str, bytes | None], ...]:
    """Return (level, signed receipt) of a delivery, oldest first; None where it cannot be read."""
    rows = reader.session.scalars(
        select(ReceiptRow).where(ReceiptRow.delivery_id == delivery_id).order_by(ReceiptRow.at)
    )
    return tuple(
        (
            row.level,
            open_column(reader, _receipt_cell(delivery_id, row.level), row.sealed_body),
        )
        for row in rows.all()
    )


def _find(reader: Reader, key: ParcelKey) -> ParcelRow | None:
    return reader.session.get(ParcelRow, (key.delivery_id, key.attempt, key.number))


def _record(reader: Reader, row: ParcelRow) -> ParcelRecord:
    key = ParcelKey(row.delivery_id, row.attempt, row.number)
    return ParcelRecord(
        key=key,
        count=row.count,
        sha256=row.sha256,
        size=row.size,
        state=ParcelState(row.state),
        reason=row.reason,
        reference=open_text(reader, _reference_cell(key), row.sealed_reference),
        at=row.at,
    )


def _reference_cell(key: ParcelKey) -> Cell:
    row = f"{key.delivery_id}/{key.attempt}/{key.number}"
    return Cell(ParcelRow.__tablename__, row, "reference")


def _receipt_cell(delivery_id: str, level: str) -> Cell:
    return Cell(ReceiptRow.__tablename__, f"{delivery_id}/{level}", "body")
