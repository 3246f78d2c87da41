"""The engine: jobs run once for their id, in our transactions, and a forged row runs no code."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pickletools
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine as Database
from sqlalchemy.orm import Session

from daemon.engine import Engine, Job, Outbox, daemon_lock, is_locked, refuse_pickle
from registry.errors import BusyError
from registry.provenance.database import create_database

QUEUES = {"count": "q", "other": "q"}
DEADLINE_SECONDS = 30

pytestmark = pytest.mark.xdist_group("engine")


class Counter:
    """A handler that remembers its arguments, and tells when it has seen as many as expected."""

    def __init__(self, expected: int) -> None:
        self.seen: list[str] = []
        self._expected = expected
        self._lock = threading.Lock()
        self.done = threading.Event()

    def __call__(self, argument: str) -> str:
        with self._lock:
            self.seen.append(argument)
            if len(self.seen) >= self._expected:
                self.done.set()
        return "done"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    engine = create_database(tmp_path / "engine.sqlite")
    yield engine  # type: ignore[misc] # a fixture
    engine.dispose()


def started(database: Database, counter: Counter) -> Engine:
    engine = Engine(
        database, handlers={"count": counter, "other": counter}, queues=QUEUES, concurrency={"q": 2}
    )
    engine.start()
    return engine


def test_second_daemon_on_one_lock_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    with daemon_lock(lock):
        assert is_locked(lock)
        with pytest.raises(BusyError, match="another daemon"), daemon_lock(lock):
            raise AssertionError("held twice")
    assert not is_locked(lock)


def test_who_only_looks_at_the_lock_is_not_taken_for_a_daemon(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    looking = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not is_locked(lock)
    with daemon_lock(lock, pause=lambda _: os.close(looking)):
        assert is_locked(lock)


def test_job_enqueued_in_a_transaction_that_fails_never_runs(database: Database) -> None:
    counter = Counter(1)
    engine = started(database, counter)
    outbox = Outbox(database, QUEUES)
    try:
        with Session(database) as session:
            outbox.enqueue_in(session, Job("count", "lost"))
            session.rollback()
        with Session(database) as session, session.begin():
            outbox.enqueue_in(session, Job("count", "kept"))
        assert counter.done.wait(DEADLINE_SECONDS)
        assert counter.seen == ["kept"]
    finally:
        outbox.close()
        engine.stop(wait_seconds=5)


def test_job_id_runs_once_however_often_it_is_enqueued(database: Database) -> None:
    counter = Counter(2)
    engine = started(database, counter)
    outbox = Outbox(database, QUEUES)
    try:
        for argument in ("same", "same", "same", "last"):
            with Session(database) as session, session.begin():
                outbox.enqueue_in(session, Job("count", argument))
        assert counter.done.wait(DEADLINE_SECONDS)
        assert sorted(counter.seen) == ["last", "same"]
    finally:
        outbox.close()
        engine.stop(wait_seconds=5)


def test_delayed_job_is_active_and_does_not_run(database: Database) -> None:
    counter = Counter(1)
    engine = started(database, counter)
    outbox = Outbox(database, QUEUES)
    try:
        with Session(database) as session, session.begin():
            outbox.enqueue_in(session, Job("other", "late", delay_seconds=3600))
            outbox.enqueue_in(session, Job("count", "now"))
        assert counter.done.wait(DEADLINE_SECONDS)
        assert outbox.active_jobs()["other:late:1"] == "DELAYED"
        assert counter.seen == ["now"]
    finally:
        outbox.close()
        engine.stop(wait_seconds=5)


def test_forged_row_with_a_pickle_runs_no_code(database: Database, tmp_path: Path) -> None:
    """Decoding obeys the row's own `serialization` column, whatever serializer is configured."""
    mark = tmp_path / "ran"
    # os.mkdir(mark) as a pickle, written by hand: cos, mkdir, (path,), REDUCE.
    forged = b"cos\nmkdir\n(V" + str(mark).encode() + b"\ntR."
    pickletools.dis(forged, out=io.StringIO())
    counter = Counter(1)
    engine = started(database, counter)
    outbox = Outbox(database, QUEUES)
    try:
        with Session(database) as session, session.begin():
            outbox.enqueue_in(session, Job("other", "forged", delay_seconds=3600))
        with database.begin() as connection:
            forge = {"value": base64.b64encode(forged).decode(), "id": "other:forged:1"}
            connection.execute(
                text("update workflow_input set inputs=:value where workflow_uuid=:id"), forge
            )
            connection.execute(
                text(
                    "update workflow_status set serialization='py_pickle', status='ENQUEUED' "
                    "where workflow_uuid=:id"
                ),
                {"id": forge["id"]},
            )
        with Session(database) as session, session.begin():
            outbox.enqueue_in(session, Job("count", "after"))
        assert counter.done.wait(DEADLINE_SECONDS)
        assert not mark.exists()
        assert "forged" not in counter.seen
    finally:
        outbox.close()
        engine.stop(wait_seconds=5)


def test_the_door_that_is_shut_was_open(tmp_path: Path) -> None:
    """The forged value does run code under the engine's own decoder, so the test above can fail."""
    mark = tmp_path / "ran"
    forged = b"cos\nmkdir\n(V" + str(mark).encode() + b"\ntR."
    code = (
        "import base64; from dbos._serialization import DefaultSerializer; "
        f"DefaultSerializer().deserialize({base64.b64encode(forged).decode()!r})"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert mark.exists()


def test_refusal_of_pickles_is_in_force_in_this_process() -> None:
    from dbos._serialization import DefaultSerializer

    refuse_pickle()
    with pytest.raises(ValueError, match="never loaded"):
        DefaultSerializer().deserialize("gASVAAAA")
