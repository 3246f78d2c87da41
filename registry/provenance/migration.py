"""Schema migrations: the checkout's `alembic/`, or the same folder as packaged in an installed wheel.

Whoever changes the schema holds the daemon's lock; one transaction per call, so that a kill leaves
the old schema or the new one. Tables of the durable engine are never looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from registry.errors import LorasealError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection, Engine

VERSION_TABLE = "reg_schema_version"
TABLE_PREFIX = "reg_"
BASE = "base"

_HERE = Path(__file__).resolve().parent


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema forward; one that is current stays as it is.

    Raises:
        LorasealError: the ledger was written by a newer release.
    """
    _refuse_unknown(engine)
    _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to `revision`; `BASE` removes all our tables *and what they hold*."""
    _run(engine, "downgrade", revision)


def current_revision(engine: Engine) -> str | None:
    """Return the revision of the schema, None for a database without our tables."""
    if not inspect(engine).has_table(VERSION_TABLE):
        return None
    with engine.connect() as connection:
        found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    return None if found is None else str(found)


def head_revision() -> str:
    """Return the revision that this release works with."""
    return str(_scripts().get_current_head())


def is_current(engine: Engine) -> bool:
    """Say whether the schema is the one that this release works with."""
    return current_revision(engine) == head_revision()


def script_location() -> Path:
    """Return the folder of migrations.

    Raises:
        LorasealError: neither packaged nor beside the package.
    """
    for folder in (_HERE / "migrations", _HERE.parents[1] / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise LorasealError(
        "the migrations are not installed beside the program",
        hint="install loraseal[host] again from its wheel",
    )


def _config() -> Config:
    from alembic.config import Config  # start-up: alembic loads mako and more

    config = Config()
    # A percent sign in the path would be read as interpolation.
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _refuse_unknown(engine: Engine) -> None:
    current = current_revision(engine)
    if current is None or current in {script.revision for script in _scripts().walk_revisions()}:
        return
    raise LorasealError(
        f"the ledger has schema {current}, which this release does not know",
        hint="run the newer release that wrote it, or restore a backup from before",
    )


def _run(engine: Engine, direction: str, revision: str) -> None:
    from alembic import command

    config = _config()
    with engine.connect() as connection:
        _begin(connection)
        config.attributes["connection"] = connection
        getattr(command, direction)(config, revision)
        connection.commit()


def _begin(connection: Connection) -> None:
    # The driver would begin before the first INSERT only, and leave tables without their version.
    statement = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "SELECT 1"
    connection.execute(text(statement))
