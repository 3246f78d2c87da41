"""The ledger's own check, for `loraseal fsck`: database, log, and statements against their leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from registry.errors import VerificationError
from registry.provenance.log import log_root, log_size
from registry.provenance.models_log import CheckpointRow, LeafRow, StatementRow
from registry.provenance.statements import all_statements
from registry.transparency import tlog
from registry.transparency.commitment import leaf_for
from registry.transparency.merkle import leaf_hash

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from registry.provenance.ledger import Reader

_HINT = "rows were changed by hand, or the disk failed: restore a backup"


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """What was checked; that it returns at all says that it was right.

    `unreadable` statements were erased, or no key for them is at hand: only their leaves count.
    """

    leaves: int
    checkpoints: int
    statements: int
    unreadable: int


def check_ledger(reader: Reader) -> LedgerCheck:
    """Check the whole ledger; signatures are custody's to check, with its keys.

    Raises:
        VerificationError: damaged pages, a dangling row, a leaf without statement, a statement that
            its leaf does not commit to, a checkpoint or node that the leaves do not lead to.
    """
    _check_database(reader)
    checkpoints = _check_log(reader)
    statements = _check_statements(reader)
    size = log_size(reader)
    return LedgerCheck(size, checkpoints, statements, unreadable=size - statements)


def is_whole(engine: Engine) -> bool:
    """Say whether SQLite finds its file undamaged (a quick look, not every index)."""
    if engine.dialect.name != "sqlite":
        return True
    try:
        with engine.connect() as connection:
            return connection.execute(text("PRAGMA quick_check(1)")).scalar() == "ok"
    except DatabaseError:
        return False  # not even its first page reads as a database


def _check_database(reader: Reader) -> None:
    if reader.session.get_bind().dialect.name != "sqlite":
        return
    answer = reader.session.execute(text("PRAGMA integrity_check")).scalars().first()
    if answer != "ok":
        raise VerificationError("the ledger's file is damaged", hint=_HINT)
    dangling = reader.session.execute(text("PRAGMA foreign_key_check")).first()
    if dangling is not None:
        raise VerificationError(f"table {dangling[0]} refers to a row that is gone", hint=_HINT)


def _check_log(reader: Reader) -> int:
    roots = {row.size: row.root for row in reader.session.scalars(select(CheckpointRow))}
    store, size = tlog.MemoryNodeStore(), 0
    for index, data in reader.session.execute(
        select(LeafRow.index, LeafRow.data).order_by(LeafRow.index)
    ):
        if index != size:
            raise VerificationError(f"the log has no leaf {size}", hint=_HINT)
        size = tlog.append(store, size, leaf_hash(data))
        _check_root(store, size, roots)
    if log_root(reader, size) != tlog.root(store, size):
        raise VerificationError("the nodes of the log do not belong to its leaves", hint=_HINT)
    if max(roots, default=0) > size:
        raise VerificationError(
            f"a checkpoint of size {max(roots)} was signed, and the log has {size} leaves",
            hint="an old copy of the database was restored: see the threat model",
        )
    return len(roots)


def _check_root(store: tlog.MemoryNodeStore, size: int, roots: dict[int, bytes]) -> None:
    expected = roots.get(size)
    if expected is not None and tlog.root(store, size) != expected:
        raise VerificationError(
            f"the first {size} leaves do not lead to the root that was signed", hint=_HINT
        )


def _check_statements(reader: Reader) -> int:
    known = set(reader.session.scalars(select(StatementRow.leaf_index)))
    missing = set(range(log_size(reader))) - known
    if missing:
        raise VerificationError(f"leaf {min(missing)} has lost its statement", hint=_HINT)
    if reader.keeper is None:
        return 0
    checked = 0
    rows = reader.session.execute(select(LeafRow.index, LeafRow.data))
    leaves = {index: data for index, data in rows}  # noqa: C416 - rows are not typed as pairs
    for stored in all_statements(reader):
        if stored.envelope.statement_digest.value != stored.digest:
            raise VerificationError(
                f"statement {stored.digest[:12]} has another digest", hint=_HINT
            )
        if leaf_for(stored.salt, stored.envelope) != leaves[stored.leaf_index]:
            raise VerificationError(
                f"leaf {stored.leaf_index} does not commit to statement {stored.digest[:12]}",
                hint=_HINT,
            )
        checked += 1
    return checked
