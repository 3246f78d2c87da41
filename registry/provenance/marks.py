"""Copies with a recipient's mark: which are to be made of an artifact, and whose copy an artifact is.

A marked copy is an artifact of its own (docs/adr/0009), made for one recipient and sent to nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError
from registry.fingerprints.marks.seeds import seed_of
from registry.provenance.copies import copies_of
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import EdgeRow
from registry.provenance.models_fingerprint import MarkRow
from registry.provenance.moves import add_row
from registry.provenance.renditions import RENDITION_OF, OrderState, source_of
from registry.provenance.subjects import require_keeper

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction


_KEY_FIELD = "key/mark/v1"


@dataclass(frozen=True, slots=True)
class MarkOrder:
    """A copy of `source_id` with the mark of one recipient; `made_id` is the artifact that it became."""

    source_id: str
    recipient_id: str
    state: OrderState
    reason: str | None
    made_id: str | None


def mark_seed(reader: Reader, source_id: str, recipient_id: str) -> bytes:
    """Return the seed of a recipient's mark on copies of an artifact; derived anew, never stored.

    Raises:
        UsageError: the keys are not at hand.
    """
    return seed_of(require_keeper(reader).index(_KEY_FIELD, b""), source_id, recipient_id)


def order_mark(tx: Transaction, source_id: str, recipient_id: str, now: datetime) -> bool:
    """Order a marked copy once; return whether it is still to be made."""
    row = tx.session.get(MarkRow, (source_id, recipient_id))
    if row is None:
        row = MarkRow(
            source_id=source_id,
            recipient_id=recipient_id,
            state=OrderState.ORDERED.value,
            ordered_at=now,
            moved_at=now,
        )
        add_row(tx, row)
        note_event(tx, NewEvent("marked copy ordered", now, source_id))
    return row.state == OrderState.ORDERED


def marks_ordered_of(reader: Reader, source_id: str) -> tuple[MarkOrder, ...]:
    """Return the copies of an artifact that are still to be made, oldest first."""
    statement = (
        select(MarkRow)
        .where(MarkRow.source_id == source_id, MarkRow.state == OrderState.ORDERED.value)
        .order_by(MarkRow.ordered_at, MarkRow.recipient_id)
    )
    return tuple(_order(row) for row in reader.session.scalars(statement).all())


def sources_of_open_marks(reader: Reader, *, limit: int = 1000) -> tuple[str, ...]:
    """Return the artifacts of which copies are still to be made."""
    rows = reader.session.scalars(
        select(MarkRow.source_id)
        .where(MarkRow.state == OrderState.ORDERED.value)
        .distinct()
        .order_by(MarkRow.source_id)
        .limit(limit)
    )
    return tuple(rows.all())


def marks_made_of(reader: Reader, source_id: str) -> tuple[MarkOrder, ...]:
    """Return the copies of an artifact that were made: whose mark a leaked one may bear."""
    statement = (
        select(MarkRow)
        .where(MarkRow.source_id == source_id, MarkRow.state == OrderState.MADE.value)
        .order_by(MarkRow.recipient_id)
    )
    return tuple(_order(row) for row in reader.session.scalars(statement).all())


def mark_of(reader: Reader, artifact_id: str) -> MarkOrder | None:
    """Return whose marked copy an artifact is, None if it is none."""
    row = reader.session.scalar(select(MarkRow).where(MarkRow.made_id == artifact_id).limit(1))
    return None if row is None else _order(row)


def content_sources(reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return the artifacts that this one was made of: what a marked copy marks, and its original."""
    found: list[str] = []
    mark = mark_of(reader, artifact_id)
    source = mark.source_id if mark is not None else source_of(reader, artifact_id)
    while source is not None and source not in found:
        found.append(source)
        source = source_of(reader, source)
    return tuple(found)


def made_of(reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return everything that was made of an artifact: its public form, marked copies, and theirs."""
    found: list[str] = []
    waiting = [artifact_id]
    while waiting:
        source = waiting.pop()
        renditions = select(EdgeRow.child_id).where(
            EdgeRow.parent == source, EdgeRow.relation == RENDITION_OF
        )
        marked = [mark.made_id for mark in marks_made_of(reader, source) if mark.made_id]
        for made in (*reader.session.scalars(renditions).all(), *marked):
            if made not in found and made != artifact_id:
                found.append(made)
                waiting.append(made)
    return tuple(found)


def marked_twins(reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return the marked copies whose tensors an artifact has that is none: it bears a mark unsaid.

    A copy that came back under another name is such a one, and so is whatever was made of it.
    """
    own = () if mark_of(reader, artifact_id) is not None else (artifact_id,)
    return tuple(
        copy.id
        for each in (*own, *content_sources(reader, artifact_id))
        for copy in copies_of(reader, each)
        if mark_of(reader, copy.id) is not None
    )


def count_mark_death(tx: Transaction, order: MarkOrder, now: datetime) -> int:
    """Count a process that died while it made this copy; return how many did."""
    row = _row(tx, order)
    row.deaths += 1
    row.moved_at = now
    tx.session.flush()
    return row.deaths


def fill_mark(tx: Transaction, order: MarkOrder, made_id: str, now: datetime) -> None:
    """Close an order: `made_id` is the artifact that it became.

    Raises:
        NotFoundError: there is no such order.
    """
    row = _row(tx, order)
    row.state, row.reason, row.moved_at = OrderState.MADE.value, None, now
    row.made_id = made_id
    tx.session.flush()
    note_event(tx, NewEvent("marked copy made", now, made_id))


def fail_mark(tx: Transaction, order: MarkOrder, reason: str, now: datetime) -> None:
    """Close an order that cannot be filled; `reason` without personal data.

    Raises:
        NotFoundError: there is no such order.
    """
    row = _row(tx, order)
    row.state, row.reason, row.moved_at = OrderState.IMPOSSIBLE.value, reason, now
    tx.session.flush()
    note_event(tx, NewEvent("marked copy impossible", now, order.source_id, detail=reason))


def explain_marks(tx: Transaction, source_id: str, reason: str) -> None:
    """Say why ordered copies are not made yet; without personal data."""
    for row in tx.session.scalars(
        select(MarkRow).where(
            MarkRow.source_id == source_id, MarkRow.state == OrderState.ORDERED.value
        )
    ):
        row.reason = reason
    tx.session.flush()


def _row(tx: Transaction, order: MarkOrder) -> MarkRow:
    row = tx.session.get(MarkRow, (order.source_id, order.recipient_id))
    if row is None:
        raise NotFoundError(f"no marked copy of artifact {order.source_id[:12]} was ordered")
    return row


def _order(row: MarkRow) -> MarkOrder:
    return MarkOrder(
        row.source_id, row.recipient_id, OrderState(row.state), row.reason, row.made_id
    )
