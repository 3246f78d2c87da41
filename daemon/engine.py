"""Durable jobs on DBOS Transact: the only module that knows the engine (docs/adr/0003-engine.md).

Our signed statements and `reg_` tables are the truth; the engine's rows hold progress and may be
deleted. A job is a workflow without steps: it is at-least-once, so what it does must be idempotent,
and it ends in one transaction that writes our new state and enqueues the next job (`enqueue_in`).

The engine's default serializer is pickle, and decoding obeys each *row*: a forged row would run
code. `refuse_pickle` shuts that door; a test forges such a row.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer
from dbos import _serialization as dbos_serialization

from registry.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Engine as Database
    from sqlalchemy.orm import Session

APPLICATION = "loraseal"
# Constant, or rows of an older version would be stranded silently (facts: engine 1, Upgrade).
APPLICATION_VERSION = "loraseal-1"
EXECUTOR = "loraseal-daemon"
POLL_SECONDS = 0.2
LOCK_PAUSE_SECONDS = 0.2
DELAYED = "DELAYED"
ACTIVE_STATES = ("PENDING", "ENQUEUED", DELAYED)


@dataclass(frozen=True, slots=True)
class Job:
    """One job to run: `name:argument:ordinal` is its id, unique for ever.

    The argument is an id of ours, never a path, key or text: the engine stores it in the clear.
    """

    name: str
    argument: str
    ordinal: int = 1
    delay_seconds: float = 0.0

    @property
    def id(self) -> str:
        """The workflow id; enqueuing the same id twice runs it once."""
        return f"{self.name}:{self.argument}:{self.ordinal}"


def refuse_pickle() -> None:
    """Make the engine refuse rows that say they hold a pickle, in this process, for good."""

    def refuse(_self: object, _data: object) -> NoReturn:
        raise ValueError("a row of the engine holds a pickle, which is never loaded")

    dbos_serialization.DefaultSerializer.deserialize = refuse  # type: ignore[method-assign, assignment] # the guard


@contextlib.contextmanager
def daemon_lock(path: Path, *, pause: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Hold the one lock of the embedded daemon while the block runs.

    Two live processes with one executor id would run the same step at once (tried), so a second
    daemon is refused. Who only looks (`is_locked`) holds it for an instant, so it is tried twice.

    Raises:
        BusyError: another daemon holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _take(descriptor, fcntl.LOCK_EX):
            pause(LOCK_PAUSE_SECONDS)
            if not _take(descriptor, fcntl.LOCK_EX):
                raise BusyError(
                    "another daemon works in this state directory",
                    hint="stop it first, or look at it with: loraseal status",
                )
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a daemon holds the lock at `path` now."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Shared, so that two who look at once do not take each other for a daemon.
        return not _take(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    """Take the lock until the descriptor is closed; return whether it was free."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Outbox:
    """Enqueues jobs inside our own transactions, from the daemon or from a command line."""

    def __init__(self, database: Database, queues: Mapping[str, str]) -> None:
        refuse_pickle()
        self._queues = dict(queues)
        self._client = DBOSClient(
            system_database_engine=database, serializer=DBOSPortableJSONSerializer()
        )

    def enqueue_in(self, session: Session, job: Job) -> None:
        """Enqueue `job` in the caller's transaction; a job id in use is left as it is."""
        options: dict[str, Any] = {
            "queue_name": self._queues[job.name],
            "workflow_name": job.name,
            "workflow_id": job.id,
            "app_version": APPLICATION_VERSION,
            "application_name": APPLICATION,
        }
        if job.delay_seconds > 0:
            options["delay_seconds"] = job.delay_seconds
        self._client.enqueue_in_transaction(session, options, job.argument)  # type: ignore[arg-type] # a TypedDict built in steps

    def active_jobs(self) -> dict[str, str]:
        """Return the state of every job that is waiting, delayed or running, by id."""
        rows = self._client.list_workflows(status=list(ACTIVE_STATES), load_input=False)
        return {row.workflow_id: str(row.status) for row in rows}

    def close(self) -> None:
        """Let go of the client; the database stays open, it is not ours."""
        self._client.destroy()


class Engine:
    """Runs jobs in this process. One per process, under `daemon_lock`.

    `handlers` maps a job's name to the function that does it; `queues` maps a job's name to its
    queue; `concurrency` says how many jobs of a queue may run at once.
    """

    def __init__(
        self,
        database: Database,
        *,
        handlers: Mapping[str, Callable[[str], str]],
        queues: Mapping[str, str],
        concurrency: Mapping[str, int],
    ) -> None:
        refuse_pickle()
        self._concurrency = dict(concurrency)
        DBOS(
            config={
                "name": APPLICATION,
                "application_version": APPLICATION_VERSION,
                "executor_id": EXECUTOR,
                "system_database_engine": database,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "CRITICAL",
                "enable_otlp": False,
                "notification_listener_polling_interval_sec": 1.0,
            }
        )
        # Its tracebacks quote arguments of ours and of the system; we log what we need ourselves.
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        for name, handler in handlers.items():
            _register(name, handler)
        DBOS.listen_queues(sorted(set(queues.values())))

    def start(self) -> None:
        """Create the engine's tables if absent, take up what was running, and begin."""
        DBOS.launch()
        for queue, concurrency in self._concurrency.items():
            DBOS.register_queue(
                queue, worker_concurrency=concurrency, polling_interval_sec=POLL_SECONDS
            )

    def stop(self, *, wait_seconds: int = 10) -> None:
        """Stop taking jobs and wait a while for running ones; what is cut off runs again later."""
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=wait_seconds)


def _register(name: str, handler: Callable[[str], str]) -> None:
    # No step inside: a workflow without one runs its handler again after a kill just the same, and each
    # step would cost two more writes.
    def workflow(argument: str) -> str:
        return handler(argument)

    DBOS.workflow(name=name)(workflow)
