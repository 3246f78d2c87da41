"""Whom a sealed column is about: subjects, their keys, and columns sealed under them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError, UsageError
from registry.provenance.columns import Cell, ColumnKeeper, WrappedKey, key_id_of
from registry.provenance.models import ArtifactRow, MetaRow, SubjectKeyRow, SubjectRow

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_WRITING = "writing-keys"
_INDEX_CHECK = "index-key-check"


def require_keeper(reader: Reader) -> ColumnKeeper:
    """Return the keeper; whoever writes or looks up personal data needs one.

    Raises:
        UsageError: this ledger was opened without.
    """
    if reader.keeper is None:
        raise UsageError(
            "this needs the key of the personal columns, which is not at hand",
            hint="run it as the user that owns the registry's keys",
        )
    return reader.keeper


def confirm_index_key(tx: Transaction) -> None:
    """Remember the index key's check value at first use, compare it ever after.

    Raises:
        UsageError: the index key is another one; every look-up by name would silently find nothing.
    """
    check = require_keeper(tx).index(_INDEX_CHECK, b"")
    row = tx.session.get(MetaRow, _INDEX_CHECK)
    if row is None:
        tx.session.add(MetaRow(key=_INDEX_CHECK, value=check))
        tx.session.flush()
    elif row.value != check:
        raise UsageError(
            "the index key is not the one that this ledger was made with",
            hint="restore the key file that belongs to this database",
        )


def create_subject(tx: Transaction, kind: str, now: datetime) -> str:
    """Add a subject (`artifact` or `recipient`) with a first key; return its id."""
    subject_id = secrets.token_hex(16)
    tx.session.add(SubjectRow(id=subject_id, kind=kind, created_at=now))
    tx.session.flush()
    _add_key(tx, subject_id, require_keeper(tx), now)
    return subject_id


def seal_column(tx: Transaction, subject_id: str, cell: Cell, value: str | bytes) -> bytes:
    """Return `value` sealed for `cell` under a key of the subject.

    Raises:
        NotFoundError: no such subject, or it was erased.
    """
    keeper = require_keeper(tx)
    data = value.encode() if isinstance(value, str) else value
    return keeper.seal(_writing_key(tx, subject_id, keeper), cell, data)


def open_column(reader: Reader, cell: Cell, sealed: bytes | None) -> bytes | None:
    """Return the value of a sealed cell; None if it is empty, erased, or no key is at hand.

    Raises:
        ContentMismatchError: changed, or moved from another cell.
    """
    if sealed is None or reader.keeper is None:
        return None
    row = reader.session.get(SubjectKeyRow, key_id_of(sealed, cell))
    if row is None:
        return None
    key = WrappedKey(row.id, row.wrapped)
    return reader.keeper.open(key, cell, sealed) if reader.keeper.holds(key) else None


def open_text(reader: Reader, cell: Cell, sealed: bytes | None) -> str | None:
    """Return the text of a sealed cell, or None as `open_column` does."""
    value = open_column(reader, cell, sealed)
    return None if value is None else value.decode()


def is_erased(reader: Reader, subject_id: str) -> bool:
    """Say whether a subject was erased, or is not there."""
    subject = reader.session.get(SubjectRow, subject_id)
    return subject is None or subject.erased_at is not None


def erase_subject(tx: Transaction, subject_id: str, now: datetime) -> int:
    """Destroy the keys of a subject and return how many: what they sealed reads as None from now on.

    What its artifacts are like is deleted too. HMAC indexes and rows stay; so do copies of the database
    made before.
    """
    from registry.provenance.sketches import forget_fingerprint  # late: it seals under subjects

    subject = _living_subject(tx, subject_id)
    rows = tx.session.scalars(
        select(SubjectKeyRow).where(SubjectKeyRow.subject_id == subject_id)
    ).all()
    for row in rows:
        tx.session.delete(row)
    owned = select(ArtifactRow.id).where(ArtifactRow.subject_id == subject_id)
    for artifact_id in tx.session.scalars(owned).all():
        forget_fingerprint(tx, artifact_id)
    subject.erased_at = now
    tx.session.info.get(_WRITING, {}).pop(subject_id, None)
    tx.session.flush()
    return len(rows)


def _writing_key(tx: Transaction, subject_id: str, keeper: ColumnKeeper) -> WrappedKey:
    # Kept to the end of the transaction and no longer: a key of one that was rolled back must not be used.
    known: dict[str, WrappedKey] = tx.session.info.setdefault(_WRITING, {})
    if subject_id not in known:
        known[subject_id] = _find_key(tx, subject_id, keeper)
    return known[subject_id]


def _find_key(tx: Transaction, subject_id: str, keeper: ColumnKeeper) -> WrappedKey:
    subject = _living_subject(tx, subject_id)
    rows = tx.session.scalars(
        select(SubjectKeyRow).where(SubjectKeyRow.subject_id == subject_id)
    ).all()
    for row in rows:
        key = WrappedKey(row.id, row.wrapped)
        if keeper.holds(key):
            return key
    return _add_key(tx, subject_id, keeper, subject.created_at)


def _living_subject(tx: Transaction, subject_id: str) -> SubjectRow:
    subject = tx.session.get(SubjectRow, subject_id)
    if subject is None or subject.erased_at is not None:
        raise NotFoundError(f"subject {subject_id[:8]} is not there, or was erased")
    return subject


def _add_key(tx: Transaction, subject_id: str, keeper: ColumnKeeper, now: datetime) -> WrappedKey:
    key = keeper.new_key()
    tx.session.add(
        SubjectKeyRow(id=key.key_id, subject_id=subject_id, wrapped=key.wrapped, created_at=now)
    )
    tx.session.flush()
    return key
