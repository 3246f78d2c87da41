"""Renditions that are to be made of artifacts, and of which artifact one was made.

A derived rendition is an artifact of its own (docs/adr/0009). The order is a row, so that a kill between
a release and the making of its rendition loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError
from registry.formats.predicates.intake import Rendition
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import EdgeRow, RenditionOrderRow
from registry.provenance.moves import add_row

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

RENDITION_OF = "rendition-of"
# Its parent is the sha256 of a file that is not kept.
CONVERTED_FROM = "converted-from"


class OrderState(StrEnum):
    """What became of an order: `impossible` ones need another artifact, not another try."""

    ORDERED = "ordered"
    MADE = "made"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class RenditionOrder:
    """A rendition to be made of an artifact; `made_id` is the artifact that it became."""

    artifact_id: str
    rendition: Rendition
    state: OrderState
    reason: str | None
    made_id: str | None


def order_rendition(tx: Transaction, artifact_id: str, rendition: Rendition, now: datetime) -> bool:
    """Order a rendition once; return whether it is still to be made."""
    row = tx.session.get(RenditionOrderRow, (artifact_id, rendition.value))
    if row is None:
        row = RenditionOrderRow(
            artifact_id=artifact_id,
            rendition=rendition.value,
            state=OrderState.ORDERED.value,
            ordered_at=now,
            moved_at=now,
        )
        add_row(tx, row)
        note_event(tx, NewEvent("rendition ordered", now, artifact_id, detail=rendition.value))
    return row.state == OrderState.ORDERED


def find_order(reader: Reader, artifact_id: str, rendition: Rendition) -> RenditionOrder | None:
    """Return the order of a rendition, None if nobody ordered it."""
    row = reader.session.get(RenditionOrderRow, (artifact_id, rendition.value))
    return None if row is None else _order(row)


def open_orders(reader: Reader, *, limit: int = 1000) -> tuple[RenditionOrder, ...]:
    """Return what is still to be made, oldest first."""
    rows = reader.session.scalars(
        select(RenditionOrderRow)
        .where(RenditionOrderRow.state == OrderState.ORDERED.value)
        .order_by(RenditionOrderRow.ordered_at, RenditionOrderRow.artifact_id)
        .limit(limit)
    )
    return tuple(_order(row) for row in rows.all())


def fill_order(tx: Transaction, order: RenditionOrder, made_id: str, now: datetime) -> None:
    """Close an order: `made_id` is the artifact that it became.

    Raises:
        NotFoundError: there is no such order.
    """
    row = _row(tx, order)
    row.state, row.reason, row.moved_at = OrderState.MADE.value, None, now
    row.made_id = made_id
    tx.session.flush()
    note_event(tx, NewEvent("rendition made", now, made_id, detail=order.rendition.value))


def fail_order(tx: Transaction, order: RenditionOrder, reason: str, now: datetime) -> None:
    """Close an order that cannot be filled; `reason` without personal data.

    Raises:
        NotFoundError: there is no such order.
    """
    row = _row(tx, order)
    row.state, row.reason, row.moved_at = OrderState.IMPOSSIBLE.value, reason, now
    tx.session.flush()
    note_event(tx, NewEvent("rendition impossible", now, order.artifact_id, detail=reason))


def explain_order(tx: Transaction, artifact_id: str, reason: str) -> None:
    """Say why an ordered rendition is not made yet; without personal data."""
    for row in tx.session.scalars(
        select(RenditionOrderRow).where(
            RenditionOrderRow.artifact_id == artifact_id,
            RenditionOrderRow.state == OrderState.ORDERED.value,
        )
    ):
        row.reason = reason
    tx.session.flush()


def source_of(reader: Reader, artifact_id: str) -> str | None:
    """Return the id of the artifact that a rendition was made from, None for an original."""
    return reader.session.scalar(
        select(EdgeRow.parent).where(
            EdgeRow.child_id == artifact_id, EdgeRow.relation == RENDITION_OF
        )
    )


def _row(tx: Transaction, order: RenditionOrder) -> RenditionOrderRow:
    row = tx.session.get(RenditionOrderRow, (order.artifact_id, order.rendition.value))
    if row is None:
        raise NotFoundError(f"no order of a rendition of artifact {order.artifact_id[:12]}")
    return row


def _order(row: RenditionOrderRow) -> RenditionOrder:
    return RenditionOrder(
        artifact_id=row.artifact_id,
        rendition=Rendition(row.rendition),
        state=OrderState(row.state),
        reason=row.reason,
        made_id=row.made_id,
    )
