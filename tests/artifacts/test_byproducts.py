"""Names to by-products: adapters are never among them, doubt is said, every layout is known."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.byproducts import looking as folder_look
from registry.artifacts.byproducts.finding import (
    EXPOSURES,
    ByProduct,
    find_byproducts,
    find_trainers,
)
from registry.artifacts.byproducts.looking import look_at
from registry.artifacts.byproducts.names import Category, Trainer
from registry.errors import FormatError
from tests import sheet
from tests.artifacts.trainer_folders import (
    FOLDERS,
    Listed,
    adapters_of,
    by_products_of,
    cache_bytes,
    write_folder,
)
from tests.weights_files import lora_bytes, write_lora

EVERY = pytest.mark.parametrize("trainer", Trainer)


def named(*names: str) -> dict[str, ByProduct]:
    found = find_byproducts((PurePosixPath(name), 1) for name in names)
    return {str(item.path): item for item in found}


def sure(*names: str) -> dict[str, Category]:
    return {name: item.category for name, item in named(*names).items() if item.sure}


# --- what must not be called a by-product


@pytest.mark.parametrize(
    "name",
    [
        "kiki.safetensors",
        "kiki-000004.safetensors",
        "kiki-000004.ckpt",
        "job_000000250_high_noise.safetensors",
        "checkpoint-5/pytorch_lora_weights.safetensors",
        "step500/adapter_model.safetensors",
        "adapter_model.bin",
        "adapter_model-00001-of-00002.safetensors",
        "adapter_model.safetensors.index.json",
        "adapter_config.json",
        "lycoris_config.json",
        "runs/one/kiki.safetensors",
        "logs/kiki.safetensors",
        "samples/kiki.safetensors",
    ],
)
def test_adapter_is_never_named(name: str) -> None:
    beside = ("x/y.safetensors", "logs/z.safetensors")
    assert name not in named(name, *beside)


@pytest.mark.parametrize(
    "name",
    [
        "style_te.safetensors",
        "ema/x.safetensors",
        "samples/me.png",
        "logs/diary.txt",
        "config.yaml",
        "weights.pt",
        "photos/a.npz",
        "merged/model.safetensors",
        ".cache/x",
        "cropped/me.png",
        "gradient_art.safetensors",
        "checkpoint-5-tmp/pytorch_lora_weights.safetensors",
        "song_20250101-010101.json",
    ],
)
def test_name_that_may_mean_something_else_is_only_reported(name: str) -> None:
    assert not sure(name)
    assert all(item.doubt for item in named(name).values())


@pytest.mark.parametrize(
    "name", ["README.md", "notes.txt", "me.png", "config.json", "a.py", "model.safetensors"]
)
def test_other_peoples_files_are_not_reported(name: str) -> None:
    assert not named(name)


@pytest.mark.parametrize(
    "name",
    ["optimizer.pt.age", "a.trend.json", ".optimizer.pt.age.0123456789ab.part", "~syncthing~x.log",
     "__pycache__/optimizer.pt", ".git/optimizer.pt", ".optimizer.pt.swp", "optimizer.pt~"],
)  # fmt: skip
def test_our_own_and_editors_files_are_left_out(name: str) -> None:
    assert not named(name, "kiki.safetensors")


def test_training_data_is_reported_and_never_sure() -> None:
    found = named("set/a.png", "set/a.txt", "set/b.png")
    assert {name: item.category for name, item in found.items()} == {
        "set/a.png": Category.TRAINING_DATA,
        "set/a.txt": Category.CAPTION,
    }
    assert not found["set/a.png"].sure


def test_copy_of_a_picture_is_sure_only_where_its_original_is() -> None:
    assert sure("a.png", "flipped/a.png", "augmented/a_flip.png") == {
        "flipped/a.png": Category.AUGMENTED_COPY,
        "augmented/a_flip.png": Category.AUGMENTED_COPY,
    }
    assert not sure("flipped/a.png", "cropped/a.png")


def test_far_away_weights_prove_nothing() -> None:
    names = ("kiki.safetensors", "a/b/c/logs/x.log", "a/b/c/samples/x.png", "a/README.md")
    assert not sure(*names)
    assert sure(*names, "a/b/c/kiki.safetensors").keys() == {
        "a/b/c/logs/x.log",
        "a/b/c/samples/x.png",
    }


def test_tokenizer_of_the_adapter_is_its_own_and_a_copy_is_not() -> None:
    found = sure("adapter_model.safetensors", "tokenizer.json", "tok/tokenizer.json")
    assert found == {"tok/tokenizer.json": Category.TOKENIZER_COPY}


# --- what must be


@EVERY
def test_every_layout_is_told_whole(trainer: Trainer) -> None:
    listed = FOLDERS[trainer]
    found = named(*listed)
    assert {name: item.category for name, item in found.items()} == by_products_of(listed)
    doubted = {item.category for item in found.values() if not item.sure}
    assert doubted <= {Category.TRAINING_DATA}
    assert trainer in find_trainers(map(PurePosixPath, listed))


@EVERY
def test_layout_is_told_below_another_folder_too(trainer: Trainer) -> None:
    listed = {f"deep/er/{name}": row for name, row in FOLDERS[trainer].items()}
    found = named(*listed)
    assert {name: item.category for name, item in found.items()} == by_products_of(listed)


def test_two_trainers_side_by_side_do_not_mix() -> None:
    both = (
        "a/job_000000250.safetensors",
        "a/config.yaml",
        "b/epoch-1.safetensors",
        "b/config.yaml",
    )
    found = named(*both)
    assert found["a/config.yaml"].trainer is Trainer.AI_TOOLKIT
    assert found["b/config.yaml"].trainer is None


def test_names_that_tell_are_marked() -> None:
    found = named(*FOLDERS[Trainer.ONE_TRAINER], *FOLDERS[Trainer.TRANSFORMERS])
    telling = {item.category for item in found.values() if item.name_tells}
    assert telling == {Category.SAMPLE_IMAGE, Category.TRAINING_LOG}


def test_every_class_says_what_it_leaks() -> None:
    assert set(EXPOSURES) == set(Category)
    assert all(row.leaks and row.why and row.advice for row in EXPOSURES.values())


def test_layouts_of_the_sheet_are_all_known() -> None:
    if not sheet.sheet():
        pytest.skip("needs ../shared")
    assert len(sheet.sheet()["output_layouts"]) == len(Trainer) == len(FOLDERS)


PARTS = st.sampled_from(
    ["sample", "logs", "backup", "kiki-state", "merged", "checkpoint-5", "a.safetensors", "..x"]
) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
)


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4), max_size=6))
def test_any_listing_is_judged(paths: list[list[str]]) -> None:
    names = {PurePosixPath("/".join(parts)) for parts in paths} - {PurePosixPath()}
    found = find_byproducts((name, 1) for name in names)
    assert {item.path for item in found} <= names
    assert list(found) == sorted(found, key=lambda item: item.path)


# --- the look at a real folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@EVERY
def test_look_finds_the_same_in_real_files(trainer: Trainer, run: Path) -> None:
    listed: Listed = FOLDERS[trainer]
    look = look_at(write_folder(run, listed))
    found = {str(item.path): item.category for item in look.products}
    assert found == by_products_of(listed)
    assert not adapters_of(listed) & found.keys()
    assert {str(file.path) for file in look.files} == set(listed)


@pytest.mark.parametrize(
    "name", ["style_te.safetensors", "gradients_2.safetensors", "x/ema/a.safetensors"]
)
def test_adapter_with_the_name_of_a_by_product_is_an_adapter(run: Path, name: str) -> None:
    write_lora(run / "kiki.safetensors")
    write_lora(run / name)
    assert not look_at(run).products


def test_cache_name_with_another_content_is_only_reported(run: Path) -> None:
    write_folder(run, {"a_zi_te.safetensors": (b"\x08\0\0\0\0\0\0\0{}      ", None)})
    (run / "b_zi_te.safetensors").write_bytes(b"torn")
    (run / "c_zi_te.safetensors").write_bytes(cache_bytes())
    found = {str(item.path): item.sure for item in look_at(run).products}
    assert not found["b_zi_te.safetensors"]
    assert found["c_zi_te.safetensors"]


def test_links_and_special_files_are_counted_and_not_followed(run: Path, tmp_path: Path) -> None:
    write_lora(run / "kiki.safetensors")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "optimizer.pt").write_bytes(b"x")
    (run / "elsewhere").symlink_to(outside)
    (run / "optimizer.pt").symlink_to(outside / "optimizer.pt")
    os.mkfifo(run / "scheduler.pt")
    look = look_at(run)
    assert (look.left_out.links, look.left_out.special) == (2, 1)
    assert not look.products
    assert [str(file.path) for file in look.files] == ["kiki.safetensors"]


def test_too_deep_and_too_many_are_bounded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(
        run, {"/".join("abcdefghij") + "/optimizer.pt": (b"x", None), "a/x.log": (b"", None)}
    )
    look = look_at(run)
    assert (look.left_out.deep_folders, len(look.files)) == (1, 1)
    monkeypatch.setattr(folder_look, "MAX_FILES", 0)
    with pytest.raises(FormatError, match="more than 0 files"):
        look_at(run)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_closed_folder_is_counted(run: Path) -> None:
    write_folder(run, {"shut/optimizer.pt": (b"x", None)})
    (run / "shut").chmod(0)
    try:
        assert look_at(run).left_out.closed_folders == 1
    finally:
        (run / "shut").chmod(0o700)


def test_names_that_are_no_text_are_seen(run: Path) -> None:
    write_lora(run / "kiki.safetensors")
    (run / os.fsdecode(b"\xff\xfe.log")).write_bytes(lora_bytes())
    assert [item.category for item in look_at(run).products] == [Category.TRAINING_LOG]
