"""A real ledger on a real SQLite file, with keys of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from registry.provenance.columns import ColumnKeeper, new_index_key
from registry.provenance.database import create_database
from registry.provenance.ledger import Ledger
from registry.provenance.migration import upgrade
from registry.sealing.identities import X25519Identity
from tests.provenance.world import World


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database to which the real migrations were applied, once."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.sqlite"
    engine = create_database(path)
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path, migrated: bytes) -> Path:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(migrated)
    return path


@pytest.fixture
def engine(database: Path) -> Iterator[Engine]:
    engine = create_database(database)
    yield engine
    engine.dispose()


@pytest.fixture
def identity() -> X25519Identity:
    return X25519Identity.generate()


@pytest.fixture
def index_key() -> bytes:
    return new_index_key()


@pytest.fixture
def keeper(identity: X25519Identity, index_key: bytes) -> ColumnKeeper:
    return ColumnKeeper(identity.recipient(), index_key, [identity])


@pytest.fixture
def ledger(engine: Engine, keeper: ColumnKeeper) -> Ledger:
    return Ledger(engine, keeper)


@pytest.fixture
def world(ledger: Ledger) -> World:
    return World(ledger)
