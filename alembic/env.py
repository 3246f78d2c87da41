"""Alembic's environment: runs on the connection that `registry.provenance.migration` hands over.

By hand, for `alembic revision --autogenerate` and `alembic check`:
`alembic -x database=PATH_OR_URL check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alembic import context

from registry.errors import UsageError
from registry.provenance import models_delivery, models_log  # noqa: F401 - all tables are known
from registry.provenance.database import UtcDateTime, create_database
from registry.provenance.migration import TABLE_PREFIX, VERSION_TABLE
from registry.provenance.models import Base

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


def is_ours(name: str | None, kind: str, _parents: Mapping[str, str | None]) -> bool:
    """Say whether a thing in the database is ours: tables of the durable engine are not."""
    return kind != "table" or (name is not None and name.startswith(TABLE_PREFIX))


def render_plainly(kind: str, thing: object, _context: object) -> str | Literal[False]:
    """Write our own column types as SQLAlchemy's: a migration must not change when our code does."""
    if kind == "type" and isinstance(thing, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_name=is_ours,
        render_item=render_plainly,
        render_as_batch=True,
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_by_hand() -> None:
    database = context.get_x_argument(as_dictionary=True).get("database")
    if not isinstance(database, str):
        raise UsageError("no database named", hint="alembic -x database=PATH_OR_URL ...")
    with create_database(database).connect() as connection:
        migrate(connection)
        connection.commit()


if context.is_offline_mode():
    raise UsageError("SQL scripts are not written: migrations run on a database only")
given = context.config.attributes.get("connection")
if given is None:
    migrate_by_hand()
else:
    migrate(given)
