"""What stands still is seen: dead watch threads, absent folders and channels, refused names and links."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon import service as services
from daemon.pipeline.decide_step import plan_routes
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.reconcile import Unfinished, reconcile, unfinished
from daemon.pipeline.shipping import clear_outbox
from daemon.probes.watching import watch_troubles
from daemon.scan import WatchRules
from daemon.service import Service, watcher_of
from daemon.standing import Teller, newest_event
from daemon.watcher import Look, Presence, Watcher
from registry.errors import PartlyDoneError
from registry.provenance.events import heartbeats
from registry.provenance.status import needs_person
from registry.provenance.views import Need
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, artifact_named, sql

pytestmark = pytest.mark.xdist_group("lived")

DEADLINE_SECONDS = 60
DAY_NS = 86_400_000_000_000


def needs(rig: Rig, kind: str) -> list[Need]:
    with rig.shop.ledger.reading() as reader:
        return [need for need in needs_person(reader) if need.kind == kind]


def plan(rig: Rig) -> None:
    with rig.shop.ledger.transaction() as tx:
        assert plan_routes(rig.shop, tx, artifact_named(rig.registry, "good")) == 1


def service_of(rig: Rig, *watchers: Watcher) -> Service:
    since = newest_event(rig.shop.ledger)
    return Service(rig.shop, watchers, since, patience_seconds=0)


# --- names and links


def test_name_that_is_no_text_is_refused_aloud_and_the_others_go_on(rig: Rig) -> None:
    watched = rig.registry.watched
    good = write_adapter(watched / "z.safetensors")
    good.with_name(os.fsdecode(b"a\xff.safetensors")).write_bytes(good.read_bytes())
    watcher = watcher_of(rig.shop, rig.shop.settings.watch[0])
    watcher._clock = lambda: good.stat().st_ctime_ns + DAY_NS
    look = watcher.reconcile()
    assert (len(look.handed_on), look.problem) == (2, "")
    rig.work()
    (need,) = needs(rig, "file refused")
    assert need.name == str(watched / "a\\xff.safetensors")
    assert "UTF-8" in need.reason
    assert rig.rows("select state from reg_artifact") == [("released",)]
    assert "a\\xff" in rig.registry.run("status", "--config", rig.registry.settings).output


def test_link_out_of_the_folder_is_refused_aloud(rig: Rig, tmp_path: Path) -> None:
    link = rig.registry.watched / "link.safetensors"
    link.symlink_to(write_adapter(tmp_path / "elsewhere.safetensors"))
    rig.drop(link)
    assert rig.work() == [("intake", "refused")]
    (need,) = needs(rig, "file refused")
    assert need.name == str(link)
    assert "symbolic link" in need.reason
    assert rig.rows("select * from reg_artifact") == []


def test_whatever_breaks_while_a_file_is_noted_is_a_problem_of_that_look(rig: Rig) -> None:
    def broken() -> object:
        raise ValueError("no time")

    path = write_adapter(rig.registry.watched / "a.safetensors")
    watcher = watcher_of(replace(rig.shop, clock=broken), rig.shop.settings.watch[0])
    watcher._clock = lambda: path.stat().st_ctime_ns + DAY_NS
    assert watcher.reconcile().problem == "noting a file broke: ValueError"


# --- watch threads and folders


class Scripted(Watcher):
    """A watcher whose loop raises what it is told, one error for each start, then looks until stopped."""

    def __init__(self, root: Path, *errors: BaseException) -> None:
        super().__init__(root, WatchRules(), lambda _: None)
        self.errors = list(errors)
        self.looks = threading.Event()

    def run(self, stop: threading.Event, *, on_look: object = None) -> None:
        if self.errors:
            raise self.errors.pop(0)
        assert callable(on_look)
        on_look(Look(Presence.THERE, (), ()))
        self.looks.set()
        stop.wait(DEADLINE_SECONDS)


@contextlib.contextmanager
def watching(service: Service) -> Iterator[Service]:
    service.start_watching()
    try:
        yield service
    finally:
        service.stop()
        for thread in service.threads:
            thread.join(DEADLINE_SECONDS)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The far end of sd_notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield end


def heard(systemd: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(systemd.recv(100))
    return found


def test_watch_thread_survives_whatever_a_look_runs_into(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WATCH_AGAIN_SECONDS", 0.0)
    watcher = Scripted(rig.registry.watched, RuntimeError("once"), UnicodeError("twice"))
    with watching(service_of(rig, watcher)):
        assert watcher.looks.wait(DEADLINE_SECONDS)
    kinds = [row[0] for row in rig.rows("select kind from reg_event where kind like 'watch%'")]
    assert kinds == ["watch broke", "watch there"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_watch_thread_beats_no_more_and_stops_the_watchdog(
    rig: Rig, systemd: socket.socket
) -> None:
    watcher = Scripted(rig.registry.watched, SystemExit())
    with watching(service_of(rig, watcher)) as service:
        service.threads[0].join(DEADLINE_SECONDS)
        service.beat()
        assert not service.ping()
    assert heard(systemd) == []
    paths = rig.shop.custody.paths
    with rig.shop.ledger.reading() as reader:
        assert [beat.executor for beat in heartbeats(reader)] == ["daemon"]
        (answer,) = watch_troubles(rig.shop.settings, paths, reader, running=True)
        assert list(watch_troubles(rig.shop.settings, paths, reader, running=False)) == []
    assert "not watched by the daemon" in answer.found
    assert answer.advice


def test_living_watch_thread_beats_and_feeds_the_watchdog(rig: Rig, systemd: socket.socket) -> None:
    watcher = Scripted(rig.registry.watched)
    with watching(service_of(rig, watcher)) as service:
        assert watcher.looks.wait(DEADLINE_SECONDS)
        service.beat()
        assert service.ping()
    assert heard(systemd) == [b"WATCHDOG=1"]
    with rig.shop.ledger.reading() as reader:
        troubles = watch_troubles(rig.shop.settings, rig.shop.custody.paths, reader, running=True)
        assert list(troubles) == []


def test_watched_folder_that_goes_and_comes_is_an_event_each_without_its_path(rig: Rig) -> None:
    told = Teller(rig.shop, 1)
    for standing in (Presence.THERE, Presence.GONE, Presence.GONE, Presence.THERE):
        told(standing.value)
    rows = rig.rows("select kind, detail from reg_event where kind like 'watch%'")
    detail = "folder 1 of the settings"
    assert rows == [("watch gone", detail), ("watch there", detail)]


def test_status_names_a_watched_folder_that_is_missing(fresh: Registry) -> None:
    fresh.watched.rename(fresh.home / "away")
    lines = fresh.run("status", "--config", fresh.settings).output.splitlines()
    (line,) = [line for line in lines if line.startswith("! watch:")]
    assert str(fresh.watched) in line
    assert "->" in lines[lines.index(line) + 1]


# --- once


def test_once_says_that_a_watched_folder_is_missing(rig: Rig) -> None:
    rig.registry.watched.rename(rig.registry.home / "away")
    service = service_of(rig, watcher_of(rig.shop, rig.shop.settings.watch[0]))
    with pytest.raises(PartlyDoneError, match="is missing"):
        service.run_once()


def test_once_says_that_a_delivery_failed_and_only_the_first_time(lived_rig: Rig) -> None:
    service = service_of(lived_rig)
    sql(lived_rig.registry, "delete from reg_address")
    plan(lived_rig)
    assert lived_rig.work() == [("deliver", "failed")]
    with pytest.raises(PartlyDoneError, match="failed: the recipient has no address"):
        service.run_once()
    service_of(lived_rig).run_once()


def test_once_ends_and_names_a_delivery_whose_channel_is_away(lived_rig: Rig) -> None:
    stick = lived_rig.registry.stick
    away = stick.rename(lived_rig.registry.home / "away")
    plan(lived_rig)
    assert lived_rig.work() == [("deliver", "later")]
    with pytest.raises(PartlyDoneError, match=r"delivery [0-9a-f]{12} prepared: .*folder"):
        service_of(lived_rig).run_once()
    (need,) = needs(lived_rig, "delivery prepared")
    assert "folder" in need.reason
    assert "channel status" in need.what_to_do
    deliver(lived_rig.shop, need.id)
    assert lived_rig.one("select count(*) from reg_event where kind='delivery waits'") == (1,)
    away.rename(stick)
    assert ("deliver", "sent") in lived_rig.work(delayed=True)
    assert needs(lived_rig, "delivery prepared") == []
    service_of(lived_rig).run_once()


def test_deadline_that_lies_ahead_keeps_nothing_from_ending(lived_rig: Rig) -> None:
    assert [job.name for job in lived_rig.waiting(delayed=True)] == ["deadline"]
    lived_rig.clock.advance(days=30)
    assert unfinished(lived_rig.shop) == Unfinished()
    service_of(lived_rig).run_once()


@dataclass
class Odd:
    """A channel of which only the events are asked."""

    told: list[str]
    name: str
    error: Exception | None = None
    after: list[object] = field(default_factory=list)

    def events(self, _cursor: str | None) -> tuple[()]:
        self.told.append(self.name)
        for call in self.after:
            assert callable(call)
            call()
        if self.error is not None:
            raise self.error
        return ()


def test_channel_that_raises_does_not_stop_those_after_it_and_is_named(
    lived_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BROKEN_ROUNDS", 0)
    told: list[str] = []
    lived_rig.with_channels({"a": Odd(told, "a", RuntimeError()), "b": Odd(told, "b")})  # type: ignore[dict-item] # asked for events only
    with pytest.raises(PartlyDoneError, match="channel a broke: RuntimeError"):
        service_of(lived_rig).run_once()
    assert told[:2] == ["a", "b"]


def test_watchdog_is_fed_between_two_long_duties(rig: Rig, systemd: socket.socket) -> None:
    told: list[str] = []
    seconds = [0.0]

    def pass_time() -> None:
        seconds[0] += 50

    last = Odd(told, "b", after=[pass_time])
    rig.with_channels({"a": Odd(told, "a", after=[pass_time]), "b": last})  # type: ignore[dict-item] # asked for events only
    service = replace(service_of(rig), uptime=lambda: seconds[0])
    last.after.append(service.stop)
    service.run()
    assert told == ["a", "b"]
    assert heard(systemd).count(b"WATCHDOG=1") == 3


# --- what was lost, what is kept


def test_overdue_delivery_whose_deadline_job_was_lost_gets_it_back(lived_rig: Rig) -> None:
    sql(lived_rig.registry, "delete from workflow_status")
    assert reconcile(lived_rig.shop) == 0
    lived_rig.clock.advance(days=30)
    assert reconcile(lived_rig.shop) == 1
    assert lived_rig.work() == [("deadline", "unconfirmed")]
    assert reconcile(lived_rig.shop) == 0


@pytest.mark.parametrize("state", ["acknowledged", "cancelled", "failed", "unconfirmed"])
def test_outbox_of_a_delivery_that_is_over_is_removed(lived_rig: Rig, state: str) -> None:
    (made,) = lived_rig.one("select id from reg_delivery")
    folder = lived_rig.shop.custody.paths.outbox / str(made)
    assert clear_outbox(lived_rig.shop) == 0
    assert folder.is_dir()
    sql(lived_rig.registry, "update reg_delivery set state=?", state)
    assert clear_outbox(lived_rig.shop) == 1
    assert not folder.exists()


@pytest.mark.parametrize("state", ["prepared", "sending", "sent", "waiting"])
def test_outbox_of_a_delivery_that_may_still_be_sent_is_kept(lived_rig: Rig, state: str) -> None:
    sql(lived_rig.registry, "update reg_delivery set state=?", state)
    assert clear_outbox(lived_rig.shop) == 0


def test_outbox_is_kept_while_a_send_may_read_it(lived_rig: Rig) -> None:
    """Acknowledged in the middle of a send, say: its job is still active."""
    sql(lived_rig.registry, "update reg_delivery set state='prepared'")
    assert reconcile(lived_rig.shop) == 1
    sql(lived_rig.registry, "update reg_delivery set state='acknowledged'")
    assert clear_outbox(lived_rig.shop) == 0
    lived_rig.work()
    assert clear_outbox(lived_rig.shop) == 1


def test_damaged_ledger_stops_the_start_with_a_reason_and_what_to_do(fresh: Registry) -> None:
    state = fresh.home / "state"
    for path in state.glob("registry.sqlite*"):
        path.unlink()
    (state / "registry.sqlite").write_bytes(b"no database at all, " * 500)
    result = fresh.run("up", "--once", "--quiet", "--config", fresh.settings, code=1)
    assert isinstance(result.exception, SystemExit)
    assert "the ledger's file is damaged" in result.output
    assert "what to do: restore a backup" in result.output


def test_unknown_folder_in_the_outbox_is_left_alone(lived_rig: Rig) -> None:
    other = lived_rig.shop.custody.paths.outbox / "notes"
    other.mkdir()
    assert clear_outbox(lived_rig.shop) == 0
    assert other.is_dir()
