"""The ledger: what writes to the database does so in one of its transactions, or not at all.

Writers are functions of a `Transaction` (candidates, artifacts, verdicts, statements, recipients,
deliveries, parcels, revocations, lineage, events); readers take any `Reader`. A step may be run again after
a kill at any instant, so each writer is idempotent or a compare-and-set.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from registry.errors import BusyError, LorasealError
from registry.provenance import (  # noqa: F401 - foreign keys name their tables
    models_delivery,
    models_fingerprint,
    models_log,
)
from registry.provenance.database import BUSY_TIMEOUT_MILLISECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from registry.provenance.columns import ColumnKeeper


RECENT_ROWS = 256


class Reader(Protocol):
    """What a query needs: a session in a transaction, and who opens sealed columns, if anyone."""

    @property
    def session(self) -> Session:
        """The session; its rows never leave `provenance`."""
        ...

    @property
    def keeper(self) -> ColumnKeeper | None:
        """Opens sealed columns; without it they read as None."""
        ...


@dataclass(frozen=True, slots=True)
class Transaction:
    """A write transaction: committed when the block ends, rolled back when it raises.

    `session` may be handed to the durable engine, so that what it enqueues commits with our rows.
    """

    session: Session
    keeper: ColumnKeeper | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A read transaction: one state of the whole ledger, whatever others write meanwhile."""

    session: Session
    keeper: ColumnKeeper | None


class _Session(Session):
    """A session of one transaction that does not forget what it has just read.

    SQLAlchemy holds rows weakly: a row that is dropped is asked for again the next moment. A step asks
    for the same few rows some hundred times; the last ones are held here, and not a whole table.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, expire_on_commit=False)
        self.recent: deque[object] = deque(maxlen=RECENT_ROWS)


@event.listens_for(_Session, "loaded_as_persistent")
@event.listens_for(_Session, "pending_to_persistent")
def _hold(session: _Session, row: object) -> None:
    session.recent.append(row)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The provenance database. `keeper` is None where personal columns are not to be read."""

    engine: Engine
    keeper: ColumnKeeper | None = None
    # Threads of one process queue here: SQLite lets who waits for its lock sleep, longer each time
    # and in no order, so that it is free for most of the time while many want it.
    _turn: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Yield a write transaction that holds the write lock from its start.

        Raises:
            BusyError: another writer held the lock for longer than the busy timeout.
            LorasealError: the disk is full, or the file is damaged or read-only.
        """
        with (
            explained(),
            self._taking_turns(),
            _Session(self.engine) as session,
            session.begin(),
        ):
            # Before the first read: a compare-and-set that reads outside the lock is none.
            self._begin(session, "BEGIN IMMEDIATE")
            yield Transaction(session, self.keeper)

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """Yield a snapshot; nothing that it does is kept."""
        with explained(), _Session(self.engine) as session:
            self._begin(session, "BEGIN")
            yield Snapshot(session, self.keeper)
            session.rollback()

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_MILLISECONDS / 1000):
            raise BusyError("the ledger is busy", hint="try again; see `loraseal status`")
        try:
            yield
        finally:
            self._turn.release()

    def _begin(self, session: Session, statement: str) -> None:
        if self.engine.dialect.name == "sqlite":
            session.connection().exec_driver_sql(statement)


_CAUSES = (
    (("locked", "busy"), BusyError, "the ledger is busy", "try again; see `loraseal status`"),
    (("full",), LorasealError, "no space left for the ledger", "free disk space; nothing was half-written"),
    (("readonly", "read-only"), LorasealError, "the ledger cannot be written", "check owner and mode of the state folder"),
    (("malformed", "not a database"), LorasealError, "the ledger's file is damaged", "restore a backup, then `loraseal fsck`"),
    (("unable to open",), LorasealError, "the ledger cannot be opened", "run this as the user that owns the state folder"),
    (("no such table",), LorasealError, "the ledger has no tables yet", "run `loraseal init` or start the daemon once"),
)  # fmt: skip


@contextmanager
def explained() -> Iterator[None]:
    """Say in our words, and without parameters, what the database cannot do in this block.

    Raises:
        BusyError, LorasealError: as `Ledger.transaction`; any other error passes as it is.
    """
    try:
        yield
    except DatabaseError as error:
        # SQLAlchemy's own text quotes parameters, which may be private: only the driver's is read.
        cause = str(error.orig).lower()
        for words, kind, message, hint in _CAUSES:
            if any(word in cause for word in words):
                raise kind(message, hint=hint) from None
        raise
