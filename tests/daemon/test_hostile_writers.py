"""A few hundred of the hostile writers of `bench.hostile_writers`: nothing partial is sealed, nothing missed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hostile_scripts import HARD, KINDS, Dice, Script
from bench.hostile_writers import Bench, opened_bench, play, summary_of
from registry.artifacts import leases

CASES = 300


MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    # The vault in memory: what is measured is reading, and every payload is synced to its disk.
    where = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path
    with (
        tempfile.TemporaryDirectory(dir=where) as memory,
        opened_bench(tmp_path / "disk", Path(memory) / "vault") as bench,
    ):
        yield bench


def gives_leases(folder: Path) -> bool:
    path = folder / "probe"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        return leases.take_read_lease(file.fileno())


def test_no_hostile_writer_gets_a_partial_file_sealed(bench: Bench, tmp_path: Path) -> None:
    if not gives_leases(tmp_path):
        pytest.skip("no read leases on this file system")
    play(bench, KINDS, CASES, "tests")
    found = summary_of(bench, 0)
    assert (found["partial_by_kind"], found["missed_by_kind"]) == ({}, {})
    # It was no walk in the park: the writers were in the way, and were killed.
    assert bench.counts["intake: taken"] > CASES // 2
    assert bench.counts["killed"] > CASES // 6
    assert bench.counts["intake: FormatError"] > 0


def test_bench_does_see_a_partial_intake(bench: Bench) -> None:
    """What nobody can tell is counted as what it is: the measure itself can fail."""
    play(bench, {"in place": HARD["rewritten in place, closed between chunks"]}, 20, "tests")
    assert bench.partial.total() > 0


def test_scripts_are_the_same_on_every_run(tmp_path: Path) -> None:
    scripts = []
    for _ in range(2):
        script = Script(tmp_path, tmp_path, Dice("seed"))
        KINDS["slow"](script)
        scripts.append((script.steps, script.wholes))
    assert scripts[0] == scripts[1]
