"""The database of the ledger: one engine for our tables and for the durable engine's own.

SQLite (WAL) on one machine; a PostgreSQL URL is taken as it is. Rules for SQLite and their reasons:
facts/engine.md sections 0.3 and 1 (docs/adr holds the decision).
"""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import DateTime, MetaData, create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.types import TypeDecorator

from registry.errors import NotFoundError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Dialect
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MILLISECONDS = 30_000
POOL_CONNECTIONS = 16
POOL_OVERFLOW_CONNECTIONS = 32
DATABASE_FILE_MODE = 0o600

# `unixepoch('subsec')` exists from this SQLite on; the durable engine takes it for granted.
_SUBSECOND_SQLITE = (3, 42, 0)

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA = MetaData(naming_convention=NAMING_CONVENTION)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its zone: aware in, UTC out (SQLite alone would give back naive ones)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return `value` in UTC; a naive moment is a caller's bug (ValueError)."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def create_database(url_or_path: str | Path) -> Engine:
    """Return an engine on a database that may be new; a SQLite file is made with mode 0600.

    The tables are not made here: call `migration.upgrade` under the daemon's lock.
    """
    url = _url(url_or_path)
    if url.get_backend_name() == "sqlite" and url.database is not None:
        # Made by us before SQLite does it, so that no other user can open it; -wal and -shm follow.
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, DATABASE_FILE_MODE))
    return _engine(url)


def open_database(url_or_path: str | Path) -> Engine:
    """Return an engine on a database that exists.

    Raises:
        NotFoundError: no such SQLite file. A missing ledger is never made silently: an empty one
            in its place would know of no revocation.
    """
    url = _url(url_or_path)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise NotFoundError(
            f"no ledger at {url.database}",
            hint="run `loraseal init`, or name the right settings with --config",
        )
    return _engine(url)


def _url(url_or_path: str | Path) -> URL:
    text = os.fspath(url_or_path)
    return make_url(text) if "://" in text else make_url("sqlite://").set(database=text)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, hide_parameters=True)
    engine = create_engine(
        url,
        pool_size=POOL_CONNECTIONS,
        max_overflow=POOL_OVERFLOW_CONNECTIONS,
        hide_parameters=True,  # error texts end in logs
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):  # pragma: no cover - we chose the driver
        raise TypeError("expected the standard library's sqlite3")
    # As the durable engine sets it on its own connections: whoever writes first takes the lock. Its
    # migrations issue BEGIN IMMEDIATE themselves, so a "begin" event may not; `ledger` does it too.
    connection.isolation_level = "IMMEDIATE"
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # What is deleted is overwritten: an erased key must not survive in a free page.
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if sqlite3.sqlite_version_info < _SUBSECOND_SQLITE:
        connection.create_function("unixepoch", -1, _unixepoch)


def _unixepoch(*arguments: object) -> float | int:
    """Stand in for SQLite's own function, for the present moment only."""
    if arguments in (("subsec",), ("now", "subsec")):
        return time.time()
    if arguments in ((), ("now",)):
        return int(time.time())
    raise ValueError("unixepoch() of another moment is not available on this SQLite")
