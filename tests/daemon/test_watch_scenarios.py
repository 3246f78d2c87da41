"""Whatever writers do and events miss, the next look finds all of it (facts/formats.md section 6)."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from daemon.pipeline.sighting import note_sighting
from daemon.scan import Candidate, Readiness, WatchRules
from daemon.watcher import Presence, Watcher
from registry.audits.runner import AuditWorker
from tests.daemon import rig as rigs
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import Rig
from tests.daemon.watching import Clock, Running
from tests.weights_files import lora_bytes, write_lora

RULES = WatchRules()
LATER = 1000.0
CHECKOUT = Path(__file__).resolve().parents[2]


class Place:
    """A watched folder, and one beside it on the same file system."""

    def __init__(self, home: Path) -> None:
        self.root, self.outside = home / "out", home / "outside"
        self.root.mkdir()
        self.outside.mkdir()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def moved_in(place: Place) -> set[str]:
    write_lora(place.outside / "tree" / "deep" / "er" / "a.safetensors")
    write_lora(place.outside / "tree" / "b.safetensors")
    (place.outside / "tree").rename(place.root / "tree")
    return {"tree/deep/er/a.safetensors", "tree/b.safetensors"}


def moved_in_and_written_later(place: Place) -> set[str]:
    names = moved_in(place)
    write_lora(place.root / "tree" / "deep" / "later.safetensors")
    (place.root / "tree" / "new").mkdir()
    write_lora(place.root / "tree" / "new" / "later.safetensors")
    return names | {"tree/deep/later.safetensors", "tree/new/later.safetensors"}


def renamed_inside(place: Place) -> set[str]:
    write_lora(place.root / "run" / "a.safetensors")
    (place.root / "run").rename(place.root / "renamed")
    return {"renamed/a.safetensors"}


def finished_by_rename(place: Place) -> set[str]:
    # SimpleTuner and accelerate: a folder whose name says that it is not done, which nobody looks into.
    write_lora(place.root / "backup" / "a.safetensors")
    (place.root / "backup").rename(place.root / "done")
    return {"done/a.safetensors"}


def fresh_and_deep(place: Place) -> set[str]:
    write_lora(place.root.joinpath(*"abcdefg", "a.safetensors"))
    return {"a/b/c/d/e/f/g/a.safetensors"}


def temporary_name(place: Place) -> set[str]:
    write_lora(place.root / ".tmpQwErTy").rename(place.root / "a.safetensors")
    return {"a.safetensors"}


def through_a_hard_link(place: Place) -> set[str]:
    data = lora_bytes()
    with (place.outside / "other").open("wb") as file:
        file.write(data[:100])
        file.flush()
        os.link(place.outside / "other", place.root / "a.safetensors")
        file.write(data[100:])
    return {"a.safetensors"}


def link_to_weights(place: Place) -> set[str]:
    write_lora(place.outside / "a.safetensors")
    (place.root / "link.safetensors").symlink_to(place.outside / "a.safetensors")
    # Handed on, so that intake refuses it aloud.
    return {"link.safetensors"}


def by_mapping(place: Place) -> set[str]:
    data = lora_bytes()
    with (place.root / "a.safetensors").open("w+b") as file:
        file.truncate(len(data))
        with mmap.mmap(file.fileno(), len(data)) as mapping:
            mapping[:] = data
    return {"a.safetensors"}


def not_unicode(place: Place) -> set[str]:
    folder = place.root / os.fsdecode(b"run\xff")
    write_lora(folder / os.fsdecode(b"bad\xfe.safetensors"))
    return {os.fsdecode(b"run\xff/bad\xfe.safetensors")}


def many(place: Place) -> set[str]:
    names = {f"run{number % 20}/a{number:03}.safetensors" for number in range(300)}
    for name in names:
        write_lora(place.root / name)
    return names


def copied_with_old_times(place: Place) -> set[str]:
    source = write_lora(place.outside / "a.safetensors")
    os.utime(source, (1, 1))
    shutil.copy2(source, place.root / "a.safetensors")
    return {"a.safetensors"}


SCENARIOS = [
    *(moved_in, moved_in_and_written_later, renamed_inside, finished_by_rename, fresh_and_deep),
    *(temporary_name, through_a_hard_link, link_to_weights, by_mapping, not_unicode, many),
    copied_with_old_times,
]
scenarios = pytest.mark.parametrize("happens", SCENARIOS, ids=lambda happens: happens.__name__)


def inside(place: Place, found: list[Candidate]) -> list[str]:
    return sorted(str(seen.path.relative_to(place.root)) for seen in found)


@scenarios
def test_next_look_finds_all_of_it_once(place: Place, happens: Callable[[Place], set[str]]) -> None:
    found: list[Candidate] = []
    clock = Clock()
    watcher = Watcher(place.root, RULES, found.append, clock=clock)
    clock.pass_after(place.root, 0)
    watcher.reconcile()
    names = happens(place)
    clock.pass_after(place.root, LATER)
    watcher.reconcile()
    assert inside(place, found) == sorted(names)
    watcher.reconcile()
    assert len(found) == len(names)
    # A daemon that was started anew finds the same, under the same signatures.
    again: list[Candidate] = []
    Watcher(place.root, RULES, again.append, clock=clock).reconcile()
    assert again == found


@scenarios
def test_running_watcher_finds_all_of_it(
    place: Place, happens: Callable[[Place], set[str]]
) -> None:
    with Running(place.root) as running:
        names = happens(place)
        # What no event told of is found at the next regular look: here, now.
        running.watcher.nudge()
        assert running.wait(lambda: set(inside(place, running.found)) >= names)
    assert set(inside(place, running.found)) == names


def test_watcher_that_ended_in_the_middle_loses_nothing(place: Place) -> None:
    first = many(place)
    with Running(place.root) as running:
        assert running.wait(lambda: len(running.found) > 0)
    second = moved_in(place)
    with Running(place.root) as after:
        assert after.wait(lambda: len(after.found) >= len(first | second))
    assert set(inside(place, after.found)) == first | second


def test_change_that_no_event_tells_of_makes_the_folder_polled(place: Place) -> None:
    with Running(place.root, scan_seconds=0.2) as running:
        other = write_lora(place.outside / "other")
        os.link(other, place.root / "a.safetensors")
        assert running.wait(lambda: len(running.found) == 1)
        running.watcher.nudge()
        looks = len(running.looks)
        assert running.wait(lambda: len(running.looks) > looks + 1)
        write_lora(other, 5)
        assert running.wait(lambda: len(running.found) == 2)
        assert running.wait(lambda: "without any event" in running.looks[-1].polled)


@pytest.fixture
def rig(fresh: Registry) -> Iterator[Rig]:
    """Without audits, which nothing here comes to."""
    with rigs.opened(fresh, cast("AuditWorker", None)) as rig:
        yield rig


@pytest.mark.xdist_group("lived")
def test_folder_that_vanishes_takes_nothing_with_it(rig: Rig) -> None:
    watched = rig.registry.watched
    clock = Clock()
    watcher = Watcher(watched, RULES, lambda seen: note_sighting(rig.shop, seen), clock=clock)
    for name in ("a", "b", "run/c"):
        write_lora(watched / f"{name}.safetensors")
    clock.pass_after(watched, LATER)
    assert len(watcher.reconcile().handed_on) == 3
    noted = rig.rows("select id, state from reg_candidate order by id")
    jobs = rig.waiting()

    away = watched.rename(watched.with_name("away"))
    assert watcher.reconcile().presence is Presence.GONE
    # What a mount leaves behind where it was: an empty folder of another identity.
    watched.mkdir()
    look = watcher.reconcile()
    assert (look.presence, look.handed_on, look.waiting) == (Presence.REMOUNTED, (), ())
    assert rig.rows("select id, state from reg_candidate order by id") == noted

    watched.rmdir()
    away.rename(watched)
    write_lora(watched / "meanwhile.safetensors")
    clock.pass_after(watched, LATER)
    look = watcher.reconcile()
    assert (look.presence, len(look.handed_on)) == (Presence.REMOUNTED, 4)
    # What was known is not taken twice: one candidate more, one job more.
    assert len(rig.rows("select id from reg_candidate")) == len(noted) + 1
    assert len(rig.waiting()) == len(jobs) + 1


def test_mount_that_goes_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    own = ["unshare", "-Urm"]
    check = [*own, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(check, check=False).returncode:
        pytest.skip("no mounts of one's own here")
    command = [*own, sys.executable, "-m", "tests.daemon.mounting_process", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=60)
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    first = looks[0][1]
    assert [(presence, sorted(files)) for presence, files in looks] == [
        ("there", ["a.safetensors"]),
        ("remounted", []),
        ("there", []),
        ("remounted", ["a.safetensors", "run/b.safetensors"]),
        ("there", []),
        ("remounted", ["c.safetensors"]),
    ]
    # The ledger knows it by its signature, which no mount changes.
    assert looks[3][1]["a.safetensors"] == first["a.safetensors"]


def test_half_of_a_tree_that_cannot_be_entered_hides_only_itself(place: Place) -> None:
    write_lora(place.root / "run" / "a.safetensors")
    write_lora(place.root / "b.safetensors")
    found: list[Candidate] = []
    clock = Clock()
    clock.pass_after(place.root, LATER)
    watcher = Watcher(place.root, RULES, found.append, clock=clock)
    shutil.move(place.root / "run", place.outside / "run")
    watcher.reconcile()
    assert inside(place, found) == ["b.safetensors"]
    shutil.move(place.outside / "run", place.root / "run")
    watcher.reconcile()
    assert inside(place, found) == ["b.safetensors", "run/a.safetensors"]


def test_partial_file_waits_and_does_not_hold_up_the_others(place: Place) -> None:
    data = lora_bytes()
    (place.root / "partial.safetensors").write_bytes(data[:-1])
    write_lora(place.root / "whole.safetensors")
    found: list[Candidate] = []
    clock = Clock()
    clock.pass_after(place.root, 30)
    look = Watcher(place.root, RULES, found.append, clock=clock).reconcile()
    assert inside(place, found) == ["whole.safetensors"]
    assert [seen.readiness for seen in look.waiting] == [Readiness.UNFINISHED]
