"""Several workers: the first that is free takes an audit, one that died comes back, closing wakes all."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from registry.audits.pool import AuditPool
from registry.audits.runner import AuditWorker, WorkerOptions
from registry.audits.task import AuditLimits, AuditTask, DeathCause
from registry.errors import LorasealError, UsageError
from registry.formats.findings import Verdict
from tests.audits.test_runner import EVIL, _await_child, payload, plugins  # noqa: F401 - fixtures

# Two names for two workers: what they are asked for here needs no device.
DEVICES = ("cpu", "cpu:1")  # torch takes any number: two workers on a machine without GPU


@pytest.mark.parametrize("devices", [(), ("cpu", "cpu")])
def test_a_pool_needs_devices_each_named_once(devices):
    with pytest.raises(UsageError):
        AuditPool(devices)


def _task(descriptor, rule):
    return AuditTask(descriptor, rules=(rule,))


def test_an_audit_goes_to_a_worker_that_is_free(plugins, payload):  # noqa: F811 - fixtures
    with AuditPool(DEVICES, plugins=EVIL) as pool:
        slow, waiting = [], []
        threads = [_started(slow, pool, payload), _started(slow, pool, payload)]
        children = [_await_child(pid) for pid in pool.pids]
        # Both are taken: one that is killed makes room for what waits.
        late = _started(waiting, pool, payload, "fine")
        os.kill(pool.pids[1], signal.SIGKILL)
        late.join(timeout=60)
        assert [run.verdict for run in waiting] == [Verdict.PASS]
        assert [run.death.cause for run in slow] == [DeathCause.WORKER]
        late = _started(waiting, pool, payload, "fine")
        late.join(timeout=60)
        assert [run.verdict for run in waiting] == [Verdict.PASS] * 2
        pool.close()
        for thread in threads:
            thread.join(timeout=60)
        assert [run.death.cause for run in slow] == [DeathCause.WORKER] * 2
        with pytest.raises(LorasealError, match="closed"):
            pool.audit(_task(payload, "fine"))
        for child in children:
            os.close(child)


def test_closing_wakes_what_waits_for_a_worker(plugins, payload):  # noqa: F811 - fixtures
    pool = AuditPool(["cpu"], plugins=EVIL)
    pool.start()
    slow, failures = [], []
    running = _started(slow, pool, payload)
    os.close(_await_child(pool.pids[0]))

    def wait():
        try:
            pool.audit(_task(payload, "fine"))
        except LorasealError as error:
            failures.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    pool.close()
    waiting.join(timeout=60)
    running.join(timeout=60)
    assert len(slow) == len(failures) == 1
    assert "closed" in failures[0]


def _started(runs, pool, descriptor, rule="sleeps"):
    """Audit in a thread of its own; what comes back is put into `runs`."""
    limits = AuditLimits(wall_seconds=120)
    thread = threading.Thread(
        target=lambda: runs.append(pool.audit(_task(descriptor, rule), limits))
    )
    thread.start()
    return thread


@pytest.mark.parametrize("gives_way", [True, False])
def test_workers_give_way_unless_told_otherwise(plugins, payload, gives_way):  # noqa: F811 - fixtures
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with AuditWorker(WorkerOptions(plugins=EVIL, gives_way=gives_way)) as worker:
        run = worker.audit(_task(payload, "fine"))
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == (max(10, ours) if gives_way else ours)
        assert os.getsid(worker.pid) == worker.pid
    assert dict(run.confinement)["priority"].startswith("nice 1" if gives_way else "normal")


def test_a_digest_comes_from_the_child_where_it_was_asked_for(payload):  # noqa: F811 - fixture
    pytest.importorskip("torch")
    with AuditWorker() as worker:
        steady = AuditTask(payload, rules=("spectrum",), deterministic=True)
        runs = [
            worker.audit(steady, AuditLimits(threads=threads)).reports[0].metrics
            for threads in (1, 2)
        ]
        plain = worker.audit(AuditTask(payload, rules=("spectrum",))).reports[0].metrics
    digests = {dict(metrics)["spectrum digest"] for metrics in runs}
    assert len(digests) == 1
    assert "spectrum digest" not in dict(plain)


def test_a_gpu_that_is_not_there_is_told_before_any_payload_is_read():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    worker = AuditWorker(WorkerOptions("cuda"))
    with pytest.raises(UsageError, match="sees no GPU"):
        worker.start()
    assert worker.pid is None
