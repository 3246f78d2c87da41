"""Clocks and running watchers for the tests of watching."""

from __future__ import annotations

import threading
from pathlib import Path

from daemon.scan import NS_PER_SECOND, Candidate, WatchRules
from daemon.watcher import Look, Watcher

DEADLINE_SECONDS = 60


class Clock:
    """Wall-clock time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def pass_after(self, path: Path, seconds: float) -> None:
        """Go to `seconds` after the last change of `path`."""
        self.now_ns = path.stat().st_ctime_ns + int(seconds * NS_PER_SECOND)


class Running:
    """A watcher that runs in its own thread with the real clock and real events."""

    def __init__(self, root: Path, *, scan_seconds: float = 3600) -> None:
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self.found: list[Candidate] = []
        self.looks: list[Look] = []
        rules = WatchRules(settle_seconds=0.1, settle_set_seconds=0.1, broken_after_seconds=60)
        # By default so long that only events and due times can explain what is found.
        self.watcher = Watcher(root, rules, self._note, scan_seconds=scan_seconds)
        self._thread = threading.Thread(
            target=self.watcher.run, args=(self._stop,), kwargs={"on_look": self._look}
        )

    def __enter__(self) -> Running:
        self._thread.start()
        assert self.wait(lambda: bool(self.looks))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.watcher.nudge()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def wait(self, reached: object) -> bool:
        assert callable(reached)
        with self._changed:
            return self._changed.wait_for(reached, DEADLINE_SECONDS)

    def paths(self) -> set[str]:
        return {candidate.path.name for candidate in self.found}

    def _note(self, candidate: Candidate) -> None:
        with self._changed:
            self.found.append(candidate)
            self._changed.notify_all()

    def _look(self, look: Look) -> None:
        with self._changed:
            self.looks.append(look)
            self._changed.notify_all()
