"""Very many damaged inputs for one parser: only our error may come out, or a value that keeps its promises.

Usage: python -m bench.mutants --parser safetensors [--count N] [--seed S] [--only NUMBER] [--text]

Prints JSON of schema `loraseal/bench-mutants.v1`; exit 1 if a promise was broken. A mutant is named by
seed and number, whatever the number of processes: `--only` shows one again. What is promised stands in
`bench.fuzz.target` and in each target.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.fuzz.dice import Dice
from bench.fuzz.target import ACCEPTED, Target, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "loraseal/bench-mutants.v1"
PARSERS = {
    "safetensors": "bench.fuzz.safetensors_header",
    "adapter-config": "bench.fuzz.adapter_config",
    "gguf": "bench.fuzz.gguf_header",
}
SLICE = 10_000
# Every process may use so much beyond what it has at its start; of one mutant in so many the memory is
# traced, which is exact and costs more than the parse.
_MEMORY_BYTES = 96 * 1024 * 1024
TRACED = 8
# A net below the counted bounds: a process that hangs in one call is ended by the system.
_CPU_SECONDS = 3600
_MOST_FINDINGS = 20
_MOST_REASONS = 60
_BROKEN = "a promise was broken"


@dataclass(slots=True)
class Tally:
    """What came of some mutants: by reason, the greatest costs, and broken promises (number, words)."""

    reasons: Counter[str] = field(default_factory=Counter)
    most_calls: int = 0
    most_memory: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what another process found."""
        self.reasons += other.reasons
        self.most_calls = max(self.most_calls, other.most_calls)
        self.most_memory = max(self.most_memory, other.most_memory)
        self.findings += other.findings[: max(0, _MOST_FINDINGS - len(self.findings))]


def load_target(name: str) -> Target[object]:
    """Return the target of one parser."""
    target: Target[object] = importlib.import_module(PARSERS[name]).TARGET
    return target


def run_slice(name: str, seed: int, start: int, end: int) -> Tally:
    """Examine the mutants from `start` to before `end`, in this process."""
    target, tally = load_target(name), Tally()
    for number in range(start, end):
        _examine(target, seed, number, tally)
    return tally


def _examine(target: Target[object], seed: int, number: int, tally: Tally) -> None:
    data = target.mutant(Dice(seed, number))
    try:
        outcome, calls = target.examine_counted(data)
        peak = 0 if number % TRACED else target.peak_of(data)
    except Exception as error:
        if len(tally.findings) < _MOST_FINDINGS:
            tally.findings.append((number, f"{type(error).__name__}: {error}"[:300]))
        tally.reasons[_BROKEN] += 1
        return
    tally.reasons[outcome if outcome == ACCEPTED else kind_of(outcome)] += 1
    tally.most_calls = max(tally.most_calls, calls)
    tally.most_memory = max(tally.most_memory, peak)


def _limit_this_process() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of ours
        pages = int(file.read().split()[0])
    room = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))


def run_all(name: str, seed: int, count: int, processes: int) -> Tally:
    """Examine `count` mutants in `processes` processes, each with bounds on memory."""
    tally = Tally()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _limit_this_process) as pool:
        slices = [
            pool.submit(run_slice, name, seed, start, min(start + SLICE, count))
            for start in range(0, count, SLICE)
        ]
        try:
            for done in as_completed(slices):
                tally.add(done.result())
        except BrokenProcessPool:
            tally.findings.append((-1, "a process was ended: it hung, or crashed"))
    return tally


def report(name: str, seed: int, tally: Tally, seconds: float) -> dict[str, object]:
    """Return what is printed; processor time beside the wall clock, which others share."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = tally.reasons.total()
    accepted = tally.reasons.pop(ACCEPTED, 0)
    broken = tally.reasons.pop(_BROKEN, 0)
    return {
        "schema": SCHEMA,
        "parser": name,
        "seed": seed,
        "count": count,
        "accepted": accepted,
        "refused": count - accepted - broken,
        "broken": max(broken, len(tally.findings)),
        "findings": [{"number": number, "error": error} for number, error in tally.findings],
        "reasons": dict(tally.reasons.most_common(_MOST_REASONS)),
        "other_reasons": max(0, len(tally.reasons) - _MOST_REASONS),
        "most_calls": tally.most_calls,
        "most_memory_bytes": tally.most_memory,
        "memory_traced_of": TRACED,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "per_second": round(count / seconds),
        "processes": os.cpu_count(),
        "python": platform.python_version(),
    }


def _lines(found: dict[str, object]) -> Iterator[str]:
    yield (
        f"{found['parser']}: {found['count']} mutants in {found['seconds']} s, {found['accepted']} "
        f"accepted, {found['refused']} refused, {found['broken']} promises broken"
    )
    yield f"  at most {found['most_calls']} calls and {found['most_memory_bytes']} bytes of memory each"
    reasons = found["reasons"]
    for reason, number in list(reasons.items())[:12] if isinstance(reasons, dict) else ():
        yield f"  {number:>8}  {reason}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parser", choices=sorted(PARSERS), required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="show this one mutant, and what comes of it")
    parser.add_argument("--text", action="store_true", help="a few lines instead of JSON")
    options = parser.parse_args()
    if options.only is not None:
        target = load_target(options.parser)
        data = target.mutant(Dice(options.seed, options.only))
        print(data)
        print(target.examine(data))
        return 0
    begun = time.perf_counter()
    tally = run_all(options.parser, options.seed, options.count, os.cpu_count() or 1)
    found = report(options.parser, options.seed, tally, time.perf_counter() - begun)
    print("\n".join(_lines(found)) if options.text else json.dumps(found, indent=1))
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
