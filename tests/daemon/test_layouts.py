"""Layouts: from names alone, which files belong together and which are left alone."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from daemon.layouts.found import FoundFile, Group, Layout, Stage
from daemon.layouts.grouping import group_files
from daemon.layouts.names import is_ignored_directory, is_interesting_file, is_mark
from daemon.layouts.saves import save_of_file
from daemon.scan import find_files
from tests.weights_files import write_lora


def groups(*paths: str) -> tuple[Group, ...]:
    return group_files(FoundFile(PurePosixPath(path), 1, 2, 3) for path in paths)


@pytest.mark.parametrize(
    "name",
    [
        ".tmpAb12Cd",
        ".tmp-checkpoint-7",
        "last-state",
        "sample-000004-state",
        "backup",
        "checkpoint-500-tmp",
        "tmp",
        "_unsloth_temporary_saved_buffers",
        "sample",
        "samples",
        "validation_images",
        "logs",
        "runs",
    ],
)
def test_directory_of_trainer_state_is_ignored(name: str) -> None:
    assert is_ignored_directory(name)


@pytest.mark.parametrize("name", ["checkpoint-500", "output", "tmpl", "high_noise"])
def test_other_directory_is_entered(name: str) -> None:
    assert not is_ignored_directory(name)


@pytest.mark.parametrize(
    "name",
    [
        ".tmpXy12Zz",
        ".hidden.safetensors",
        "optimizer.safetensors",
        "0001_wan_te.safetensors",
        "model.safetensors.part",
        "model.safetensors.crdownload",
        "~syncthing~model.safetensors",
        "model.safetensors~",
        "last.pt",
        "latents.npz",
        "training_args.bin",
        "README.md",
        "sample.png",
    ],
)
def test_file_that_is_no_part_of_an_artifact_is_ignored(name: str) -> None:
    assert not is_interesting_file(name)


@pytest.mark.parametrize("name", ["last.safetensors", "adapter_config.json", "tokenizer.json"])
def test_file_that_can_be_part_of_an_artifact_is_kept(name: str) -> None:
    assert is_interesting_file(name)


@pytest.mark.parametrize(
    "path",
    [
        "name-000004.safetensors",
        "epoch-000001.safetensors",
        "at-step00000500.safetensors",
        "name-step00000500.safetensors",
        "checkpoint-500/pytorch_lora_weights.safetensors",
        "checkpoint-500-rolling/x.safetensors",
        "run/checkpoint-7/adapter_model.safetensors",
    ],
)
def test_intermediate_saves_are_known_by_name(path: str) -> None:
    assert save_of_file(PurePosixPath(path)) is not None


@pytest.mark.parametrize(
    "path",
    [
        "name.safetensors",
        "name-4.safetensors",
        "v-1000000.safetensors",
        "checkpoint/x",
        "foo-step2.safetensors",
        "portrait-241121.safetensors",
        "my-000123-style.safetensors",
        "photo_202611210.safetensors",
        "epochal.safetensors",
        "step/epoch.safetensors",
    ],
)
def test_other_names_are_final(path: str) -> None:
    assert save_of_file(PurePosixPath(path)) is None


def test_single_files_are_one_artifact_each() -> None:
    found = groups("b.safetensors", "a.safetensors")
    assert [str(group.base) for group in found] == ["a.safetensors", "b.safetensors"]
    assert {group.layout for group in found} == {Layout.SINGLE}


def test_diffusers_name_is_known() -> None:
    (group,) = groups("out/pytorch_lora_weights.safetensors")
    assert (group.layout, group.stage) == (Layout.DIFFUSERS, Stage.FINAL)


def test_peft_directory_is_one_artifact_with_its_side_files() -> None:
    (group,) = groups(
        "run/tokenizer.json", "run/adapter_model.safetensors", "run/adapter_config.json"
    )
    assert (group.layout, str(group.base), group.missing) == (Layout.PEFT, "run", None)
    assert [file.path.name for file in group.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    ]


def test_watched_folder_itself_may_be_the_peft_directory() -> None:
    (group,) = groups("adapter_model.safetensors", "adapter_config.json")
    assert group.base == PurePosixPath()


def test_weights_without_their_config_are_missing_it() -> None:
    (group,) = groups("run/adapter_model.safetensors")
    assert group.missing == "adapter_config.json"


def test_missing_shard_is_named() -> None:
    (group,) = groups("adapter_model-00001-of-00002.safetensors", "adapter_config.json")
    assert group.missing == "adapter_model-00002-of-00002.safetensors"


def test_config_alone_is_no_artifact() -> None:
    assert groups("run/adapter_config.json", "run/tokenizer.json") == ()


def test_other_weights_beside_a_peft_adapter_stand_alone() -> None:
    found = groups("r/adapter_model.safetensors", "r/adapter_config.json", "r/x.safetensors")
    assert [(group.layout, len(group.files)) for group in found] == [
        (Layout.PEFT, 2),
        (Layout.SINGLE, 1),
    ]


# --- pickles


@pytest.mark.parametrize("name", ["last.ckpt", "adapter_model.bin", "pytorch_lora_weights.bin"])
def test_pickled_weights_are_seen_so_that_their_refusal_is(name: str) -> None:
    assert is_interesting_file(name)


@pytest.mark.parametrize("name", ["last.pt", "lora.pth", "weights.bin"])
def test_other_pickles_are_seen_only_on_request(name: str) -> None:
    assert not is_interesting_file(name)
    assert is_interesting_file(name, pickles=True)


@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt",
        "scheduler.bin",
        "rng_state_0.pth",
        "training_args.bin",
        "scaler.pt",
        "ema.pt",
    ],
)
def test_pickled_state_of_a_run_is_no_artifact_even_on_request(name: str) -> None:
    assert groups(f"run/{name}") == ()


def test_pickle_beside_the_same_weights_as_safetensors_is_left_out() -> None:
    (group,) = groups("a.ckpt", "a.safetensors")
    assert str(group.base) == "a.safetensors"


def test_pickled_peft_adapter_is_one_artifact() -> None:
    (group,) = groups("r/adapter_model.bin", "r/adapter_config.json")
    assert (group.layout, len(group.files)) == (Layout.PEFT, 2)


@pytest.mark.parametrize(
    ("name", "directory", "found"),
    [(".guard", False, True), ("tmp", True, True), ("tmp", False, False), ("x.json", False, False)],
)
def test_marks_are_known_by_name(name: str, directory: bool, found: bool) -> None:
    assert is_mark(name, directory=directory) is found


@pytest.mark.parametrize(
    "path",
    [
        "anna_1024x1024_sdxl.safetensors", "anna_1024x1024_flux.safetensors", "style_te.safetensors",
        "optimizer_style.safetensors", "hanfu_cn_2/good.safetensors", "assets/good.safetensors",
        "ema/good.safetensors",
    ],
)  # fmt: skip
def test_name_that_a_trainer_uses_elsewhere_hides_no_adapter(tmp_path: Path, path: str) -> None:
    target = tmp_path / path
    target.parent.mkdir(exist_ok=True)
    write_lora(target)
    assert [str(file.path) for file in find_files(tmp_path)] == [path]


def test_folders_of_a_save_and_of_a_job_are_left_out(tmp_path: Path) -> None:
    for path in ("checkpoint-5/ema/a.safetensors", "job/job_cn_250/a.safetensors"):
        (tmp_path / path).parent.mkdir(parents=True)
        write_lora(tmp_path / path)
    (tmp_path / "job" / "optimizer.pt").write_bytes(b"")
    assert [str(file.path) for file in find_files(tmp_path)] == ["job/optimizer.pt"]
