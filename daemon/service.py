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
from typing import TYPE_CHECKING

from daemon.custody.holder import open_custody
from daemon.engine import Engine, Outbox, daemon_lock
from daemon.jobs import AUDIT, CONCURRENCY, DEADLINE, DECIDE, DELIVER, INTAKE, QUEUES
from daemon.pipeline.audit_step import audit_artifact
from daemon.pipeline.deadline_step import meet_deadline
from daemon.pipeline.decide_step import decide_artifact
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.intake_step import take_in_candidate
from daemon.pipeline.receipts import take_events
from daemon.pipeline.reconcile import reconcile, unfinished
from daemon.pipeline.sighting import note_sighting
from daemon.pipeline.workshop import Workshop
from daemon.routes import open_channels
from daemon.scan import Candidate, Intermediates, Readiness, WatchRules
from daemon.systemd import WATCHDOG_SECONDS, notify
from daemon.watcher import Watcher
from registry.audits.runner import AuditWorker, WorkerOptions
from registry.durable import remove_leftovers
from registry.errors import PartlyDoneError
from registry.policy import Policy, default_policy, parse_policy
from registry.provenance.database import create_database
from registry.provenance.events import Heartbeat, beat
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
IDLE_POLL_SECONDS = 0.1
BROKEN_ROUNDS = 20
_STEPS: dict[str, Callable[[Workshop, str], str]] = {
    INTAKE: take_in_candidate,
    AUDIT: audit_artifact,
    DECIDE: decide_artifact,
    DELIVER: deliver,
    DEADLINE: meet_deadline,
}


@dataclass
class Service:
    """A running service. `stop` may be called from a signal handler."""

    shop: Workshop
    watchers: tuple[Watcher, ...]
    stopping: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Ask everything to end."""
        self.stopping.set()
        for watcher in self.watchers:
            watcher.nudge()

    def run(self) -> None:
        """Watch, work and take receipts until `stop`."""
        threads = [
            threading.Thread(target=watcher.run, args=(self.stopping,), name="watch", daemon=True)
            for watcher in self.watchers
        ]
        for thread in threads:
            thread.start()
        notify(f"READY=1\nSTATUS=watching {len(self.watchers)} folders")
        self._tend()
        notify("STOPPING=1")
        for thread in threads:
            thread.join(timeout=10)

    def _tend(self) -> None:
        """Do the regular duties, each at its own interval."""
        duties: list[tuple[float, Callable[[], object]]] = [
            (EVENT_SECONDS, lambda: take_events(self.shop)),
            (RECONCILE_SECONDS, lambda: reconcile(self.shop)),
            (BEAT_SECONDS, lambda: _beat(self.shop)),
            (WATCHDOG_SECONDS / 3, lambda: notify("WATCHDOG=1")),
        ]
        due = [0.0] * len(duties)
        while not self.stopping.is_set():
            now = time.monotonic()
            for index, (interval, duty) in enumerate(duties):
                if now >= due[index]:
                    due[index] = now + interval
                    _guarded(duty)
            self.stopping.wait(0.5)

    def run_once(self) -> None:
        """Take in what is there now, bring all of it as far as it goes by itself, then return.

        Files that are still settling are waited for; checkpoints on the way are not.

        Raises:
            PartlyDoneError: jobs break again and again; what is left is named.
        """
        notify("READY=1")
        idle_rounds = 0
        while not self.stopping.is_set():
            settling = sum(_settling(watcher) for watcher in self.watchers)
            take_events(self.shop)
            left = unfinished(self.shop)
            if left == 0 and settling == 0:
                return
            idle_rounds = idle_rounds + 1 if left and reconcile(self.shop) else 0
            if idle_rounds > BROKEN_ROUNDS:
                raise PartlyDoneError(
                    f"{left} artifacts or deliveries do not move on",
                    hint="loraseal status says which; run again with --verbose to see why",
                )
            self.stopping.wait(IDLE_POLL_SECONDS * (1 + idle_rounds))


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
        upgrade(database)
        database.dispose()
        custody = stack.enter_context(open_custody(paths))
        _sweep(custody)
        with custody.ledger.reading() as reader:
            custody.check(reader, datetime.now(UTC))
        jobs = Outbox(custody.ledger.engine, QUEUES)
        stack.callback(jobs.close)
        worker = AuditWorker(WorkerOptions(device=settings.audit.device))
        stack.callback(worker.close)
        channels = open_channels(settings, paths)
        for channel in channels.values():
            stack.callback(channel.close)
        shop = Workshop(
            settings=settings,
            custody=custody,
            jobs=jobs,
            audits=worker,
            policy=load_policy(settings, paths),
            channels=channels,
            clock=lambda: datetime.now(UTC),
        )
        handlers = {name: _handler(shop, name) for name in _STEPS}
        engine = Engine(
            custody.ledger.engine, handlers=handlers, queues=QUEUES, concurrency=CONCURRENCY
        )
        stack.callback(engine.stop)
        engine.start()
        reconcile(shop)
        yield Service(shop, tuple(_watcher(shop, watch) for watch in settings.watch))


def load_policy(settings: Settings, paths: RegistryPaths) -> Policy:
    """Return the policy in force: the settings' file (relative to theirs), else the default.

    Raises:
        FormatError: not a policy.
        OSError: the file cannot be read.
    """
    if settings.policy is None:
        return default_policy()
    return parse_policy((paths.settings.parent / settings.policy).read_bytes())


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
            return f"broke: {kind}"

    return run


def words_for(error: Exception) -> str:
    """Return what may be logged of an error: its type and system code; its words may hold a path."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    code = cause.errno if isinstance(cause, OSError) else None
    return type(error).__name__ + (f" ({errno.errorcode.get(code, code)})" if code else "")


def _watcher(shop: Workshop, watch: WatchSettings) -> Watcher:
    rules = WatchRules(
        settle_seconds=watch.settle_seconds, intermediates=Intermediates(watch.intermediates)
    )

    def hand_on(candidate: Candidate) -> object:
        return note_sighting(shop, candidate)

    return Watcher(watch.path.absolute(), rules, hand_on, scan_seconds=shop.settings.scan_seconds)


def _settling(watcher: Watcher) -> int:
    look = watcher.reconcile()
    open_ones = (Readiness.SETTLING, Readiness.UNFINISHED)
    return sum(seen.readiness in open_ones for seen in look.waiting) + len(look.handed_on)


def _beat(shop: Workshop) -> None:
    with shop.ledger.transaction() as tx:
        beat(tx, Heartbeat("daemon", "all", shop.clock()))


def _guarded(duty: Callable[[], object]) -> None:
    try:
        duty()
    except Exception as error:
        log.warning("duty broke: %s", words_for(error))
        log.debug("duty broke", exc_info=error)
