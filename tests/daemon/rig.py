"""A registry that has lived a little, copied for each test, and the pipeline's steps without a daemon.

`LIVED` has one released adapter that Alice received, one that is held and one that was rejected. Bob is
enrolled too and has received nothing. Time is an argument: an hour after the registry was made.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from daemon.custody.holder import open_custody
from daemon.engine import Engine, Job, Outbox
from daemon.jobs import CONCURRENCY, QUEUES
from daemon.pipeline.audit_step import audit_artifact
from daemon.pipeline.deadline_step import meet_deadline
from daemon.pipeline.decide_step import decide_artifact
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.intake_step import take_in_candidate
from daemon.pipeline.mark_step import mark_copies
from daemon.pipeline.render_step import render
from daemon.pipeline.sighting import note_sighting
from daemon.pipeline.workshop import Workshop
from daemon.routes import open_channels
from daemon.scan import Candidate, Intermediates, Readiness, WatchRules, scan
from daemon.settings import load_policy, load_settings
from registry.audits.runner import AuditWorker
from registry.formats.moments import parse_moment
from registry.provenance.candidates import get_candidate
from registry.settings import load_paths
from signal_bridge.channel import Channel
from tests.daemon.registry_on_disk import Registry, make_registry, write_adapter

STEPS: dict[str, Callable[[Workshop, str], str]] = {
    "intake": take_in_candidate,
    "render": render,
    "mark": mark_copies,
    "audit": audit_artifact,
    "decide": decide_artifact,
    "deliver": deliver,
    "deadline": meet_deadline,
}
NAMES = ("good", "held", "bad")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Rig:
    """A workshop whose jobs run when the test says so, in this thread."""

    shop: Workshop
    clock: Clock
    registry: Registry
    done: list[tuple[str, str]] = field(default_factory=list)

    def drop(self, path: Path) -> str:
        """Note the candidate at `path` as the watcher would once it is settled; return its id."""
        return note_sighting(self.shop, sighted(path))

    def work(self, *, delayed: bool = False) -> list[tuple[str, str]]:
        """Run every job that waits, and those that these enqueue; return (job, answer) in order."""
        ran: list[tuple[str, str]] = []
        while jobs := self.waiting(delayed=delayed):
            for job in jobs:
                ran.append((job.name, STEPS[job.name](self.shop, job.argument)))
                self._forget(job)
            delayed = False
        self.done += ran
        return ran

    def waiting(self, *, delayed: bool = False) -> list[Job]:
        states = ("ENQUEUED", "PENDING", "DELAYED") if delayed else ("ENQUEUED", "PENDING")
        active = self.shop.jobs.active_jobs()
        parts = (job_id.split(":") for job_id, state in sorted(active.items()) if state in states)
        return [Job(name, argument, int(ordinal)) for name, argument, ordinal in parts]

    def _forget(self, job: Job) -> None:
        sql(
            self.registry,
            "update workflow_status set status='SUCCESS' where workflow_uuid=?",
            job.id,
        )

    def candidate(self, candidate_id: str) -> tuple[str, str | None]:
        with self.shop.ledger.reading() as reader:
            found = get_candidate(reader, candidate_id)
        return found.state.value, found.reason

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        return sql(self.registry, query, *values)

    def one(self, query: str, *values: object) -> tuple[object, ...]:
        (row,) = self.rows(query, *values)
        return row

    def carried(self) -> set[str]:
        """Return what lies in the recipients' folders of the channel."""
        return carried(self.registry)

    def with_channels(self, channels: Mapping[str, Channel]) -> None:
        self.shop = replace(self.shop, channels=channels)


def carried(registry: Registry) -> set[str]:
    found = (path for path in registry.stick.rglob("*") if path.is_file())
    return {
        str(path.relative_to(registry.stick))
        for path in found
        if not path.name.startswith(".") and path.parent.name != "receipts"
    }


def database_of(registry: Registry) -> Path:
    return registry.home / "state" / "registry.sqlite"


def sql(registry: Registry, query: str, *values: object) -> list[tuple[object, ...]]:
    """Do what someone who can write the database file does."""
    with contextlib.closing(sqlite3.connect(database_of(registry), timeout=30)) as base:
        rows = base.execute(query, values).fetchall()
        base.commit()
    return rows


def sighted(path: Path) -> Candidate:
    """Return what the watcher sees of `path` a day after it was written."""
    rules = WatchRules(settle_seconds=1.0, intermediates=Intermediates.EVERY)
    newest = max(item.lstat().st_mtime_ns for item in [path, *path.rglob("*")])
    for seen in scan(path.parent, newest + 86_400_000_000_000, rules):
        if seen.candidate.path == path and seen.readiness is Readiness.READY:
            return seen.candidate
    raise AssertionError(f"{path} is no candidate")


def make_tables(registry: Registry) -> None:
    """Create the engine's tables, as the first start of the daemon does."""
    with open_custody(load_paths(registry.settings)) as custody:
        engine = Engine(custody.ledger.engine, handlers={}, queues=QUEUES, concurrency=CONCURRENCY)
        engine.start()
        engine.stop(wait_seconds=5)


@contextlib.contextmanager
def opened(registry: Registry, audits: AuditWorker, *, hours: float = 1) -> Iterator[Rig]:
    """Yield a rig over `registry` whose clock stands `hours` after its keys were made."""
    settings, paths = load_settings(registry.settings)
    with open_custody(paths) as custody, contextlib.ExitStack() as stack:
        clock = Clock(parse_moment(custody.keyring.keyset.issued) + timedelta(hours=hours))
        jobs = Outbox(custody.ledger.engine, QUEUES)
        stack.callback(jobs.close)
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
            clock=clock,
        )
        yield Rig(shop, clock, registry)


def enrol(registry: Registry, name: str) -> None:
    """Enrol another recipient under `name`, with a home of that name."""
    file = registry.home / f"{name.lower()}.enrol"
    home = registry.home / name.lower()
    registry.run("enrol", "--name", name, "--home", home, "-o", file)
    registry.run("recipient", "add", name, file, "--yes", "--config", registry.settings)


def make_fresh(home: Path) -> Registry:
    """Return a registry whose daemon was started once and that has seen nothing."""
    registry = make_registry(home)
    make_tables(registry)
    return registry


def make_lived(home: Path, audits: AuditWorker) -> Registry:
    registry = make_fresh(home)
    enrol(registry, "Bob")
    write_adapter(registry.watched / "good.safetensors")
    write_adapter(registry.watched / "held.safetensors", dead=3)
    write_adapter(registry.watched / "bad.safetensors", nan=True)
    with opened(registry, audits, hours=0) as rig:
        for name in NAMES:
            rig.drop(registry.watched / f"{name}.safetensors")
        rig.work()
        states = {row[0] for row in rig.rows("select state from reg_artifact")}
        assert states == {"released", "held", "rejected"}, rig.done
    # Only now, so that Bob may get what nothing has planned for him yet.
    with registry.settings.open("a") as file:
        file.write('\n[[route]]\nto = "Bob"\nchannel = "folder"\n')
    return registry


def copy_of(template: Registry, home: Path) -> Registry:
    """Return `template` at another place: nobody holds its files open."""
    shutil.copytree(template.home, home, dirs_exist_ok=True)
    registry = Registry(home)
    text = registry.settings.read_text().replace(str(template.home), str(home))
    registry.settings.write_text(text)
    return registry


def artifact_named(registry: Registry, name: str) -> str:
    """Return the id of the lived registry's artifact that ended in the state that `name` stands for."""
    outcome = {"good": "released", "held": "held", "bad": "rejected"}[name]
    ((found,),) = sql(registry, "select artifact_id from reg_decision where outcome=?", outcome)
    return str(found)
