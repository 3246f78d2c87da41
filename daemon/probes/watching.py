"""Probes of the watched folders: whether they are there, heard, and what their trainers leave in them."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.inotify import budgets_for
from daemon.mounts import Hearing, hearing_of
from daemon.probes.answers import Answer, Level, ok
from registry.errors import LorasealError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.settings import Settings, WatchSettings
    from registry.provenance.ledger import Reader
    from registry.settings import RegistryPaths

# Several beats: a watch thread that is alive beats together with the daemon.
_STALE_AFTER = timedelta(seconds=60)
PROC = Path("/proc")


def probe_watched(settings: Settings, _paths: RegistryPaths) -> Iterator[Answer]:
    """Every watched folder is there, readable, and its file system tells of changes."""
    for watch in settings.watch:
        if not watch.path.is_dir():
            yield Answer(
                "watch",
                Level.PROBLEM,
                f"{watch.path} is no folder",
                "create it or correct the settings",
            )
        elif not os.access(watch.path, os.R_OK | os.X_OK):
            yield Answer(
                "watch",
                Level.PROBLEM,
                f"{watch.path} cannot be read by this user",
                "run as the trainer's user (loraseal service install --user)",
            )
        else:
            yield _answer_for_type(watch.path)
            yield from _answer_for_saves(watch)


def _answer_for_saves(watch: WatchSettings) -> Iterator[Answer]:
    """Say when a trainer writes nothing but saves on the way, and none of them is wanted."""
    from daemon.scan import silent_saves

    if watch.intermediates != "none":
        return
    if silent := silent_saves(watch.path.absolute()):
        yield Answer(
            "watch",
            Level.PROBLEM,
            f"{watch.path} holds {silent} intermediate saves of a trainer that writes no result of its own",
            'none of them is taken in: set intermediates = "last" for that folder',
        )


def _answer_for_type(path: Path) -> Answer:
    hearing, kind = hearing_of(path)
    if hearing is Hearing.FULL:
        return ok("watch", f"{path} ({kind})")
    told = "no changes" if hearing is Hearing.NONE else "not all changes"
    return Answer(
        "watch",
        Level.WARNING,
        f"{path} is on, or holds, {kind}, which tells of {told}",
        "nothing to do: it is scanned every few seconds, so an adapter is found one scan later",
    )


def watch_troubles(
    settings: Settings, paths: RegistryPaths, reader: Reader, *, running: bool
) -> Iterator[Answer]:
    """Yield what is wrong with the watched folders, and with the threads of a running daemon."""
    from daemon.standing import DAEMON, watch_executor
    from registry.provenance.events import heartbeats

    answers = probe_watched(settings, paths)
    yield from (answer for answer in answers if answer.level is Level.PROBLEM)
    beats = {beat.executor: beat.beat_at for beat in heartbeats(reader)}
    if not running or DAEMON not in beats:
        return
    for number, watch in enumerate(settings.watch, 1):
        last = beats.get(watch_executor(number))
        if last is None or beats[DAEMON] - last > _STALE_AFTER:
            yield Answer(
                "watch",
                Level.PROBLEM,
                f"{watch.path} is not watched by the daemon that runs",
                "restart it: loraseal up (or systemctl restart loraseal)",
            )


def probe_inotify(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The kernel allows enough of inotify; past a limit a folder is polled instead."""
    from daemon.engine import is_locked

    heard = [each.path for each in settings.watch if hearing_of(each.path)[0] is not Hearing.NONE]
    budgets = budgets_for(heard, running=is_locked(paths.lock), proc=PROC)
    if not budgets:
        found = "limits unknown on this system"
        yield Answer("inotify", Level.WARNING, found, "nothing to do: scans find everything")
    for budget in budgets:
        level = Level.WARNING if budget.is_short else Level.OK
        yield Answer("inotify", level, budget.words, budget.advice if budget.is_short else "")


def probe_conversion(settings: Settings, _paths: RegistryPaths) -> Iterator[Answer]:
    """Where pickles are to be converted, what looks at them first is there."""
    if not any(watch.convert for watch in settings.watch):
        return
    from registry.conversion.scanning import scanner_version

    try:
        yield ok("conversion", f"picklescan {scanner_version()}")
    except LorasealError as error:
        yield Answer("conversion", Level.PROBLEM, str(error), error.hint or "install it")
