from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from registry.errors import BusyError, LorasealError, NotFoundError
from registry.provenance.check import is_whole
from registry.provenance.database import (
    UtcDateTime,
    _unixepoch,
    create_database,
    open_database,
)
from registry.provenance.events import Heartbeat, beat, heartbeats
from registry.provenance.ledger import Ledger
from tests.provenance.world import NOW


def test_missing_ledger_is_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with pytest.raises(NotFoundError, match="no ledger at") as caught:
        open_database(path)
    assert caught.value.hint is not None
    assert "loraseal init" in caught.value.hint
    assert not path.exists()


def test_ledger_without_tables_says_so(tmp_path: Path) -> None:
    engine = create_database(tmp_path / "ledger.sqlite")
    with (
        pytest.raises(LorasealError, match="has no tables yet"),
        Ledger(engine).reading() as reader,
    ):
        heartbeats(reader)
    engine.dispose()


def test_damaged_file_says_so_without_quoting_sql(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database at all, it only has the name of one" * 100)
    engine = open_database(path)
    with pytest.raises(LorasealError, match="file is damaged") as caught, Ledger(engine).reading():
        pass
    assert "SELECT" not in str(caught.value)
    assert not is_whole(engine)
    engine.dispose()


def test_ledger_that_cannot_be_opened_says_whose_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    engine = create_database(folder / "ledger.sqlite")
    (folder / "ledger.sqlite").unlink()
    folder.rmdir()
    with pytest.raises(LorasealError, match="cannot be opened"), Ledger(engine).transaction():
        pass
    engine.dispose()


def test_error_of_the_callers_own_sql_is_not_explained_away(engine: Engine) -> None:
    with (
        pytest.raises(OperationalError, match="no such column"),
        Ledger(engine).transaction() as tx,
    ):
        tx.session.execute(text("SELECT no_such FROM reg_meta"))


def test_error_texts_do_not_quote_values(engine: Engine) -> None:
    def clash() -> None:
        with Ledger(engine).transaction() as tx:
            for _ in range(2):
                row = {"key": "Li Wei", "value": b"+15550001"}
                tx.session.execute(text("INSERT INTO reg_meta VALUES (:key, :value)"), row)

    with pytest.raises(IntegrityError) as caught:
        clash()
    assert "Li Wei" not in str(caught.value)
    assert "+1555" not in str(caught.value)


def test_flipped_pages_are_not_whole(engine: Engine, database: Path) -> None:
    assert is_whole(engine)
    engine.dispose()
    data = bytearray(database.read_bytes())
    for page in range(4096 * 3, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    database.write_bytes(bytes(data))
    assert not is_whole(engine)


def test_writer_that_cannot_get_the_lock_says_busy(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def impatient(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=1")

    ledger = Ledger(engine)
    with (
        ledger.transaction(),
        pytest.raises(BusyError, match="ledger is busy"),
        ledger.transaction(),
    ):
        pass


def test_reader_is_not_stopped_by_a_writer(engine: Engine) -> None:
    ledger = Ledger(engine)
    with ledger.transaction() as tx:
        beat(tx, Heartbeat("one", "watch", NOW))
        with ledger.reading() as reader:
            assert heartbeats(reader) == ()


def test_failed_transaction_leaves_nothing(engine: Engine) -> None:
    ledger = Ledger(engine)

    def killed() -> None:
        with ledger.transaction() as tx:
            beat(tx, Heartbeat("one", "watch", NOW))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    with ledger.reading() as reader:
        assert heartbeats(reader) == ()


def test_file_is_for_its_owner_only_and_so_are_its_companions(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    engine = create_database(path)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE reg_x (a INTEGER)"))
        modes = {item.name: item.stat().st_mode & 0o777 for item in tmp_path.iterdir()}
    engine.dispose()
    assert modes == dict.fromkeys(
        ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600
    )


def test_rules_of_sqlite_hold_on_every_connection(engine: Engine) -> None:
    for _ in range(2):
        with engine.connect() as connection:
            found = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
            }
            timeout = connection.execute(text("PRAGMA busy_timeout")).scalar()
        engine.dispose()
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "secure_delete": 1,
        }
        assert timeout == 30_000


def test_unixepoch_gives_parts_of_a_second_on_every_sqlite(engine: Engine) -> None:
    with engine.connect() as connection:
        before = time.time()
        found = connection.execute(text("SELECT unixepoch('subsec') * 1000")).scalar_one()
        after = time.time()
        whole = connection.execute(text("SELECT unixepoch()")).scalar_one()
    assert before * 1000 - 1 <= found <= after * 1000 + 1
    assert isinstance(whole, int)


def test_unixepoch_of_another_moment_is_refused_where_it_is_a_stand_in() -> None:
    assert isinstance(_unixepoch("now"), int)
    with pytest.raises(ValueError, match="another moment"):
        _unixepoch("2026-11-21")


def test_fleet_database_is_taken_by_its_url() -> None:
    engine = open_database("postgresql+psycopg://nobody@localhost/nothing")
    assert engine.dialect.name == "postgresql"
    engine.dispose()


def test_moment_without_zone_is_refused() -> None:
    assert UtcDateTime().process_bind_param(None, None) is None  # type: ignore[arg-type]
    naive = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(ValueError, match="without a time zone"):
        UtcDateTime().process_bind_param(naive, None)  # type: ignore[arg-type]


def test_moments_come_back_in_utc(engine: Engine) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=8)))
    ledger = Ledger(engine)
    with ledger.transaction() as tx:
        beat(tx, Heartbeat("one", "watch", elsewhere))
    with ledger.reading() as reader:
        (found,) = heartbeats(reader)
    assert found.beat_at == NOW
    assert found.beat_at.tzinfo is UTC


def test_older_beat_does_not_overwrite_a_newer_one(engine: Engine) -> None:
    ledger = Ledger(engine)
    with ledger.transaction() as tx:
        beat(tx, Heartbeat("one", "watch", NOW))
        beat(tx, Heartbeat("one", "watch", NOW - timedelta(minutes=1)))
    with ledger.reading() as reader:
        assert heartbeats(reader) == (Heartbeat("one", "watch", NOW),)
