from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from registry.errors import LorasealError
from registry.provenance import migration
from registry.provenance.columns import ColumnKeeper
from registry.provenance.database import create_database
from registry.provenance.ledger import Ledger
from tests.provenance.world import World


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    engine = create_database(tmp_path / "empty.sqlite")
    yield engine
    engine.dispose()


def ours(engine: Engine) -> set[str]:
    names = set(inspect(engine).get_table_names())
    return {name for name in names if name.startswith("reg_")} - {migration.VERSION_TABLE}


def test_ledger_of_a_newer_release_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE reg_schema_version SET version_num = '9999'"))
    assert not migration.is_current(engine)
    with pytest.raises(LorasealError, match="schema 9999, which this release does not know"):
        migration.upgrade(engine)


def test_migration_that_fails_half_way_leaves_the_old_schema(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE reg_parcel (in_the_way INTEGER)"))
    with pytest.raises(OperationalError, match="reg_parcel already exists"):
        migration.upgrade(empty)
    assert ours(empty) == {"reg_parcel"}
    assert migration.current_revision(empty) is None


def test_missing_migrations_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "_HERE", tmp_path / "a" / "b")
    with pytest.raises(LorasealError, match="migrations are not installed") as caught:
        migration.script_location()
    assert caught.value.hint == "install loraseal[host] again from its wheel"


def test_upgrade_twice_changes_nothing(engine: Engine) -> None:
    before = ours(engine)
    migration.upgrade(engine)
    assert ours(engine) == before
    assert migration.is_current(engine)


def test_up_down_up_on_data_leaves_the_engines_tables_alone(
    engine: Engine, keeper: ColumnKeeper
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE workflow_status (id TEXT)"))
        connection.execute(text("INSERT INTO workflow_status VALUES ('intake:1')"))
    world = World(Ledger(engine, keeper))
    artifact = world.artifact("kiki.safetensors")
    world.audit(artifact)
    world.prepared(artifact, world.recipient("Li"))
    migration.downgrade(engine, "0001")
    assert "reg_artifact" in ours(engine)
    assert "reg_delivery" not in ours(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM reg_artifact")).scalar() == 1
    migration.downgrade(engine, migration.BASE)
    assert ours(engine) == set()
    migration.upgrade(engine)
    assert World(Ledger(engine, keeper)).artifact("kiki.safetensors") == artifact
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id FROM workflow_status")).scalars().all()
    assert rows == ["intake:1"]


def test_models_are_what_the_migrations_make(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(migration.script_location()))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_column_that_no_migration_makes_is_noticed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE reg_artifact ADD COLUMN stray TEXT"))
    config = Config()
    config.set_main_option("script_location", str(migration.script_location()))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(CommandError, match="stray"):
            command.check(config)


@pytest.mark.parametrize("table", ["reg_log_leaf", "reg_log_node"])
@pytest.mark.parametrize("change", ["UPDATE {} SET 'index' = 7", "DELETE FROM {}"])
def test_log_refuses_changes_even_by_hand(
    world: World, engine: Engine, table: str, change: str
) -> None:
    world.statement("a", artifact_id=world.artifact("kiki.safetensors"))
    with (
        engine.connect() as connection,
        pytest.raises(Exception, match="the log is append-only"),
    ):
        connection.execute(text(change.format(table)))
