"""Candidates: paths that settled. A path is personal data: sealed, and found by its HMAC."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError
from registry.provenance.columns import Cell
from registry.provenance.models import CandidateRow
from registry.provenance.moves import Move, add_row, explain_row, move_row
from registry.provenance.states import CandidateState
from registry.provenance.subjects import create_subject, open_text, require_keeper, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

PATH_FIELD = "candidate.path"
_SIGNATURE_FIELD = "candidate.signature"
_TABLE = CandidateRow.__tablename__


@dataclass(frozen=True, slots=True)
class NewCandidate:
    """A path that settled. `files` are (path inside the artifact, absolute path) pairs.

    `signature` is any text that is equal if and only if the files on disk are the same ones,
    unchanged (device, inode, size and times of each).
    """

    path: str = field(repr=False)
    layout: str
    files: tuple[tuple[str, str], ...] = field(repr=False)
    signature: str


@dataclass(frozen=True, slots=True)
class Noted:
    """The id under which something is recorded, and whether it was new."""

    id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as recorded; `path` is None and `files` empty where no key is at hand."""

    id: str
    subject_id: str
    path: str | None = field(repr=False)
    layout: str
    files: tuple[tuple[str, str], ...] = field(repr=False)
    state: CandidateState
    reason: str | None
    artifact_id: str | None
    noted_at: datetime


def note_candidate(tx: Transaction, new: NewCandidate, now: datetime) -> Noted:
    """Record a settled path once for each content it had; the same one again is the same id."""
    keeper = require_keeper(tx)
    path_index = keeper.index(PATH_FIELD, new.path)
    signature_index = keeper.index(_SIGNATURE_FIELD, new.signature)
    known = tx.session.scalar(
        select(CandidateRow.id).where(
            CandidateRow.path_index == path_index, CandidateRow.signature_index == signature_index
        )
    )
    if known is not None:
        return Noted(known, is_new=False)
    candidate_id, subject_id = secrets.token_hex(16), create_subject(tx, "artifact", now)
    files = json.dumps([list(pair) for pair in new.files], ensure_ascii=False)
    row = CandidateRow(
        id=candidate_id,
        subject_id=subject_id,
        sealed_path=seal_column(tx, subject_id, path_cell(candidate_id), new.path),
        path_index=path_index,
        signature_index=signature_index,
        layout=new.layout,
        sealed_files=seal_column(tx, subject_id, _cell(candidate_id, "files"), files),
        state=CandidateState.NOTED,
        noted_at=now,
        moved_at=now,
    )
    add_row(tx, row)
    return Noted(candidate_id, is_new=True)


def get_candidate(reader: Reader, candidate_id: str) -> Candidate:
    """Return a candidate.

    Raises:
        NotFoundError: no such id.
        ContentMismatchError: its sealed columns were changed or moved.
    """
    row = reader.session.get(CandidateRow, candidate_id)
    if row is None:
        raise NotFoundError(f"no candidate {candidate_id[:12]}")
    return _candidate(reader, row)


def find_candidate(reader: Reader, path: str, signature: str) -> Candidate | None:
    """Return what was noted of a path in this very state, None if nothing was."""
    keeper = require_keeper(reader)
    row = reader.session.scalar(
        select(CandidateRow).where(
            CandidateRow.path_index == keeper.index(PATH_FIELD, path),
            CandidateRow.signature_index == keeper.index(_SIGNATURE_FIELD, signature),
        )
    )
    return None if row is None else _candidate(reader, row)


def candidates_in(
    reader: Reader, state: CandidateState, *, limit: int = 1000
) -> tuple[Candidate, ...]:
    """Return candidates in a state, oldest first; `NOTED` are the open ones."""
    rows = reader.session.scalars(
        select(CandidateRow)
        .where(CandidateRow.state == state.value)
        .order_by(CandidateRow.noted_at)
        .limit(limit)
    )
    return tuple(_candidate(reader, row) for row in rows)


def paths_of(reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return the paths at which an artifact was seen, oldest first; none where no key is at hand."""
    rows = reader.session.scalars(
        select(CandidateRow)
        .where(CandidateRow.artifact_id == artifact_id)
        .order_by(CandidateRow.noted_at)
    )
    paths = (open_text(reader, path_cell(row.id), row.sealed_path) for row in rows.all())
    return tuple(path for path in paths if path is not None)


def move_candidate(tx: Transaction, candidate_id: str, move: Move) -> None:
    """Move a candidate, compare-and-set.

    Raises:
        LostRaceError: it is in none of the old states.
        NotFoundError: no such id.
    """
    move_row(tx, CandidateRow, candidate_id, move)


def explain_candidate(tx: Transaction, candidate_id: str, reason: str) -> None:
    """Say why an open candidate is not taken in yet; without personal data."""
    explain_row(tx, CandidateRow, candidate_id, ((CandidateState.NOTED,), reason))


def path_cell(candidate_id: str) -> Cell:
    """Return the cell of a candidate's path."""
    return _cell(candidate_id, "path")


def _candidate(reader: Reader, row: CandidateRow) -> Candidate:
    files = open_text(reader, _cell(row.id, "files"), row.sealed_files)
    pairs = [] if files is None else json.loads(files)
    return Candidate(
        id=row.id,
        subject_id=row.subject_id,
        path=open_text(reader, path_cell(row.id), row.sealed_path),
        layout=row.layout,
        files=tuple((relative, absolute) for relative, absolute in pairs),
        state=CandidateState(row.state),
        reason=row.reason,
        artifact_id=row.artifact_id,
        noted_at=row.noted_at,
    )


def _cell(row: str, column: str) -> Cell:
    return Cell(_TABLE, row, column)
