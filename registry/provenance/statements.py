"""Signed statements and the leaves that commit to them: the truth of which other rows are copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from registry.errors import NotFoundError
from registry.formats.envelope import Envelope, parse_envelope
from registry.provenance.artifacts import get_artifact
from registry.provenance.columns import Cell
from registry.provenance.log import append_leaf
from registry.provenance.models_log import CheckpointRow, StatementRow
from registry.provenance.moves import add_row
from registry.provenance.subjects import open_column, require_keeper, seal_column
from registry.transparency.commitment import leaf_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_TABLE = StatementRow.__tablename__


@dataclass(frozen=True, slots=True)
class NewStatement:
    """A signed statement with the salt of its leaf. `kind` is its predicate type.

    It is sealed under `subject_id`; None takes the subject of the artifact.
    """

    envelope: Envelope
    salt: bytes = field(repr=False)
    kind: str
    at: datetime
    artifact_id: str | None = None
    delivery_id: str | None = None
    recipient_id: str | None = None
    subject_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """A statement as recorded. Nothing in it is verified yet: that is custody's to do."""

    digest: str
    kind: str
    envelope: Envelope
    salt: bytes = field(repr=False)
    leaf_index: int
    at: datetime


def append_statement(tx: Transaction, new: NewStatement) -> int:
    """Record a statement, append its leaf, return the leaf's index; known payloads keep theirs.

    Raises:
        NotFoundError: no such artifact or subject.
        ValueError: neither artifact nor subject was given.
    """
    digest = new.envelope.statement_digest.value
    known = tx.session.get(StatementRow, digest)
    if known is not None:
        return known.leaf_index
    subject_id = new.subject_id or _subject_of(tx, new.artifact_id)
    index = append_leaf(tx, leaf_for(new.salt, new.envelope), new.at)
    row = StatementRow(
        digest=digest,
        kind=new.kind,
        artifact_id=new.artifact_id,
        delivery_id=new.delivery_id,
        recipient_id=new.recipient_id,
        subject_id=subject_id,
        sealed_envelope=seal_column(
            tx, subject_id, _cell(digest, "envelope"), new.envelope.to_bytes()
        ),
        sealed_salt=seal_column(tx, subject_id, _cell(digest, "salt"), new.salt),
        leaf_index=index,
        at=new.at,
    )
    add_row(tx, row)
    return index


def get_statement(reader: Reader, digest: str) -> StoredStatement:
    """Return the statement whose payload has this sha256.

    Raises:
        NotFoundError: none, or it was erased.
        UsageError: no key of the personal columns at hand.
        ContentMismatchError: its sealed columns were changed or moved.
    """
    require_keeper(reader)
    row = reader.session.get(StatementRow, digest)
    stored = None if row is None else _stored(reader, row)
    if stored is None:
        raise NotFoundError(f"no statement {digest[:12]}, or it was erased")
    return stored


def statements_of(reader: Reader, artifact_id: str) -> tuple[StoredStatement, ...]:
    """Return the statements about an artifact in the order of the log; erased ones are left out.

    Raises:
        UsageError: no key of the personal columns at hand.
    """
    require_keeper(reader)
    rows = reader.session.scalars(
        select(StatementRow)
        .where(StatementRow.artifact_id == artifact_id)
        .order_by(StatementRow.leaf_index)
    )
    return tuple(_all_stored(reader, rows))


def all_statements(reader: Reader) -> Iterator[StoredStatement]:
    """Yield every statement in the order of the log; erased ones are left out."""
    require_keeper(reader)
    return _all_stored(
        reader, reader.session.scalars(select(StatementRow).order_by(StatementRow.leaf_index))
    )


def statement_count(reader: Reader) -> int:
    """Return how many statements are recorded; one for each leaf of the log, if none was removed."""
    return reader.session.scalar(select(func.count()).select_from(StatementRow)) or 0


def statements_of_kind(reader: Reader, kind: str) -> tuple[StoredStatement, ...]:
    """Return every statement of one predicate type, in the order of the log; erased ones left out.

    Raises:
        UsageError: no key of the personal columns at hand.
    """
    require_keeper(reader)
    rows = reader.session.scalars(
        select(StatementRow).where(StatementRow.kind == kind).order_by(StatementRow.leaf_index)
    )
    return tuple(_all_stored(reader, rows))


def heads_after(reader: Reader, recipient_id: str, kind: str, *, limit: int) -> tuple[bytes, ...]:
    """Return the signed heads that came right after the newest statements of `kind` to a recipient.

    A delivery's bundle shows just that head: it is signed once the statement is committed.
    """
    newest = (
        select(StatementRow.leaf_index)
        .where(StatementRow.recipient_id == recipient_id, StatementRow.kind == kind)
        .order_by(StatementRow.leaf_index.desc())
        .limit(limit)
        .subquery()
    )
    after = (
        select(func.min(CheckpointRow.size))
        .where(CheckpointRow.size > newest.c.leaf_index)
        .scalar_subquery()
    )
    sizes = select(after).select_from(newest)
    heads = select(CheckpointRow.note).where(CheckpointRow.size.in_(sizes))
    return tuple(reader.session.scalars(heads.order_by(CheckpointRow.size.desc())))


def _all_stored(reader: Reader, rows: Iterable[StatementRow]) -> Iterator[StoredStatement]:
    stored = (_stored(reader, row) for row in rows)
    return (item for item in stored if item is not None)


def _stored(reader: Reader, row: StatementRow) -> StoredStatement | None:
    envelope = open_column(reader, _cell(row.digest, "envelope"), row.sealed_envelope)
    salt = open_column(reader, _cell(row.digest, "salt"), row.sealed_salt)
    if envelope is None or salt is None:
        return None
    return StoredStatement(
        digest=row.digest,
        kind=row.kind,
        envelope=parse_envelope(envelope),
        salt=salt,
        leaf_index=row.leaf_index,
        at=row.at,
    )


def _subject_of(tx: Transaction, artifact_id: str | None) -> str:
    if artifact_id is None:
        raise ValueError("a statement needs an artifact or a subject")
    return get_artifact(tx, artifact_id).subject_id


def _cell(row: str, column: str) -> Cell:
    return Cell(_TABLE, row, column)
