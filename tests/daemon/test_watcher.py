"""The watcher: each state of a file is handed on once, whatever events say or do not say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.scan import NS_PER_SECOND, Candidate, Readiness, WatchRules
from daemon.watcher import Presence, Watcher, rest_after
from registry.errors import BusyError, LorasealError
from tests.daemon.watching import Clock, Running
from tests.weights_files import write_lora

RULES = WatchRules(settle_seconds=2, settle_set_seconds=10, broken_after_seconds=60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def found() -> list[Candidate]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(root: Path, found: list[Candidate], clock: Clock) -> Watcher:
    return Watcher(root, RULES, found.append, clock=clock)


def test_file_is_handed_on_once_and_again_when_it_changed(
    root: Path, watcher: Watcher, clock: Clock, found: list[Candidate]
) -> None:
    path = write_lora(root / "a.safetensors")
    clock.pass_after(path, 1)
    look = watcher.reconcile()
    assert (look.handed_on, found) == ((), [])
    assert look.due_ns == path.stat().st_ctime_ns + 2 * NS_PER_SECOND
    clock.pass_after(path, 2)
    assert watcher.reconcile().handed_on == tuple(found)
    watcher.reconcile()
    assert len(found) == 1
    write_lora(path, 5)
    clock.pass_after(path, 2)
    watcher.reconcile()
    assert len(found) == 2
    assert found[0].signature != found[1].signature


def test_new_watcher_hands_on_the_same_signature(
    root: Path, watcher: Watcher, clock: Clock, found: list[Candidate]
) -> None:
    clock.pass_after(write_lora(root / "a.safetensors"), 5)
    watcher.reconcile()
    Watcher(root, RULES, found.append, clock=clock).reconcile()
    assert found[0] == found[1]


def test_candidate_that_could_not_be_noted_is_handed_on_again(
    root: Path, clock: Clock, found: list[Candidate]
) -> None:
    def note(candidate: Candidate) -> None:
        found.append(candidate)
        if len(found) == 1:
            raise BusyError("the ledger is busy")

    clock.pass_after(write_lora(root / "a.safetensors"), 5)
    watcher = Watcher(root, RULES, note, clock=clock)
    look = watcher.reconcile()
    assert (look.handed_on, look.problem) == ((), "the ledger is busy")
    assert watcher.reconcile().handed_on == (found[0],)


def test_candidate_that_could_not_be_noted_does_not_keep_the_others_out(
    root: Path, clock: Clock, found: list[Candidate]
) -> None:
    def note(candidate: Candidate) -> None:
        if candidate.path.name == "a.safetensors":
            raise LorasealError("noting a file broke")
        found.append(candidate)

    write_lora(root / "a.safetensors")
    clock.pass_after(write_lora(root / "b.safetensors"), 5)
    look = Watcher(root, RULES, note, clock=clock).reconcile()
    assert look.problem == "noting a file broke"
    assert [candidate.path.name for candidate in found] == ["b.safetensors"]


def test_vanished_root_is_told_and_concludes_nothing(
    root: Path, watcher: Watcher, clock: Clock, found: list[Candidate]
) -> None:
    path = write_lora(root / "a.safetensors")
    clock.pass_after(path, 5)
    watcher.reconcile()
    root.rename(root.with_name("away"))
    look = watcher.reconcile()
    assert look.presence is Presence.GONE
    assert "is gone" in look.problem
    root.with_name("away").rename(root)
    look = watcher.reconcile()
    assert (look.presence, look.problem) == (Presence.THERE, "")
    assert len(found) == 1


def test_replaced_root_is_told(root: Path, watcher: Watcher) -> None:
    watcher.reconcile()
    root.rename(root.with_name("away"))
    root.mkdir()
    look = watcher.reconcile()
    assert look.presence is Presence.REMOUNTED
    assert "remounted" in look.problem
    assert watcher.reconcile().presence is Presence.THERE


def test_file_that_was_away_with_its_mount_is_handed_on_again(
    root: Path, watcher: Watcher, clock: Clock, found: list[Candidate]
) -> None:
    clock.pass_after(write_lora(root / "a.safetensors"), 2)
    watcher.reconcile()
    away = root.rename(root.with_name("away"))
    root.mkdir()
    watcher.reconcile()
    root.rmdir()
    away.rename(root)
    watcher.reconcile()
    assert [seen.signature for seen in found] == [found[0].signature] * 2


def test_waiting_files_are_told_with_reasons(root: Path, watcher: Watcher, clock: Clock) -> None:
    path = root / "a.safetensors"
    path.write_bytes(b"\0" * 100)
    clock.pass_after(path, 5)
    (seen,) = watcher.reconcile().waiting
    assert seen.readiness is Readiness.UNFINISHED
    assert "header length is 0" in seen.reason


def test_real_events_find_new_moved_and_renamed_files(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_lora(elsewhere / "moved.safetensors")
    with Running(root) as running:
        write_lora(root / "new.safetensors")
        assert running.wait(lambda: "new.safetensors" in running.paths())
        # As the official writer since 0.8: a hidden temporary name, then a rename.
        write_lora(root / ".tmpQwErTy").rename(root / "renamed.safetensors")
        assert running.wait(lambda: "renamed.safetensors" in running.paths())
        elsewhere.rename(root / "folder")
        assert running.wait(lambda: "moved.safetensors" in running.paths())
        # Later changes in a folder that was moved in.
        write_lora(root / "folder" / "later.safetensors")
        assert running.wait(lambda: "later.safetensors" in running.paths())
    assert len(running.found) == 4


def test_official_writer_saving_into_the_folder_is_found_whole(root: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the official safetensors writer")
    writer = pytest.importorskip("safetensors.torch")
    tensors = {f"t{number}": torch.rand(256, 256) for number in range(8)}
    with Running(root) as running:
        writer.save_file(tensors, str(root / "official.safetensors"))
        assert running.wait(lambda: "official.safetensors" in running.paths())
    assert running.found[0].files[0][1].stat().st_size > 8 * 256 * 256 * 4


def test_files_there_before_the_start_are_found(root: Path) -> None:
    path = write_lora(root / "before.safetensors")
    os.utime(path, (1, 1))
    with Running(root) as running:
        assert running.wait(lambda: "before.safetensors" in running.paths())


def test_root_that_comes_later_is_watched(tmp_path: Path) -> None:
    root = tmp_path / "later"
    with Running(root) as running:
        assert running.looks[0].presence is Presence.GONE
        write_lora(root / "a.safetensors")
        running.watcher.nudge()
        assert running.wait(lambda: "a.safetensors" in running.paths())


def test_rest_after_a_scan_follows_what_it_took_within_bounds() -> None:
    assert [rest_after(seconds) for seconds in (0.0, 0.5, 60.0)] == [0.2, 2.0, 5.0]


def test_root_that_is_a_link_is_heard(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Running(tmp_path / "link") as running:
        write_lora(tmp_path / "real" / "a.safetensors")
        assert running.wait(lambda: "a.safetensors" in running.paths())
        assert running.looks[-1].polled == ""
