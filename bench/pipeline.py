"""What the recorded pipeline costs per artifact: watch, intake, statements, log, delivery, engine.

    python -m bench.pipeline [--artifacts N] [--single N] [--folder DIR]

The real service in this process, on a real folder with the folder channel. Audits are excluded: in their
place stands one that passes everything at once. Sealing and writing are *in*, on adapters of 14 KB, so the
figures are an upper bound of the overhead (DESIGN section 8: at most 100 ms). `each` is wall clock over
all artifacts at once, `CPU` this process's own, `alone` the median from a file's settling to its sending.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import daemon.service
from daemon.settings import load_settings
from registry.audits.task import AuditLimits, AuditRun, AuditTask
from registry.formats.findings import AuditReport, Coverage, Verdict

if TYPE_CHECKING:
    from tests.daemon.registry_on_disk import Registry

TARGET_MILLISECONDS = 100.0
SETTLE_SECONDS = 0.1
_POLL_SECONDS = 0.01


class InstantAudits:
    """Stands where the audit worker would: passes every rule, so that audits cost nothing here."""

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
    alone: float


def measure(registry: Registry, artifacts: int, single: int) -> Figures:
    """Bring `artifacts` through at once, then `single` ones one after the other."""
    from tests.daemon.registry_on_disk import write_adapter

    for number in range(artifacts):
        write_adapter(registry.watched / f"batch-{number:05}.safetensors")
    time.sleep(SETTLE_SECONDS)
    settings, paths = load_settings(registry.settings)
    with (
        daemon.service.open_service(settings, paths) as service,
        contextlib.closing(sqlite3.connect(paths.database)) as database,
    ):
        threading.Thread(target=service.run, daemon=True).start()
        wall, cpu = time.perf_counter(), time.process_time()
        _wait_for(database, artifacts)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        alone = []
        for number in range(single):
            write_adapter(registry.watched / f"single-{number:05}.safetensors")
            begun = time.perf_counter() + SETTLE_SECONDS
            _wait_for(database, artifacts + number + 1)
            alone.append(time.perf_counter() - begun)
        service.stop()
    return Figures(wall * 1000 / artifacts, cpu * 1000 / artifacts, statistics.median(alone) * 1000)


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

    vars(daemon.service)["AuditWorker"] = InstantAudits  # audits are excluded here
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(make_registry(Path(folder) / "r"), options.artifacts, options.single)
    print("| milliseconds per artifact | measured | target |\n|---|---|---|")
    print(
        f"| each, of {options.artifacts} at once | {found.each:.0f} | {TARGET_MILLISECONDS:.0f} |"
    )
    print(f"| CPU of the daemon | {found.cpu:.0f} | |")
    print(f"| alone, settled to sent | {found.alone:.0f} | |")
    row = {"bench": "pipeline", "each_ms": found.each, "cpu_ms": found.cpu, "alone_ms": found.alone}
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
