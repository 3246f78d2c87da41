"""Hearing of changes in one folder: watchdog's events, and every way in which they can fail to come.

An event only says "look"; what it names is not used. So all that counts here is to know when events
cannot be relied on: no inotify left, sub-folders that are not watched (watchdog does not say so), a queue
that overflowed, threads that died, a file system or a change that makes no events. Then the folder is
polled, the log says why and what to do, and after a while hearing is tried anew.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from watchdog.events import FileSystemEvent, FileSystemEventHandler

from daemon.inotify import WATCHES, explain, explain_overflow, explain_watches, in_use, read_limit
from daemon.inotify import unheard as unheard_folders
from daemon.layouts.names import is_ignored_directory
from daemon.mounts import Hearing, hearing_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

JOIN_SECONDS = 5.0
# So many looks without reliable events, then hearing is tried anew: at 5 s between looks, 5 minutes.
LOOKS_UNTIL_RETRY = 60
# Mostly full means that others have used the watches up.
_FULL_SHARE = 0.9

log = logging.getLogger(__name__)

if sys.platform == "linux":
    from watchdog.observers.api import BaseObserver as _Base
    from watchdog.observers.inotify import InotifyEmitter
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

    class _Reader(InotifyFD):
        """Reads the events; tells of an overflow, which watchdog only logs."""

        def __init__(self, on_overflow: Callable[[], object]) -> None:
            super().__init__()
            self._on_overflow = on_overflow

        def handle_event(self, event: InotifyEvent) -> None:
            super().handle_event(event)
            if event.is_queue_overflow:
                self._on_overflow()

    class _Observer(_Base):
        """As watchdog's own for inotify, with our reader."""

        def __init__(self, on_overflow: Callable[[], object]) -> None:
            self.reader = _Reader(on_overflow)
            self.reader.start()
            super().__init__(InotifyEmitter, inotify_fd=self.reader)

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            self.reader.stop()

    def _observer(on_overflow: Callable[[], object]) -> BaseObserver:
        return _Observer(on_overflow)

else:
    from watchdog.observers import Observer

    def _observer(on_overflow: Callable[[], object]) -> BaseObserver:
        return Observer()


class Ears:
    """Hears of changes in the tree of `root` from `open` to `close`, and calls `on_hint` for each.

    `polled` says why events cannot be relied on, "" while they can. One thread uses it.
    """

    def __init__(self, root: Path, on_hint: Callable[[], object]) -> None:
        self.polled = ""
        self._root = root
        self._on_hint = on_hint
        self._observer: BaseObserver | None = None
        self._heard = threading.Event()
        self._overflowed = threading.Event()
        self._folders_changed = threading.Event()
        self._gap: frozenset[Path] = frozenset()
        self._unannounced = False
        self._heard_before = False
        self._looks = 0
        self._looks_polled = 0

    def open(self) -> None:
        """Begin to hear, where that is possible."""
        # It tells the paths of what it watches; what matters of it is said here.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        hearing, kind = hearing_of(self._root)
        if hearing is Hearing.NONE:
            self._poll(f"{kind} does not tell of changes")
            return
        try:
            self._observer = self._start()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            self._poll(explain(error, self._root) or reason)
            return
        self._folders_changed.set()
        if hearing is Hearing.PARTIAL:
            self._poll(f"{kind} does not tell of every change")

    def close(self) -> None:
        """Stop hearing; a thread that hangs is left behind."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(JOIN_SECONDS)

    @property
    def is_spent(self) -> bool:
        """Whether it is time to close and to try anew: after many looks that had to be polled."""
        return self._looks_polled >= LOOKS_UNTIL_RETRY

    def after_look(self, *, found_new: bool) -> None:
        """Judge what was heard up to this look, which did or did not find something new.

        What a look finds and no event has told of is waited for until the next look: it may be under way.
        """
        heard = self._heard.is_set()
        self._heard.clear()
        if self._overflowed.is_set():
            self._overflowed.clear()
            log.warning("events were lost, so everything is looked at: %s", explain_overflow())
        if self._observer is not None:
            self._judge(heard=heard, found_new=found_new)
        self._heard_before = heard
        self._looks += 1
        self._looks_polled += bool(self.polled)

    @property
    def is_uncertain(self) -> bool:
        """Whether the next look should come soon, since it decides how well we hear."""
        return not self.polled and (self._unannounced or bool(self._gap))

    def _judge(self, *, heard: bool, found_new: bool) -> None:
        if not self._is_alive():
            self._poll("a thread that hears of changes has ended")
            self.close()
            # Again at once, but not for ever if it ends at once.
            self._looks_polled = LOOKS_UNTIL_RETRY if self._looks else 0
            return
        self._look_for_gaps()
        if not heard:
            self._look_for_mounts()
            if self._unannounced:
                self._poll("files change here without any event")
        # An event can come while a look is under way that does not see its change yet.
        self._unannounced = found_new and not heard and not self._heard_before

    def _look_for_gaps(self) -> None:
        if not self._folders_changed.is_set() and not self._gap:
            return
        self._folders_changed.clear()
        before, self._gap = self._gap, unheard_folders(self._root, _matters)
        # One that was made this instant may be watched in the next; what stays is a gap.
        if lasting := before & self._gap:
            self._poll(f"{len(lasting)} folders in it are not heard, {self._why_unheard()}")

    def _why_unheard(self) -> str:
        limit, used = read_limit(WATCHES), in_use().watches
        if limit is not None and used >= _FULL_SHARE * limit.value:
            return explain_watches(self._root)
        return "for another reason than the limit of inotify watches"

    def _look_for_mounts(self) -> None:
        hearing, kind = hearing_of(self._root)
        if hearing is Hearing.NONE:
            self._poll(f"{kind} was mounted in it and does not tell of changes")

    def _poll(self, reason: str) -> None:
        if not self.polled:
            log.warning("a watched folder is looked at regularly: %s", reason)
            self.polled = reason

    def _start(self) -> BaseObserver:
        observer = _observer(self._on_overflow)
        # The setting may be a link to the folder; a watch on a link hears nothing.
        hints = _Hints(self._root.resolve(), self._on_event)
        try:
            observer.schedule(hints, os.fspath(hints.root), recursive=True)
            observer.start()
        except BaseException:
            # It never ran, so nobody else ends its reader, which holds an instance.
            observer.on_thread_stop()
            raise
        return observer

    def _is_alive(self) -> bool:
        observer = self._observer
        if observer is None:
            return False
        reader = getattr(observer, "reader", observer)
        return all(thread.is_alive() for thread in (observer, reader, *observer.emitters))

    def _on_event(self, event: FileSystemEvent) -> None:
        if event.is_directory:
            self._folders_changed.set()
        self._heard.set()
        self._on_hint()

    def _on_overflow(self) -> None:
        self._overflowed.set()
        self._folders_changed.set()
        self._heard.set()
        self._on_hint()


class _Hints(FileSystemEventHandler):
    """Any event that can mean new content is a hint to look; what it says is not used."""

    def __init__(self, root: Path, on_event: Callable[[FileSystemEvent], object]) -> None:
        self.root = root
        self._prefix = os.path.join(root, "")  # noqa: PTH118 - with a slash at its end
        self._on_event = on_event

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass the event on. Our own reading causes opened and closed_no_write, which mean nothing.

        Nor does what goes on in a folder that no look enters: logs grow at every step of a training.
        """
        if event.event_type in ("opened", "closed_no_write"):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if not paths or not all(self._is_ignored(path) for path in paths):
            self._on_event(event)

    def _is_ignored(self, path: str) -> bool:
        folder = os.path.dirname(path.removeprefix(self._prefix))  # noqa: PTH120 - of text, often
        return path.startswith(self._prefix) and not all(map(_matters, folder.split("/")))


def _matters(name: str) -> bool:
    return not is_ignored_directory(name)
