"""Watches one folder: events of the file system say when to look, a scan says what is there.

Watchers lose events (facts/formats.md section 6: overflow, network shares, moved directories), so a scan
also runs every `scan_seconds`, and always once at the start; more often where events cannot be relied on
(`daemon.observing` knows). A candidate is handed on once for each
state of its files in the life of this object; after a restart it is handed on again, and the ledger
knows it by path and signature. Nothing is ever concluded from files that are gone.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from daemon.observing import Ears
from daemon.scan import NS_PER_SECOND, Candidate, Readiness, Sighting, WatchRules, scan
from registry.errors import BusyError, LorasealError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    _State = tuple[Path, str]  # path and signature

SCAN_SECONDS = 30.0
SILENT_SCAN_SECONDS = 5.0
# When the next look decides how well we hear, it comes after this.
UNCERTAIN_SECONDS = 1.0
# Between two scans at least this long, however many events come in.
MIN_PAUSE_SECONDS = 0.2
# And so many times as long as the last scan took: a flood of events must not keep a processor busy.
REST_FACTOR = 4.0

log = logging.getLogger(__name__)


class Presence(StrEnum):
    """How the watched folder itself is."""

    THERE = "there"
    GONE = "gone"
    REMOUNTED = "remounted"


@dataclass(frozen=True, slots=True)
class Look:
    """What one reconciliation saw; `waiting` are the sightings that were not handed on.

    `polled` says why the folder is looked at more often than `scan_seconds`: events cannot be relied on.
    """

    presence: Presence
    handed_on: tuple[Candidate, ...]
    waiting: tuple[Sighting, ...]
    problem: str = ""
    polled: str = ""

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
        self._all: set[_State] = set()
        self._met: set[_State] = set()

    def __contains__(self, item: object) -> bool:
        known = item in self._all
        if known:
            self._met.add(cast("_State", item))
        return known

    def add(self, item: _State) -> None:
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
        self._scan_took = 0.0
        # What the last scan told of, whether or not it was handed on.
        self._seen: frozenset[_State] = frozenset()

    def reconcile(self) -> Look:
        """Look once, hand on what is new and ready, and return what was seen."""
        presence = self._look_at_root()
        if presence is Presence.GONE:
            return Look(presence, (), (), f"{str(self.root)!r} is gone or may not be entered")
        problem = ""
        if presence is Presence.REMOUNTED:
            problem = f"{str(self.root)!r} is another directory than before: remounted or replaced"
        begun = time.monotonic()
        try:
            sightings = scan(self.root, self._clock(), self._rules, known=self._handed_on)
        except (OSError, LorasealError) as error:
            return Look(presence, (), (), str(error))
        finally:
            self._scan_took = time.monotonic() - begun
        self._handed_on.forget_unmet()
        self._seen = frozenset(_state(seen.candidate) for seen in sightings)
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
            self._handed_on.add(_state(candidate))
            done.append(candidate)
        return tuple(done), refusal

    def run(
        self, stop: threading.Event, *, on_look: Callable[[Look], object] | None = None
    ) -> None:
        """Look until `stop` is set: at once, after events, when something is due, and regularly.

        `on_look` is told of every look. To end it at once, set `stop` and call `nudge`.
        """
        while not stop.is_set():
            ears = Ears(self.root, self._hint.set)
            ears.open()
            try:
                self._look_until_lost(stop, ears, on_look)
            finally:
                ears.close()
            if not stop.is_set():
                # After a remount the old watch hears nothing: begin anew, but not in a tight loop.
                stop.wait(MIN_PAUSE_SECONDS)
                self._pause_after_loss(stop)

    def _look_until_lost(
        self, stop: threading.Event, ears: Ears, on_look: Callable[[Look], object] | None
    ) -> None:
        """Look until the folder is another one, or hearing is to be tried anew."""
        before: frozenset[_State] | None = None
        while not stop.is_set() and not ears.is_spent:
            self._hint.clear()
            look = self.reconcile()
            if look.problem:
                log.warning("watched folder has a problem: it is %s", look.presence)
            if look.presence is Presence.THERE:
                # What the first look finds was there before we could hear.
                ears.after_look(found_new=before is not None and not self._seen <= before)
                before = self._seen
            if on_look is not None:
                on_look(replace(look, polled=ears.polled))
            if look.presence is not Presence.THERE:
                return
            self._pause(stop, look, ears)

    def nudge(self) -> None:
        """Make `run` look again soon."""
        self._hint.set()

    def _pause(self, stop: threading.Event, look: Look, ears: Ears) -> None:
        seconds = self._scan_seconds
        if ears.polled:
            seconds = min(seconds, SILENT_SCAN_SECONDS)
        elif ears.is_uncertain:
            seconds = min(seconds, UNCERTAIN_SECONDS)
        if look.due_ns is not None:
            seconds = min(seconds, (look.due_ns - self._clock()) / NS_PER_SECOND)
        self._hint.wait(max(seconds, MIN_PAUSE_SECONDS))
        stop.wait(rest_after(self._scan_took))

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


def rest_after(scan_seconds: float) -> float:
    """Return how many seconds to rest after a scan that took so long, whatever happens meanwhile."""
    return min(SILENT_SCAN_SECONDS, max(MIN_PAUSE_SECONDS, REST_FACTOR * scan_seconds))


def _state(candidate: Candidate) -> _State:
    return candidate.path, candidate.signature
