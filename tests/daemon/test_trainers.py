"""Every trainer of the fixture sheet, step by step: nothing half-written is taken, and at the end all is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.scan import NS_PER_SECOND, Intermediates, Readiness, Sighting, WatchRules, scan
from tests.daemon.trainers import RUNS, Remove, Rename, Run, Write, carry_out
from tests.sheet import rows

MINUTE = 60 * NS_PER_SECOND
EVERY = WatchRules(intermediates=Intermediates.EVERY)


class Folder:
    """A folder in which a trainer works; each step is one second later than the last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0

    def do(self, step: Write | Rename | Remove) -> None:
        carry_out(self.root, step)
        if isinstance(step, Write):
            path = self.root / step.path
            # The next second of this file system's own clock, so that ctime is not ahead of it.
            base = path.stat().st_ctime_ns
            self.now = max(self.now + NS_PER_SECOND, base)
            os.utime(path, ns=(self.now, self.now))
            self.now = max(self.now, path.stat().st_ctime_ns)

    def look(self, rules: WatchRules, *, after: int) -> dict[str, Sighting]:
        seen = scan(self.root, self.now + after, rules)
        return {str(one.candidate.path.relative_to(self.root)): one for one in seen}

    def ready(self, rules: WatchRules = EVERY, *, after: int = 30 * NS_PER_SECOND) -> set[str]:
        found = self.look(rules, after=after).items()
        return {base for base, seen in found if seen.readiness is Readiness.READY}


def test_every_layout_of_the_sheet_has_its_run() -> None:
    layouts = rows("output_layouts")
    if not layouts:
        pytest.skip("needs the fixture sheet in ../shared")
    assert {row["trainer"] for row in layouts} == set(RUNS)


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_nothing_is_ready_before_its_trainer_is_done_with_it(run: Run, tmp_path: Path) -> None:
    """Half a minute of quiet after each step: what a pause of the trainer would show us."""
    folder = Folder(tmp_path)
    known = {*run.finals, *run.saves}
    for number, step in enumerate(run.steps):
        folder.do(step)
        ready = folder.ready()
        early = {base for base, done in run.open_until if number < done}
        assert not ready & early, (number, step)
        assert ready <= known | _removed(run), (number, step)


def _removed(run: Run) -> set[str]:
    gone = [step.path for step in run.steps if isinstance(step, Remove)]
    written = [step.path for step in run.steps if isinstance(step, Write)]
    return {path for path in written if any(path.startswith(f"{each}/") for each in gone)}


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_in_the_end_all_is_found_and_results_are_told_from_saves(run: Run, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for step in run.steps:
        folder.do(step)
    assert folder.ready() == {*run.finals, *run.saves}
    assert folder.ready(WatchRules()) == set(run.finals)
    passed = folder.look(WatchRules(), after=MINUTE)
    assert {
        base for base, seen in passed.items() if seen.readiness is Readiness.PASSED_OVER
    } == set(run.saves)


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_owner_of_a_trainer_without_results_is_told_what_to_set(run: Run, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for step in run.steps:
        folder.do(step)
    silent = [
        seen for seen in folder.look(WatchRules(), after=MINUTE).values() if not seen.has_final
    ]
    assert bool(silent) is not bool(run.finals)
    assert all('intermediates = "last"' in seen.reason for seen in silent)


def test_last_saves_are_the_newest_by_number_of_each_run(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("b-000010", "b-000009", "b-000002", "a-000001", "b"):
        folder.do(Write(f"{name}.safetensors"))
    rules = WatchRules(intermediates=Intermediates.LAST, keep_last=2)
    assert folder.ready(rules) == {
        "b-000010.safetensors", "b-000009.safetensors", "a-000001.safetensors", "b.safetensors",
    }  # fmt: skip


def test_unfinished_save_takes_nobodys_place(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in (7, 8):
        for name in ("adapter_model.safetensors", "adapter_config.json", "trainer_state.json"):
            folder.do(Write(f"checkpoint-{number}/{name}"))
    folder.do(Write("checkpoint-9/adapter_model.safetensors"))
    rules = WatchRules(intermediates=Intermediates.LAST, keep_last=1)
    assert folder.ready(rules) == {"checkpoint-8"}
    assert folder.look(rules, after=0)["checkpoint-9"].readiness is not Readiness.PASSED_OVER


def test_save_that_was_handed_on_counts_among_the_last(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in (1, 2, 3):
        folder.do(Write(f"a-00000{number}.safetensors"))
    rules = WatchRules(intermediates=Intermediates.LAST, keep_last=2)
    first = scan(tmp_path, folder.now + MINUTE, rules)
    known = {
        (seen.candidate.path, seen.candidate.signature)
        for seen in first
        if seen.readiness is Readiness.READY
    }
    again = scan(tmp_path, folder.now + MINUTE, rules, known=known)
    assert [seen.readiness for seen in again] == [Readiness.PASSED_OVER]


def test_epochs_and_steps_of_one_run_are_ordered_by_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("a-step00000500", "a-000001", "a-step00000900"):
        folder.do(Write(f"{name}.safetensors"))
    rules = WatchRules(intermediates=Intermediates.LAST, keep_last=1)
    assert folder.ready(rules) == {"a-step00000900.safetensors"}


# --- pairs


def test_half_of_a_pair_is_waited_for_and_then_taken_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.do(Write("wan_low_noise.safetensors"))
    assert folder.ready() == set()
    seen = folder.look(EVERY, after=30 * NS_PER_SECOND)["wan_low_noise.safetensors"]
    assert "wan_high_noise.safetensors" in seen.reason
    assert folder.ready(after=2 * MINUTE) == {"wan_low_noise.safetensors"}


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("a_high_noise.safetensors", "a_low_noise.safetensors"),
        ("a-HighNoise-v2.safetensors", "a-LowNoise-v2.safetensors"),
        ("HIGH-NOISE.a.safetensors", "LOW-NOISE.a.safetensors"),
    ],
)
def test_pair_is_one_artifact_of_two_files(tmp_path: Path, high: str, low: str) -> None:
    folder = Folder(tmp_path)
    folder.do(Write(low))
    folder.do(Write(high))
    (seen,) = folder.look(EVERY, after=MINUTE).values()
    assert {name for name, _ in seen.candidate.files} == {high, low}


@pytest.mark.parametrize(
    "name", ["thigh_noise.safetensors", "high.safetensors", "low_noises.safetensors"]
)
def test_name_that_only_looks_like_half_a_pair_stands_alone(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path)
    folder.do(Write(name))
    assert folder.ready(WatchRules()) == {name}


# --- what is never taken


@pytest.mark.parametrize(
    "path",
    [
        "run-state/model.safetensors",
        "backup/2026-01-31_12-00-00-backup-1-1-1/lora/lora.safetensors",
        "2026-01-31_12-00-00-backup-1-1-1/lora/lora.safetensors",
        "checkpoint-7/ema/pytorch_lora_weights.safetensors",
        "ema_adapter.safetensors",
        "a_0960x0544_wan.safetensors",
        "a_wan_te.safetensors",
        "model-00002-of-00004.safetensors",
    ],
)
def test_state_caches_and_later_shards_are_no_candidates(tmp_path: Path, path: str) -> None:
    folder = Folder(tmp_path)
    folder.do(Write(path))
    assert folder.look(EVERY, after=2 * MINUTE) == {}


@pytest.mark.parametrize("name", ["style_1024x1024_v2.safetensors", "a_10x10_wan.safetensors"])
def test_resolution_in_the_name_of_an_adapter_does_not_hide_it(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path)
    folder.do(Write(name))
    assert folder.ready() == {name}


def test_save_that_only_has_to_be_quiet_keeps_its_place(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.do(Write("a-000001.safetensors"))
    folder.now += MINUTE
    folder.do(Write("a-000002.safetensors"))
    rules = WatchRules(settle_seconds=2, intermediates=Intermediates.LAST, keep_last=1)
    found = folder.look(rules, after=NS_PER_SECOND)
    assert found["a-000002.safetensors"].readiness is Readiness.SETTLING
    assert found["a-000001.safetensors"].readiness is Readiness.PASSED_OVER


def test_weights_of_simpletuner_without_a_header_are_waited_for_and_not_for_ever(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path)
    folder.do(Write("checkpoint-5/.guard"))
    folder.do(Write("pytorch_lora_weights.safetensors"))
    assert folder.ready() == set()
    seen = folder.look(EVERY, after=30 * NS_PER_SECOND)["pytorch_lora_weights.safetensors"]
    assert "with a header" in seen.reason
    assert folder.ready(after=2 * MINUTE) == {"pytorch_lora_weights.safetensors"}
