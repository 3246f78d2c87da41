"""The service: composes the workshop, runs watchers, jobs and receipts, and stops cleanly.

One process per state directory, under the daemon's lock. A broken job must not stop the others, so
here, and only here and in the audit runner, every exception is caught: it is logged by its type,
since its words may hold a path, and what was unfinished is taken up again by `reconcile`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from daemon.custody.holder import open_custody
from daemon.engine import Engine, Outbox, daemon_lock
from daemon.jobs import AUDIT, CONCURRENCY, DEADLINE, DECIDE, DELIVER, INTAKE, MARK, QUEUES, RENDER
from daemon.pipeline.audit_step import audit_artifact
from daemon.pipeline.deadline_step import meet_deadline
from daemon.pipeline.decide_step import decide_artifact
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.intake_step import take_in_candidate
from daemon.pipeline.mark_step import mark_copies
from daemon.pipeline.pruning import prune
from daemon.pipeline.receipts import take_events
from daemon.pipeline.reconcile import Unfinished, reconcile, unfinished
from daemon.pipeline.render_step import render
from daemon.pipeline.shipping import clear_outbox
from daemon.pipeline.sighting import note_sighting
from daemon.pipeline.withdrawal import keep_head_fresh, keep_status_fresh, recall_revoked
from daemon.pipeline.workshop import Workshop
from daemon.routes import open_channels
from daemon.scan import Candidate, Intermediates, Readiness, WatchRules
from daemon.settings import load_policy
from daemon.standing import (
    DAEMON,
    Teller,
    newest_event,
    say_why,
    stopped_deliveries,
    watch_executor,
)
from daemon.systemd import WATCHDOG_SECONDS, notify
from daemon.watcher import Presence, Watcher
from registry.audits.pool import AuditPool
from registry.durable import remove_leftovers
from registry.errors import LorasealError, PartlyDoneError
from registry.provenance.database import create_database
from registry.provenance.events import Heartbeat, beat
from registry.provenance.ledger import explained
from registry.provenance.migration import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.custody.holder import Custody
    from daemon.settings import Settings, WatchSettings
    from registry.settings import RegistryPaths

log = logging.getLogger(__name__)

EVENT_SECONDS = 2.0
RECONCILE_SECONDS = 60.0
BEAT_SECONDS = 10.0
STATUS_SECONDS = 3_600.0
IDLE_POLL_SECONDS = 0.1
BROKEN_ROUNDS = 20
PATIENCE_SECONDS = 10.0
WATCH_AGAIN_SECONDS = 5.0
_STEPS: dict[str, Callable[[Workshop, str], str]] = {
    INTAKE: take_in_candidate,
    RENDER: render,
    MARK: mark_copies,
    AUDIT: audit_artifact,
    DECIDE: decide_artifact,
    DELIVER: deliver,
    DEADLINE: meet_deadline,
}


@dataclass
class Service:
    """A running service. `stop` may be called from a signal handler.

    `since` is the number of the last event before it began: what failed earlier is not its doing.
    `patience_seconds` is how long `run_once` waits when all that is left waits for a later time.
    `uptime` counts seconds, from any moment on.
    """

    shop: Workshop
    watchers: tuple[Watcher, ...]
    since: int = 0
    patience_seconds: float = PATIENCE_SECONDS
    uptime: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def _watches(self) -> tuple[WatchSettings, ...]:
        return self.shop.settings.watch

    def stop(self) -> None:
        """Ask everything to end."""
        self.stopping.set()
        for watcher in self.watchers:
            watcher.nudge()

    def run(self) -> None:
        """Watch, work and take receipts until `stop`."""
        self.start_watching()
        notify(f"READY=1\nSTATUS=watching {len(self.watchers)} folders")
        self._tend()
        notify("STOPPING=1")
        for thread in self.threads:
            thread.join(timeout=10)

    def start_watching(self) -> None:
        """Start a thread for each watched folder."""
        for number, watcher in enumerate(self.watchers, 1):
            arguments = (number, watcher)
            thread = threading.Thread(target=self._watch, args=arguments, name="watch", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _watch(self, number: int, watcher: Watcher) -> None:
        """Look at one folder until `stop`, whatever a single look runs into."""
        told = Teller(self.shop, number)
        while not self.stopping.is_set():
            try:
                watcher.run(self.stopping, on_look=lambda look: told(look.presence.value))
            except Exception as error:
                log.warning("watching folder %d broke: %s", number, words_for(error))
                log.debug("watching broke", exc_info=error)
                _guarded(lambda: told("broke"))
                self.stopping.wait(WATCH_AGAIN_SECONDS)

    def beat(self) -> None:
        """Record that the daemon lives, and each watch thread that does."""
        now = self.shop.clock()
        with self.shop.ledger.transaction() as tx:
            beat(tx, Heartbeat(DAEMON, "all", now))
            for number, thread in enumerate(self.threads, 1):
                if thread.is_alive():
                    beat(tx, Heartbeat(watch_executor(number), "watch", now))

    def ping(self) -> bool:
        """Tell systemd that all is alive; not when a watch thread is dead, so that it restarts us."""
        return all(thread.is_alive() for thread in self.threads) and notify("WATCHDOG=1")

    def _tend(self) -> None:
        """Do the regular duties, each at its own interval; between any two of them, ping."""
        duties: list[tuple[float, Callable[[], object]]] = [
            *(
                (EVENT_SECONDS, partial(take_events, self.shop, name))
                for name in self.shop.channels
            ),
            (RECONCILE_SECONDS, lambda: reconcile(self.shop)),
            (RECONCILE_SECONDS, lambda: clear_outbox(self.shop)),
            (RECONCILE_SECONDS, lambda: recall_revoked(self.shop)),
            (STATUS_SECONDS, lambda: keep_status_fresh(self.shop)),
            (RECONCILE_SECONDS, lambda: keep_head_fresh(self.shop)),
            *((RECONCILE_SECONDS, partial(prune, self.shop, watch)) for watch in self._watches),
            (BEAT_SECONDS, self.beat),
        ]
        due = [0.0] * len(duties)
        next_ping = 0.0
        while not self.stopping.is_set():
            for index, (interval, duty) in enumerate(duties):
                now = self.uptime()
                if now >= next_ping:
                    next_ping = now + WATCHDOG_SECONDS / 3
                    self.ping()
                if now >= due[index]:
                    due[index] = now + interval
                    _guarded(duty)
            self.stopping.wait(0.5)

    def run_once(self) -> None:
        """Take in what is there now, bring all of it as far as it goes by itself, then return.

        Files that are still settling are waited for; checkpoints on the way are not. What waits for
        a later time, such as a channel that is away, is waited for `patience_seconds`.

        Raises:
            PartlyDoneError: something is left, failed, or could not be looked at; it is named.
        """
        notify("READY=1")
        idle_rounds, waited, seen = 0, 0.0, _Round()
        while not self.stopping.is_set():
            seen = self._look_around()
            if not seen.is_moving and (not seen.left.later or waited >= self.patience_seconds):
                break
            stuck = bool(seen.broken or (seen.left.moving and reconcile(self.shop)))
            idle_rounds = idle_rounds + 1 if stuck else 0
            if idle_rounds > BROKEN_ROUNDS:
                break
            pause = IDLE_POLL_SECONDS * (1 + idle_rounds)
            waited = 0.0 if seen.is_moving else waited + pause
            self.stopping.wait(pause)
        _guarded(lambda: clear_outbox(self.shop))
        _guarded(lambda: recall_revoked(self.shop))
        _guarded(lambda: keep_status_fresh(self.shop))
        _guarded(lambda: keep_head_fresh(self.shop))
        for watch in self._watches:
            _guarded(partial(prune, self.shop, watch))
        if not self.stopping.is_set():
            self._say_what_is_left(seen)

    def _look_around(self) -> _Round:
        """Look at every folder and every channel, then at what is unfinished."""
        seen = _Round()
        for watcher in self.watchers:
            if error := _guarded(partial(seen.look, watcher)):
                seen.broken.append(f"looking at {str(watcher.root)!r} broke: {error}")
        for name in self.shop.channels:
            if error := _guarded(partial(take_events, self.shop, name)):
                seen.broken.append(f"channel {name} broke: {error}")
        seen.left = unfinished(self.shop)
        return seen

    def _say_what_is_left(self, seen: _Round) -> None:
        left = [*seen.absent, *seen.broken]
        if seen.left.moving:
            left.append(f"{len(seen.left.moving)} artifacts or deliveries do not move on")
        left += stopped_deliveries(self.shop, self.since, seen.left.later)
        if left:
            raise PartlyDoneError(
                "; ".join(left),
                hint="loraseal status says what to do; run again with --verbose to see more",
            )


@dataclass
class _Round:
    """What one round of `run_once` saw."""

    left: Unfinished = field(default_factory=Unfinished)
    settling: int = 0
    absent: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def is_moving(self) -> bool:
        """Whether another round may see more."""
        return bool(self.left.moving or self.settling or self.broken)

    def look(self, watcher: Watcher) -> None:
        """Look at one folder and count what is there."""
        look, root = watcher.reconcile(), str(watcher.root)
        open_ones = (Readiness.SETTLING, Readiness.UNFINISHED)
        self.settling += sum(seen.readiness in open_ones for seen in look.waiting)
        self.settling += len(look.handed_on)
        if look.presence is Presence.GONE:
            self.absent.append(f"watched folder {root!r} is missing")
        elif look.problem:
            self.broken.append(f"watched folder {root!r}: {look.problem}")


def _concurrency(workers: int) -> dict[str, int]:
    """One job for every audit worker, and one that opens its payload meanwhile."""
    queue = QUEUES[AUDIT]
    return {**CONCURRENCY, queue: max(CONCURRENCY[queue], workers + 1)}


@contextlib.contextmanager
def open_service(settings: Settings, paths: RegistryPaths) -> Iterator[Service]:
    """Yield the service of this registry, its jobs already running; all is closed at the end.

    Raises:
        BusyError: another daemon works here.
        VerificationError: the log does not continue its last signed head.
        LorasealError: keys, ledger or policy are not usable, with what to do.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon_lock(paths.lock))
        database = create_database(paths.database)
        try:
            with explained():
                upgrade(database)
        finally:
            database.dispose()
        custody = stack.enter_context(open_custody(paths))
        since = newest_event(custody.ledger)
        _sweep(custody)
        with custody.ledger.reading() as reader:
            custody.check(reader, datetime.now(UTC))
        jobs = Outbox(custody.ledger.engine, QUEUES)
        stack.callback(jobs.close)
        audits = AuditPool(settings.audit.workers)
        stack.callback(audits.close)
        channels = open_channels(settings, paths)
        for channel in channels.values():
            stack.callback(channel.close)
        shop = Workshop(
            settings=settings,
            custody=custody,
            jobs=jobs,
            audits=audits,
            policy=load_policy(settings, paths),
            channels=channels,
            clock=lambda: datetime.now(UTC),
        )
        handlers = {name: _handler(shop, name) for name in _STEPS}
        engine = Engine(
            custody.ledger.engine,
            handlers=handlers,
            queues=QUEUES,
            concurrency=_concurrency(len(settings.audit.workers)),
        )
        stack.callback(engine.stop)
        engine.start()
        reconcile(shop)
        watchers = tuple(watcher_of(shop, watch) for watch in settings.watch)
        yield Service(shop, watchers, since)


def _sweep(custody: Custody) -> None:
    """Remove half-written files of daemons before this one; the lock says that none of them lives."""
    custody.vault.sweep()
    folders = [custody.paths.state, *custody.paths.outbox.glob("*/")]
    left = sum(remove_leftovers(folder) for folder in folders)
    log.info("leftovers removed", extra={"files": left})


def _handler(shop: Workshop, name: str) -> Callable[[str], str]:
    step = _STEPS[name]

    def run(argument: str) -> str:
        try:
            return step(shop, argument)
        except Exception as error:
            # One broken job must not stop the loop; reconcile takes it up again.
            kind = words_for(error)
            log.warning("job %s broke: %s", name, kind)
            log.debug("job broke", exc_info=error)
            _guarded(lambda: say_why(shop, name, argument, f"{name} broke: {kind}"))
            return f"broke: {kind}"

    return run


def words_for(error: Exception) -> str:
    """Return what may be logged of an error: its type and system code; its words may hold a path."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    code = cause.errno if isinstance(cause, OSError) else None
    return type(error).__name__ + (f" ({errno.errorcode.get(code, code)})" if code else "")


def watcher_of(shop: Workshop, watch: WatchSettings) -> Watcher:
    """Return the watcher of one folder; each candidate is noted in the ledger."""
    rules = WatchRules(
        settle_seconds=watch.settle_seconds,
        intermediates=Intermediates(watch.intermediates),
        keep_last=watch.keep_last,
        convert=watch.convert,
    )

    def hand_on(candidate: Candidate) -> object:
        try:
            return note_sighting(shop, candidate)
        except LorasealError:
            raise
        except Exception as error:
            # One file that we cannot note must not keep the others out.
            log.debug("noting broke", exc_info=error)
            raise LorasealError(f"noting a file broke: {words_for(error)}") from error

    return Watcher(watch.path.absolute(), rules, hand_on, scan_seconds=shop.settings.scan_seconds)


def _guarded(duty: Callable[[], object]) -> str:
    """Do one duty; return "", or what broke it."""
    try:
        duty()
    except Exception as error:
        log.warning("duty broke: %s", words_for(error))
        log.debug("duty broke", exc_info=error)
        return words_for(error)
    return ""
