"""Pickles on the way into the vault: what is sealed is the converted file, and nothing touches a disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from registry.artifacts.intake import IntakeSource, resume
from registry.artifacts.notes import PayloadForm
from registry.artifacts.vault import Vault
from registry.conversion.intake import take_in_converted
from registry.conversion.refusals import PickleRefusedError
from registry.errors import FormatError
from tests.artifacts.taking import CANDIDATE, IDENTITY, RECIPIENTS, assert_empty, plaintext
from tests.conversion.building import torch_zip
from tests.conversion.evasions import EVASIONS
from tests.conversion.layers import converted

pytest.importorskip("picklescan")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    vault.create()
    return vault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "adapter_model.bin").write_bytes(torch_zip())
    (folder / "lora.bin").write_bytes(torch_zip())
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    return folder


def test_a_pickle_that_is_refused_leaves_the_vault_as_it_was(folder: Path, vault: Vault) -> None:
    (folder / "adapter_model.bin").write_bytes(EVASIONS["call-os.system"])
    source = IntakeSource.of_folder(folder, ["adapter_config.json", "adapter_model.bin"])
    with pytest.raises(PickleRefusedError):
        take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    assert_empty(vault)


def test_two_files_that_would_get_one_name_are_refused(folder: Path, vault: Vault) -> None:
    (folder / "adapter_model.safetensors").write_bytes(converted(torch_zip()))
    source = IntakeSource.of_folder(folder, ["adapter_model.bin", "adapter_model.safetensors"])
    with pytest.raises(FormatError, match="twice"):
        take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    assert_empty(vault)


def test_what_is_sealed_is_the_converted_file(folder: Path, vault: Vault) -> None:
    source = IntakeSource.of_file(folder / "lora.bin")
    result, [facts] = take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    expected = converted(torch_zip())
    assert plaintext(vault, result) == expected
    assert [entry.path for entry in result.manifest.entries] == ["lora.safetensors"]
    assert result.tensors_digest is not None
    assert result.tensors_digest.value == facts.tensors_digest
    assert facts.converted_sha256 == hashlib.sha256(expected).hexdigest()
    assert ("pickle_sha256", facts.original_sha256) in result.hashes
    assert result.glimpses[0].path == "lora.safetensors"


def test_side_files_are_taken_as_they_are(folder: Path, vault: Vault) -> None:
    source = IntakeSource.of_folder(folder, ["adapter_config.json", "adapter_model.bin"])
    result, facts = take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    assert result.payload_form is PayloadForm.TAR
    assert [entry.path for entry in result.manifest.entries] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert len(facts) == 1


def test_a_killed_intake_is_found_again_with_the_name_of_its_original(
    folder: Path, vault: Vault
) -> None:
    source = IntakeSource.of_file(folder / "lora.bin")
    result, _ = take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    found = resume(vault, [IDENTITY], CANDIDATE)
    assert found == result


def test_no_plaintext_reaches_a_disk(
    folder: Path, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    source = IntakeSource.of_file(folder / "lora.bin")
    take_in_converted(source, vault, RECIPIENTS, CANDIDATE)
    content = converted(torch_zip())[-24:]
    holding = [
        path.name for path in tmp_path.rglob("*") if path.is_file() and content in path.read_bytes()
    ]
    assert sorted(holding) == ["adapter_model.bin", "lora.bin"]


def test_the_original_is_left_as_it_is(folder: Path, vault: Vault) -> None:
    path = folder / "lora.bin"
    before = path.stat()
    take_in_converted(IntakeSource.of_file(path), vault, RECIPIENTS, CANDIDATE)
    assert (path.stat().st_mtime_ns, path.stat().st_ctime_ns) == (
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
