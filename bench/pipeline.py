"""What the recorded pipeline costs per artifact: watch, statements, log, ledger, engine.

    python -m bench.pipeline [--artifacts N] [--single N] [--folder DIR]

The real service in this process, on a real folder with the folder channel. DESIGN section 8 asks for at
most 100 ms per artifact, work excluded. Work is what the artifact itself asks for: inspecting, hashing and
sealing it, opening it for the audits, wrapping and copying what is delivered (`WORK`); its processor time
is measured and taken off. The audits are replaced by one that passes everything at once. Signing,
verifying, logging, recording and the engine are the overhead.

`each` is wall clock over all artifacts at once, `CPU` this process's own, `overhead` CPU without work,
`alone` the median from a file's settling to its sending, most of which is waiting for the next poll.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import pkgutil
import sqlite3
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import daemon.service
from daemon.settings import load_settings
from registry.audits.task import AuditLimits, AuditRun, AuditTask
from registry.formats.findings import AuditReport, Coverage, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.daemon.registry_on_disk import Registry

TARGET_MILLISECONDS = 100.0
SETTLE_SECONDS = 0.1
_POLL_SECONDS = 0.01


WORK = (
    "daemon.pipeline.intake_step.inspect_path",
    "daemon.pipeline.intake_step.take_in",
    "daemon.pipeline.intake_step.inspect_glimpses",
    "daemon.custody.opening.seal_memory",
    "daemon.custody.deliveries.file_key_of",
    "daemon.custody.deliveries.wrap_header",
    "daemon.pipeline.shipping._write_sealed",
    "signal_bridge.folder.FolderChannel.send",
)


class Work:
    """Sums the processor time that the functions of `WORK` take, whichever thread they run in."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        for name in WORK:
            owner, function = pkgutil.resolve_name(name.rpartition(".")[0]), name.rpartition(".")[2]
            setattr(owner, function, self._timed(getattr(owner, function)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                with self._lock:
                    self.seconds += time.thread_time() - begun

        return timed


class InstantAudits:
    """Stands where the audit workers would: passes every rule, so that audits cost nothing here."""

    def __init__(self, _options: object) -> None:
        pass

    def audit(self, task: AuditTask, _limits: AuditLimits) -> AuditRun:
        """Return a pass for each rule."""
        reports = (
            AuditReport(
                rule, "0", Verdict.PASS, Coverage(1, 1, "files"), "not run", supplier="bench"
            )
            for rule in task.rules
        )
        return AuditRun(tuple(reports))

    def close(self) -> None:
        """There is nothing to end."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds per artifact."""

    each: float
    cpu: float
    work: float
    alone: float


def measure(registry: Registry, artifacts: int, single: int) -> Figures:
    """Bring `artifacts` through at once, then `single` ones one after the other."""
    from tests.daemon.registry_on_disk import write_adapter

    work = Work()
    for number in range(artifacts):
        write_adapter(registry.watched / f"batch-{number:05}.safetensors")
    time.sleep(SETTLE_SECONDS)
    settings, paths = load_settings(registry.settings)
    with (
        daemon.service.open_service(settings, paths) as service,
        contextlib.closing(sqlite3.connect(paths.database)) as database,
    ):
        threading.Thread(target=service.run, daemon=True).start()
        wall, cpu, before = time.perf_counter(), time.process_time(), work.seconds
        _wait_for(database, artifacts)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        worked = work.seconds - before
        alone = []
        for number in range(single):
            write_adapter(registry.watched / f"single-{number:05}.safetensors")
            begun = time.perf_counter() + SETTLE_SECONDS
            _wait_for(database, artifacts + number + 1)
            alone.append(time.perf_counter() - begun)
        service.stop()
    each = [seconds * 1000 / artifacts for seconds in (wall, cpu, worked)]
    return Figures(*each, alone=statistics.median(alone) * 1000)


def _wait_for(database: sqlite3.Connection, count: int) -> None:
    while True:
        states = dict(database.execute("SELECT state, count(*) FROM reg_delivery GROUP BY state"))
        if states.get("sent", 0) >= count:
            return
        if database.execute("SELECT 1 FROM reg_artifact WHERE state = 'held'").fetchone():
            raise SystemExit("an artifact was held: the bench no longer measures the whole path")
        time.sleep(_POLL_SECONDS)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=100)
    parser.add_argument("--single", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    options = parser.parse_args()
    from tests.daemon.registry_on_disk import make_registry

    vars(daemon.service)["AuditPool"] = InstantAudits  # audits are excluded here
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(make_registry(Path(folder) / "r"), options.artifacts, options.single)
    print("| milliseconds per artifact | measured | target |\n|---|---|---|")
    overhead = found.cpu - found.work
    print(f"| each, of {options.artifacts} at once | {found.each:.0f} | |")
    print(f"| CPU of the daemon | {found.cpu:.0f} | |")
    print(f"| of which work | {found.work:.0f} | |")
    print(f"| overhead | {overhead:.0f} | {TARGET_MILLISECONDS:.0f} |")
    print(f"| alone, settled to sent | {found.alone:.0f} | |")
    row = {"bench": "pipeline", "each_ms": found.each, "cpu_ms": found.cpu}
    row |= {"work_ms": found.work, "overhead_ms": overhead, "alone_ms": found.alone}
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
