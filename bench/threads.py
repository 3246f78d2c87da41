"""One thread or two for an audit in its child: the whole way from sealed memory to sketch and reports.

python -m bench.threads [--rounds 9]

Interleaved in one run. Of many small matrices a second thread mostly waits: torch hands out work of a few
hundred microseconds, and workers are told not to spin while they wait (they would take the cores that a
training job needs).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

from bench.spectra import FAMILIES, adapter
from registry.audits.details import Wanted
from registry.audits.runner import AuditWorker
from registry.audits.sealed_memory import seal_memory
from registry.audits.task import AuditLimits, AuditTask, Lent

CONDITION = 100.0
THREADS = (1, 2)
KEY = bytes(32)
WANTED = frozenset({Wanted.FEATURES, Wanted.SKETCH})


def measure(family: str, rounds: int) -> dict[int, list[float]]:
    """Return the seconds of each audit, by threads."""
    seconds: dict[int, list[float]] = {threads: [] for threads in THREADS}
    payload = seal_memory([adapter(family, CONDITION)])
    task = AuditTask(payload, lent=Lent(sketch_key=KEY), wanted=WANTED)
    try:
        with AuditWorker() as worker:
            for _ in range(rounds):
                for threads in THREADS:
                    start = time.perf_counter()
                    run = worker.audit(task, AuditLimits(threads=threads))
                    seconds[threads].append(time.perf_counter() - start)
                    if run.death is not None:
                        raise SystemExit(f"the audit died: {run.death.detail}")
    finally:
        os.close(payload)
    return seconds


def main() -> None:
    """Print a row for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    found = {family: measure(family, rounds) for family in FAMILIES}
    print("| adapter | 1 thread | 2 threads | ratio |\n|---|---|---|---|")
    for family, seconds in found.items():
        one, two = (statistics.median(seconds[threads]) for threads in THREADS)
        print(f"| {family} | {one:.3f} s | {two:.3f} s | {two / one:.2f} |")
    print(json.dumps({"bench": "threads", "seconds": found}))


if __name__ == "__main__":
    main()
