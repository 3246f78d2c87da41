"""Watches one folder: events of the file system say when to look, a scan says what is there.

Watchers lose events (facts/formats.md section 6: overflow, network shares, moved directories), so a scan
also runs every `scan_seconds`, and always once at the start. A candidate is handed on once for each
state of its files in the life of this object; after a restart it is handed on again, and the ledger
knows it by path and signature. Nothing is ever concluded from files that are gone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from daemon.mounts import file_system_of, is_silent
from daemon.scan import NS_PER_SECOND, Candidate, Readiness, Sighting, WatchRules, scan
from registry.errors import BusyError, LorasealError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

SCAN_SECONDS = 30.0
SILENT_SCAN_SECONDS = 5.0
# Between two scans at least this long, however many events come in.
MIN_PAUSE_SECONDS = 0.2

log = logging.getLogger(__name__)


class Presence(StrEnum):
    """How the watched folder itself is."""

    THERE = "there"
    GONE = "gone"
    REMOUNTED = "remounted"


@dataclass(frozen=True, slots=True)
class Look:
    """What one reconciliation saw; `waiting` are the sightings that were not handed on."""

    presence: Presence
    handed_on: tuple[Candidate, ...]
    waiting: tuple[Sighting, ...]
    problem: str = ""

    @property
    def due_ns(self) -> int | None:
        """When the first of `waiting` may be ready, in wall-clock nanoseconds."""
        return min((seen.due_ns for seen in self.waiting if seen.due_ns is not None), default=None)


class _HandedOn:
    """What was handed on, by path and signature; forgets what a whole scan did not meet again.

    A file that was away and is back, the same (a share that was not mounted), is handed on once more:
    the ledger knows whether it has it.
    """

    def __init__(self) -> None:
        self._all: set[tuple[Path, str]] = set()
        self._met: set[tuple[Path, str]] = set()

    def __contains__(self, item: object) -> bool:
        known = item in self._all
        if known:
            self._met.add(cast("tuple[Path, str]", item))
        return known

    def add(self, item: tuple[Path, str]) -> None:
        self._all.add(item)

    def forget_unmet(self) -> None:
        """Keep what this scan has met; the next scan begins with nothing met."""
        self._all, self._met = self._met, set()


class Watcher:
    """Finds the candidates of one folder and gives each to `on_candidate`.

    If that raises a `LorasealError`, the candidate is handed on again at the next look; the others
    are handed on all the same, unless the ledger is busy.
    `clock` is wall-clock time in nanoseconds, as files have it. Use `reconcile` by itself for one look,
    or `run` in a thread of its own.
    """

    def __init__(
        self,
        root: Path,
        rules: WatchRules,
        on_candidate: Callable[[Candidate], object],
        *,
        clock: Callable[[], int] = time.time_ns,
        scan_seconds: float = SCAN_SECONDS,
    ) -> None:
        self.root = root
        self._rules = rules
        self._on_candidate = on_candidate
        self._clock = clock
        self._scan_seconds = scan_seconds
        self._handed_on = _HandedOn()
        self._identity: tuple[int, int] | None = None
        self._hint = threading.Event()

    def reconcile(self) -> Look:
        """Look once, hand on what is new and ready, and return what was seen."""
        presence = self._look_at_root()
        if presence is Presence.GONE:
            return Look(presence, (), (), f"{str(self.root)!r} is gone or may not be entered")
        problem = ""
        if presence is Presence.REMOUNTED:
            problem = f"{str(self.root)!r} is another directory than before: remounted or replaced"
        try:
            sightings = scan(self.root, self._clock(), self._rules, known=self._handed_on)
        except (OSError, LorasealError) as error:
            return Look(presence, (), (), str(error))
        self._handed_on.forget_unmet()
        ready = [seen.candidate for seen in sightings if seen.readiness is Readiness.READY]
        handed_on, refusal = self._hand_on(ready)
        waiting = tuple(seen for seen in sightings if seen.readiness is not Readiness.READY)
        return Look(presence, handed_on, waiting, refusal or problem)

    def _hand_on(self, ready: list[Candidate]) -> tuple[tuple[Candidate, ...], str]:
        done: list[Candidate] = []
        refusal = ""
        for candidate in ready:
            try:
                self._on_candidate(candidate)
            except BusyError as error:
                # It would be busy for the next one too. Not marked, so the next look hands it on again.
                return tuple(done), str(error)
            except LorasealError as error:
                refusal = str(error)
                continue
            self._handed_on.add((candidate.path, candidate.signature))
            done.append(candidate)
        return tuple(done), refusal

    def run(
        self, stop: threading.Event, *, on_look: Callable[[Look], object] | None = None
    ) -> None:
        """Look until `stop` is set: at once, after events, when something is due, and regularly.

        `on_look` is told of every look. To end it at once, set `stop` and call `nudge`.
        """
        while not stop.is_set():
            with self._events() as watched:
                while not stop.is_set():
                    self._hint.clear()
                    look = self.reconcile()
                    if look.problem:
                        log.warning(
                            "watched folder has a problem", extra={"problem": look.presence}
                        )
                    if on_look is not None:
                        on_look(look)
                    if look.presence is not Presence.THERE:
                        break
                    self._pause(stop, look, watched=watched)
            if not stop.is_set():
                # After a remount the old watch hears nothing: begin anew, but not in a tight loop.
                stop.wait(MIN_PAUSE_SECONDS)
                self._pause_after_loss(stop)

    def nudge(self) -> None:
        """Make `run` look again soon."""
        self._hint.set()

    def _pause(self, stop: threading.Event, look: Look, *, watched: bool) -> None:
        seconds = self._scan_seconds if watched else min(self._scan_seconds, SILENT_SCAN_SECONDS)
        if look.due_ns is not None:
            seconds = min(seconds, (look.due_ns - self._clock()) / NS_PER_SECOND)
        self._hint.wait(max(seconds, MIN_PAUSE_SECONDS))
        stop.wait(MIN_PAUSE_SECONDS)

    def _pause_after_loss(self, stop: threading.Event) -> None:
        while not stop.is_set() and self._identity_of_root() is None:
            self._hint.wait(SILENT_SCAN_SECONDS)
            self._hint.clear()

    def _look_at_root(self) -> Presence:
        found = self._identity_of_root()
        if found is None:
            return Presence.GONE
        before, self._identity = self._identity, found
        return Presence.THERE if before in (None, found) else Presence.REMOUNTED

    def _identity_of_root(self) -> tuple[int, int] | None:
        try:
            status = self.root.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @contextlib.contextmanager
    def _events(self) -> Iterator[bool]:
        """Watch with the system's events while in the block; yield whether that works here."""
        observer = self._start_observer()
        try:
            yield observer is not None
        finally:
            if observer is not None:
                observer.stop()
                observer.join()

    def _start_observer(self) -> BaseObserver | None:
        if is_silent(file_system_of(self.root.absolute())):
            return None
        observer = Observer()
        try:
            observer.schedule(_Hints(self._hint), str(self.root), recursive=True)
            observer.start()
        except OSError as error:
            # For one, ENOSPC: the limit of inotify watches. Looking regularly still finds everything.
            log.warning("no file events; looking regularly", extra={"reason": error.strerror})
            return None
        return observer


class _Hints(FileSystemEventHandler):
    """Any event that can mean new content is a hint to look; what it says is not used."""

    def __init__(self, hint: threading.Event) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Set the hint. Our own reading causes opened and closed_no_write, which mean nothing."""
        if event.event_type not in ("opened", "closed_no_write"):
            self._hint.set()
