"""One audit worker per device: an audit goes to the first device that is free, in the order of the settings.

Pools serve daemons, which run beside trainers, so their workers give way (`priority.py`).
A worker that died is started again by its next audit, so a device that fails once is not lost.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from registry.audits.runner import AuditWorker, WorkerOptions
from registry.errors import LorasealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from registry.audits.control import Message
    from registry.audits.listening import Heard
    from registry.audits.task import AuditLimits, AuditRun, AuditTask


class AuditPool:
    """Audit workers, one per device name (`cpu`, `cuda`, `cuda:1`). Safe to call from several threads.

    Raises:
        UsageError: no device, or one that is named twice.
    """

    def __init__(self, devices: Sequence[str], *, plugins: Sequence[str] = ()) -> None:
        if not devices or len(set(devices)) != len(devices):
            raise UsageError("audits need one or more devices, each named once")
        self._workers = tuple(
            AuditWorker(WorkerOptions(device, tuple(plugins), gives_way=True)) for device in devices
        )
        self._free = list(self._workers)
        self._changed = threading.Condition()
        self._is_closed = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Process ids of the workers in the order of the devices, None for one that does not run."""
        return tuple(worker.pid for worker in self._workers)

    def start(self) -> None:
        """Start every worker that does not run.

        Raises:
            LorasealError: one did not start.
        """
        with self._changed:
            self._is_closed = False
        for worker in self._workers:
            worker.start()

    def audit(self, task: AuditTask, limits: AuditLimits | None = None) -> AuditRun:
        """Run the audits of `task` on the first device that is free; waits for one.

        Raises:
            UsageError: an unknown rule.
            LorasealError: the worker cannot be started, or the pool was closed.
        """
        with self._lent() as worker:
            return worker.audit(task, limits)

    def hear(
        self, request: Message, descriptors: Sequence[int], limits: AuditLimits | None = None
    ) -> Heard:
        """Return the words of a child of the first worker that is free; see `AuditWorker.hear`.

        Raises:
            LorasealError: the worker cannot be started, or the pool was closed.
        """
        with self._lent() as worker:
            return worker.hear(request, descriptors, limits)

    def close(self) -> None:
        """End all workers and children; audits that run or wait come back at once."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.close()

    @contextmanager
    def _lent(self) -> Iterator[AuditWorker]:
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._is_closed)
            if self._is_closed:
                raise LorasealError("the audit workers were closed", hint="the daemon is stopping")
            worker = min(self._free, key=self._workers.index)
            self._free.remove(worker)
        try:
            yield worker
        finally:
            with self._changed:
                self._free.append(worker)
                self._changed.notify()
