"""Compare-and-set on the state of a row, the only way that a state changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, select, update

from registry.errors import LostRaceError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime
    from enum import StrEnum

    from sqlalchemy import Table

    from registry.provenance.ledger import Reader, Transaction
    from registry.provenance.models import ArtifactRow, Base, CandidateRow
    from registry.provenance.models_delivery import DeliveryRow

    StatefulRow = ArtifactRow | CandidateRow | DeliveryRow


@dataclass(frozen=True, slots=True)
class Move:
    """From one of `old` to `new`. `reason` is a short code or sentence without personal data."""

    old: tuple[StrEnum, ...]
    new: StrEnum
    at: datetime
    reason: str | None = None


def add_row(tx: Transaction, row: Base) -> None:
    """Insert `row` now, so that rows which refer to it may follow."""
    tx.session.add(row)
    tx.session.flush()


def table_of(row: type[Base]) -> Table:
    """Return the table of a row class.

    Statements on it are plain SQL, quicker than rows as objects; right for what is only ever inserted.
    """
    return cast("Table", row.__table__)


def move_row(tx: Transaction, table: type[StatefulRow], row_id: str, move: Move) -> None:
    """Move the row if it is in one of the old states.

    Raises:
        LostRaceError: it is in another state; nothing was changed.
        NotFoundError: there is no such row.
    """
    statement = (
        update(table)
        .where(table.id == row_id, table.state.in_([state.value for state in move.old]))
        .values(state=move.new.value, reason=move.reason, moved_at=move.at)
        .execution_options(synchronize_session="fetch")
    )
    # An UPDATE gives a cursor result; the annotation of `execute` cannot say so.
    result = cast("CursorResult[Any]", tx.session.execute(statement))
    if result.rowcount == 1:
        return
    found = state_of(tx, table, row_id)
    expected = " or ".join(state.value for state in move.old)
    raise LostRaceError(f"{_noun(table)} {row_id[:12]} is {found}, expected {expected}")


def explain_row(
    tx: Transaction,
    table: type[StatefulRow],
    row_id: str,
    why: tuple[tuple[StrEnum, ...], str],
) -> None:
    """Say why a row has not left one of its states yet; nothing happens if it has left it."""
    states, reason = why
    statement = (
        update(table)
        .where(table.id == row_id, table.state.in_([state.value for state in states]))
        .values(reason=reason)
        .execution_options(synchronize_session="fetch")
    )
    tx.session.execute(statement)


def state_of(reader: Reader, table: type[StatefulRow], row_id: str) -> str:
    """Return the state of a row.

    Raises:
        NotFoundError: there is no such row.
    """
    state = reader.session.scalar(select(table.state).where(table.id == row_id))
    if state is None:
        raise NotFoundError(f"no {_noun(table)} {row_id[:12]}")
    return state


def _noun(table: type[StatefulRow]) -> str:
    return str(table.__tablename__).removeprefix("reg_")
