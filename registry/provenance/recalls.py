"""Recalls: which revoked deliveries a channel was not yet asked to take back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from registry.provenance.deliveries import get_delivery
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import EventRow
from registry.provenance.models_delivery import DeliveryRow, RevocationRow

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.deliveries import Delivery
    from registry.provenance.ledger import Reader, Transaction

RECALLED = "delivery recalled"


def unrecalled_deliveries(reader: Reader) -> tuple[Delivery, ...]:
    """Return revoked deliveries of which something may have left and that were not recalled."""
    recalled = exists().where(EventRow.delivery_id == DeliveryRow.id, EventRow.kind == RECALLED)
    rows = reader.session.scalars(
        select(DeliveryRow.id)
        .join(RevocationRow, RevocationRow.status_id == DeliveryRow.status_id)
        .where(DeliveryRow.attempts > 0, ~recalled)
        .order_by(DeliveryRow.planned_at, DeliveryRow.id)
    ).all()
    return tuple(get_delivery(reader, found) for found in rows)


def note_recall(tx: Transaction, delivery: Delivery, outcome: str, now: datetime) -> None:
    """Note what came of recalling a delivery; it is not recalled again."""
    note_event(tx, NewEvent(RECALLED, now, delivery.artifact_id, delivery.id, outcome))
