"""The instants at which daemons are killed: as random as the seed, which is printed."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.crash.daemon_process import Daemon, Process, open_files_of, wait_for_end

SEED_VARIABLE = "LORASEAL_CRASH_SEED"
# A daemon needs this long before its first audit on a quiet two-core machine; lives end around it.
LIFE_SECONDS = 4.5
SHORT_SECONDS = 1.8


def seeded() -> np.random.Generator:
    """Return this run's randomness; the variable repeats a run, as far as a machine repeats itself."""
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(1 << 32))
    print(f"\n{SEED_VARIABLE}={seed}")  # noqa: T201 - pytest shows it with a failure
    return np.random.Generator(np.random.PCG64(seed))


def lives(random: np.random.Generator, count: int) -> Iterator[float]:
    """Yield how long each daemon lives: every fourth dies while it starts."""
    for number in range(count):
        longest = SHORT_SECONDS if number % 4 == 3 else LIFE_SECONDS * 1.5
        yield float(random.uniform(0.0, longest))


def kill_often(
    settings: Path, log: Path, ends: Iterator[float], feed: Callable[[float], object]
) -> None:
    """Start a daemon, `feed` it, kill it after its time, and begin again; none may leave a process.

    `feed` is called with the seconds that the daemon has to live, and returns before they are over.
    """
    orphans: set[Process] = set()
    for seconds in ends:
        daemon, born = Daemon(settings, log), time.monotonic()
        feed(seconds)
        time.sleep(max(0.0, seconds - (time.monotonic() - born)))
        orphans |= daemon.kill()
    left = wait_for_end(orphans)
    assert not left, {one.pid: open_files_of(one.pid) for one in left}
