"""A save that was broken off is refused, whatever its sizes say; a finished one is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.reading import open_source
from registry.artifacts.vault import Vault
from registry.artifacts.wholeness import check_config_whole, check_set_whole
from registry.errors import FormatError
from tests.artifacts.taking import CANDIDATE, RECIPIENTS, assert_empty, plaintext, take
from tests.weights_files import lora_bytes, write_lora

SHARDS = tuple(f"adapter_model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3))
BLOCKS = 4096 * 4


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    vault.create()
    return vault


def preallocated(path: Path, data: bytes, written: int) -> Path:
    """Write a file as a writer leaves it that sets its size first and is killed after `written` bytes."""
    with path.open("wb") as file:
        file.truncate(len(data))
        file.write(data[:written])
    return path


def tells_holes(folder: Path) -> bool:
    with preallocated(folder / "probe", bytes(BLOCKS * 2), 0).open("rb") as file:
        try:
            os.lseek(file.fileno(), BLOCKS, os.SEEK_DATA)
        except OSError:
            return True
    return False


@pytest.mark.parametrize("kept", [4096, BLOCKS, BLOCKS + 1])
def test_reserved_file_whose_writer_was_killed_is_refused(
    tmp_path: Path, vault: Vault, kept: int
) -> None:
    if not tells_holes(tmp_path):
        pytest.skip("this file system does not tell what was never written")
    data = lora_bytes(8, width=1024)
    path = preallocated(tmp_path / "a.safetensors", data, kept)
    with pytest.raises(FormatError, match="never written") as caught:
        take(path, vault)
    assert "save again" in str(caught.value.hint)
    assert_empty(vault)


def test_file_whose_end_was_written_as_zeroes_is_taken(tmp_path: Path, vault: Vault) -> None:
    data = lora_bytes(8, width=1024)
    data = data[:-BLOCKS] + bytes(BLOCKS)
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert plaintext(vault, take(path, vault)) == data


def test_reserved_file_that_was_filled_is_taken(tmp_path: Path, vault: Vault) -> None:
    data = lora_bytes(8, width=1024)
    path = preallocated(tmp_path / "a.safetensors", data, len(data))
    assert plaintext(vault, take(path, vault)) == data


def test_empty_file_has_no_unwritten_end(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with open_source(tmp_path / "empty") as source:
        assert not source.ends_unwritten()


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("adapter_model.safetensors",), "adapter_config.json"),
        (("sub/adapter_model.safetensors", "adapter_config.json"), "adapter_config.json"),
        (("adapter_config.json", *SHARDS[:2]), SHARDS[2]),
        (("adapter_config.json", *SHARDS[1:]), SHARDS[0]),
    ],
)
def test_set_with_a_file_missing_is_refused(names: tuple[str, ...], missing: str) -> None:
    with pytest.raises(FormatError, match=f"without '{missing}'"):
        check_set_whole(names)


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("a.safetensors",),
        ("adapter_model.safetensors", "adapter_config.json"),
        ("adapter_config.json", *SHARDS),
        ("sub/adapter_config.json", "sub/adapter_model.safetensors"),
    ],
)
def test_whole_set_passes(names: tuple[str, ...]) -> None:
    check_set_whole(names)


def test_config_cut_at_any_byte_is_refused() -> None:
    config = b'{"peft_type": "LORA", "r": 4, "target_modules": ["to_q"]}'
    check_config_whole(config)
    for length in range(len(config)):
        with pytest.raises(FormatError, match="breaks off"):
            check_config_whole(config[:length])


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{}{}", b"[" * 100_000, bytes(64)])
def test_config_that_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="no JSON"):
        check_config_whole(data)


def test_folder_with_a_config_that_breaks_off_is_not_sealed(tmp_path: Path, vault: Vault) -> None:
    folder = tmp_path / "run"
    write_lora(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes(b'{"peft_type": "LO')
    source = IntakeSource.of_folder(folder, ("adapter_config.json", "adapter_model.safetensors"))
    with pytest.raises(FormatError, match="breaks off"):
        take_in(source, vault, RECIPIENTS, CANDIDATE)
    assert_empty(vault)
