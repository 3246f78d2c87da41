"""Revocations and status lists: what is no longer good, and how often that was said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from registry.errors import LostRaceError
from registry.formats.moments import to_text
from registry.formats.status_list import StatusEntry, StatusState
from registry.provenance.artifacts import get_artifact, move_artifact
from registry.provenance.deliveries import move_delivery
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import DecisionRow
from registry.provenance.models_delivery import DeliveryRow, RevocationRow, StatusListRow
from registry.provenance.moves import Move, add_row
from registry.provenance.states import ArtifactState, DeliveryState

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_UNSENT = (DeliveryState.PLANNED, DeliveryState.PREPARED, DeliveryState.WAITING)
_REVOCABLE = tuple(state for state in ArtifactState if state is not ArtifactState.REVOKED)


@dataclass(frozen=True, slots=True)
class NewRevocation:
    """One status id that is no longer good, with the revocation statement that says so."""

    status_id: str
    state: StatusState
    reason_code: str
    statement_digest: str
    at: datetime
    artifact_id: str | None = None
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class ArtifactRevocation:
    """All of an artifact: `statement_digest` is the revocation statement that names it."""

    artifact_id: str
    reason_code: str
    statement_digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredStatusList:
    """A signed status list as issued: `envelope` is its DSSE envelope, canonical JSON."""

    counter: int
    issued_at: datetime
    valid_until: datetime
    log_size: int
    envelope: bytes


def revoke_status(tx: Transaction, new: NewRevocation) -> bool:
    """Record that a status id is no longer good; return whether it was news. Never undone."""
    if tx.session.get(RevocationRow, new.status_id) is not None:
        return False
    add_row(
        tx,
        RevocationRow(
            status_id=new.status_id,
            state=new.state,
            reason_code=new.reason_code,
            artifact_id=new.artifact_id,
            superseded_by=new.superseded_by,
            statement_digest=new.statement_digest,
            at=new.at,
        ),
    )
    event = NewEvent("status revoked", new.at, new.artifact_id, detail=new.reason_code)
    note_event(tx, event)
    return True


def revoke_artifact(tx: Transaction, new: ArtifactRevocation) -> tuple[str, ...]:
    """Revoke an artifact, its releases and its deliveries; return the status ids that are news.

    Deliveries that have not left are cancelled. Running it again revokes what was added since.

    Raises:
        NotFoundError: no such artifact.
    """
    if get_artifact(tx, new.artifact_id).state is not ArtifactState.REVOKED:
        move = Move(_REVOCABLE, ArtifactState.REVOKED, new.at, new.reason_code)
        move_artifact(tx, new.artifact_id, move)
    unsent = select(DeliveryRow.id).where(
        DeliveryRow.artifact_id == new.artifact_id,
        DeliveryRow.state.in_([state.value for state in _UNSENT]),
    )
    for delivery_id in tx.session.scalars(unsent).all():
        move_delivery(tx, delivery_id, Move(_UNSENT, DeliveryState.CANCELLED, new.at, "revoked"))
    return tuple(
        status_id
        for status_id in status_ids_of(tx, new.artifact_id)
        if revoke_status(tx, _revocation(new, status_id))
    )


def status_ids_of(reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return the status ids of all releases and deliveries of an artifact, sorted."""
    releases = select(DecisionRow.status_id).where(DecisionRow.artifact_id == artifact_id)
    deliveries = select(DeliveryRow.status_id).where(
        DeliveryRow.artifact_id == artifact_id, DeliveryRow.status_id.is_not(None)
    )
    ids = [*reader.session.scalars(releases), *reader.session.scalars(deliveries)]
    return tuple(sorted(status_id for status_id in ids if status_id is not None))


def is_revoked(reader: Reader, status_id: str) -> bool:
    """Say whether a status id is no longer good; for look-ups, the signed list is the truth."""
    return reader.session.get(RevocationRow, status_id) is not None


def status_entries(reader: Reader) -> tuple[StatusEntry, ...]:
    """Return the entries of the next status list, sorted by status id."""
    rows = reader.session.scalars(select(RevocationRow).order_by(RevocationRow.status_id))
    return tuple(
        StatusEntry(row.status_id, StatusState(row.state), to_text(row.at), row.superseded_by)
        for row in rows
    )


def next_status_counter(reader: Reader) -> int:
    """Return the counter of the next status list, from 1."""
    last = reader.session.scalar(select(func.max(StatusListRow.counter)))
    return 1 if last is None else last + 1


def save_status_list(tx: Transaction, issued: StoredStatusList) -> None:
    """Keep a signed status list; the same one again is nothing new.

    Raises:
        LostRaceError: its counter is not the next one: sign anew over the present entries.
    """
    known = tx.session.get(StatusListRow, issued.counter)
    if known is not None and known.envelope == issued.envelope:
        return
    expected = next_status_counter(tx)
    if issued.counter != expected:
        raise LostRaceError(f"status list has counter {issued.counter}, expected {expected}")
    add_row(
        tx,
        StatusListRow(
            counter=issued.counter,
            issued_at=issued.issued_at,
            valid_until=issued.valid_until,
            log_size=issued.log_size,
            envelope=issued.envelope,
        ),
    )


def latest_status_list(reader: Reader) -> StoredStatusList | None:
    """Return the status list with the highest counter, None before the first."""
    row = reader.session.scalar(
        select(StatusListRow).order_by(StatusListRow.counter.desc()).limit(1)
    )
    if row is None:
        return None
    return StoredStatusList(row.counter, row.issued_at, row.valid_until, row.log_size, row.envelope)


def _revocation(new: ArtifactRevocation, status_id: str) -> NewRevocation:
    return NewRevocation(
        status_id=status_id,
        state=StatusState.REVOKED,
        reason_code=new.reason_code,
        statement_digest=new.statement_digest,
        at=new.at,
        artifact_id=new.artifact_id,
    )
