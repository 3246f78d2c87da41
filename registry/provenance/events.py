"""What happened, in order, for people; heartbeats of executors. No personal data in either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from registry.formats.moments import to_text
from registry.provenance.models import EventRow, HeartbeatRow
from registry.provenance.moves import add_row, table_of

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction


_PUT = insert(table_of(EventRow))


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event; `kind` is a constant of two words, `detail` a code or short sentence."""

    kind: str
    at: datetime
    artifact_id: str | None = None
    delivery_id: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was recorded; `id` grows, and is the cursor for following."""

    id: int
    at: str
    kind: str
    artifact_id: str | None
    delivery_id: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events: after a cursor, of one artifact or delivery, at most `limit`."""

    after: int = 0
    artifact_id: str | None = None
    delivery_id: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When an executor was last alive."""

    executor: str
    role: str
    beat_at: datetime


def note_event(tx: Transaction, event: NewEvent) -> None:
    """Append an event."""
    tx.session.execute(
        _PUT,
        {
            "at": event.at,
            "kind": event.kind,
            "artifact_id": event.artifact_id,
            "delivery_id": event.delivery_id,
            "detail": event.detail,
        },
    )


def recent_events(reader: Reader, query: EventQuery) -> tuple[Event, ...]:
    """Return the newest events that match, oldest first."""
    statement = select(EventRow).where(EventRow.id > query.after)
    if query.artifact_id is not None:
        statement = statement.where(EventRow.artifact_id == query.artifact_id)
    if query.delivery_id is not None:
        statement = statement.where(EventRow.delivery_id == query.delivery_id)
    rows = reader.session.scalars(statement.order_by(EventRow.id.desc()).limit(query.limit)).all()
    return tuple(_event(row) for row in reversed(rows))


def beat(tx: Transaction, heartbeat: Heartbeat) -> None:
    """Record that an executor is alive; an older beat never overwrites a newer one."""
    row = tx.session.get(HeartbeatRow, heartbeat.executor)
    if row is None:
        add_row(
            tx,
            HeartbeatRow(
                executor=heartbeat.executor, role=heartbeat.role, beat_at=heartbeat.beat_at
            ),
        )
        return
    row.role, row.beat_at = heartbeat.role, max(row.beat_at, heartbeat.beat_at)
    tx.session.flush()


def heartbeats(reader: Reader) -> tuple[Heartbeat, ...]:
    """Return the last beat of every executor, newest first."""
    rows = reader.session.scalars(select(HeartbeatRow).order_by(HeartbeatRow.beat_at.desc()))
    return tuple(Heartbeat(row.executor, row.role, row.beat_at) for row in rows)


def _event(row: EventRow) -> Event:
    return Event(row.id, to_text(row.at), row.kind, row.artifact_id, row.delivery_id, row.detail)
