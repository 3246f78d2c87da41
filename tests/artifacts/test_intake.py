"""Intake: what is sealed is what was read, digested and judged; a kill or a bad file loses nothing."""

from __future__ import annotations

import hashlib
import io
import pickletools
import resource
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.notes import PayloadForm
from registry.artifacts.reading import (
    SourceBusyError,
    SourceChangedError,
    SourceRefusedError,
    SourceVanishedError,
)
from registry.artifacts.vault import Vault
from registry.errors import FormatError, LorasealError
from registry.formats.safetensors import parse_header
from tests.artifacts.taking import (
    CANDIDATE,
    RECIPIENTS,
    assert_empty,
    peft_folder,
    plaintext,
    take,
    take_folder,
)
from tests.weights_files import lora_bytes, write_lora


def test_truncated_file_is_refused(watched: Path, vault: Vault) -> None:
    path = watched / "cut.safetensors"
    path.write_bytes(lora_bytes()[:-7])
    with pytest.raises(FormatError, match=r"cut\.safetensors.*cut off.*describes") as caught:
        take(path, vault)
    assert caught.value.hint
    assert_empty(vault)


def test_pickle_under_the_name_of_safetensors_is_refused(watched: Path, vault: Vault) -> None:
    path = watched / "evil.safetensors"
    path.write_bytes(b"\x80\x02c__builtin__\neval\nq\x00X\x01\x00\x00\x00aq\x01\x85R." + bytes(64))
    assert pickletools.dis(path.read_bytes(), out=io.StringIO()) is None
    with pytest.raises(FormatError, match="pickle"):
        take(path, vault)
    assert_empty(vault)


def test_appended_bytes_are_refused(watched: Path, vault: Vault) -> None:
    path = watched / "long.safetensors"
    path.write_bytes(lora_bytes() + b"!")
    with pytest.raises(FormatError, match="no tensor covers"):
        take(path, vault)


def test_vanished_file_leaves_the_vault_as_it_was(watched: Path, vault: Vault) -> None:
    with pytest.raises(SourceVanishedError):
        take(watched / "gone.safetensors", vault)
    assert_empty(vault)


def test_symlink_out_of_the_folder_is_refused(watched: Path, vault: Vault, tmp_path: Path) -> None:
    write_lora(tmp_path / "secret.safetensors")
    (watched / "a.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(SourceRefusedError, match="symbolic link"):
        take(watched / "a.safetensors", vault)
    assert_empty(vault)


@pytest.mark.parametrize("change", ["swap", "grow", "rewrite", "remove"])
def test_file_that_changes_during_the_read_is_busy_and_leaves_nothing(
    watched: Path, vault: Vault, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a file system without leases, where nothing stops the writer.
    monkeypatch.setattr("registry.artifacts.leases.take_read_lease", lambda _descriptor: False)
    path = write_lora(watched / "a.safetensors")
    content = path.read_bytes()

    def swap() -> None:
        (watched / "b").write_bytes(content)
        (watched / "b").rename(path)

    changes: dict[str, Callable[[], object]] = {
        "swap": swap,
        "grow": lambda: path.write_bytes(content + b"x"),
        "rewrite": lambda: path.write_bytes(content[::-1]),
        "remove": path.unlink,
    }
    with pytest.raises(SourceChangedError):
        take_in(IntakeSource.of_file(path), vault, (_Meddler(changes[change]),), CANDIDATE)
    assert_empty(vault)


class _Meddler:
    """A recipient at whose wrap, when the source is open, something happens to the file."""

    key_class = "x25519"

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def wrap(self, file_key: bytes) -> object:
        self._change()
        return RECIPIENTS[0].wrap(file_key)


def test_no_thread_outlives_a_refusal(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors", 40, width=2048)
    before = threading.active_count()
    source = IntakeSource.of_folder(watched, [path.name, "b.txt"])
    (watched / "b.txt").write_bytes(b"x")
    shrink = _Meddler((watched / "b.txt").unlink)
    with pytest.raises(SourceChangedError):
        take_in(source, vault, (shrink,), CANDIDATE)
    assert threading.active_count() == before


def test_file_open_for_writing_is_busy_and_not_changed(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors")
    with path.open("r+b"):
        try:
            take(path, vault)
        except SourceBusyError:
            assert_empty(vault)
        else:
            pytest.skip("no read leases on this file system")
    take(path, vault)


def test_two_files_under_one_path_are_refused(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors")
    source = IntakeSource(watched, (("a.safetensors", path), ("a.safetensors", path)))
    with pytest.raises(FormatError, match="twice"):
        take_in(source, vault, RECIPIENTS, CANDIDATE)


@pytest.mark.parametrize("count", [0, 257])
def test_number_of_files_is_bounded(watched: Path, vault: Vault, count: int) -> None:
    files = tuple((f"{number}.txt", watched / "x") for number in range(count))
    with pytest.raises(FormatError, match=f"has {count} files, expected 1 to 256"):
        take_in(IntakeSource(watched, files), vault, RECIPIENTS, CANDIDATE)


def test_full_disk_while_sealing_leaves_nothing(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors", 40, width=512)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(LorasealError, match="cannot write"):
            take(path, vault)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_empty(vault)


def test_single_file_is_sealed_as_it_is(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors", 50, width=2048)
    content = path.read_bytes()
    result = take(path, vault)
    entry = result.manifest.entries[0]
    assert (entry.path, entry.size, entry.sha256) == (
        "a.safetensors",
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    head = int.from_bytes(content[:8], "little") + 8
    assert result.body_sha256 == hashlib.sha256(content[head:]).hexdigest()
    assert result.payload_form is PayloadForm.RAW
    assert result.artifact_id == hashlib.sha256(result.manifest.to_bytes()).hexdigest()
    assert plaintext(vault, result) == content
    vault.check(result.payload_digest)


def test_hashes_are_those_that_others_use(watched: Path, vault: Vault) -> None:
    path = write_lora(watched / "a.safetensors")
    content = path.read_bytes()
    hashes = dict(take(path, vault).hashes)
    assert hashes["sha256"] == hashlib.sha256(content).hexdigest()
    assert hashes["blake3"] == blake3(content).hexdigest()
    assert hashes["hf_lfs_oid"] == hashes["sha256"]
    blob = b"blob %d\0" % len(content) + content
    assert hashes["hf_git_blob"] == hashlib.sha1(blob, usedforsecurity=False).hexdigest()
    assert hashes["sshs_model_hash"] == hashes["autov3"]
    root = hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()
    assert hashes["manifest_root"] == root
    every = (
        "sha256 hf_lfs_oid hf_git_blob blake3 crc32 autov3 sshs_model_hash tensors manifest_root"
    )
    assert set(hashes) == set(every.split())


def test_resaved_file_has_other_bytes_and_the_same_tensors(watched: Path, vault: Vault) -> None:
    first = take(write_lora(watched / "a.safetensors"), vault)
    (watched / "a.safetensors").write_bytes(lora_bytes(metadata={"other": "words"}))
    second = take(watched / "a.safetensors", vault)
    assert first.artifact_id != second.artifact_id
    assert first.tensors_digest == second.tensors_digest
    assert first.body_sha256 == second.body_sha256


def test_folder_is_sealed_as_a_tar(watched: Path, vault: Vault) -> None:
    result = take_folder(peft_folder(watched), vault)
    assert result.payload_form is PayloadForm.TAR
    assert [entry.path for entry in result.manifest.entries] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    ]
    with tarfile.open(fileobj=io.BytesIO(plaintext(vault, result))) as tar:
        for entry in result.manifest.entries:
            opened = tar.extractfile(entry.path)
            assert opened is not None
            assert hashlib.sha256(opened.read()).hexdigest() == entry.sha256


def test_folder_has_the_tensors_of_its_weights(watched: Path, vault: Vault) -> None:
    folder = take_folder(peft_folder(watched), vault)
    single = take(write_lora(watched / "single.safetensors"), vault)
    assert folder.tensors_digest == single.tensors_digest
    assert folder.body_sha256 == single.body_sha256


def test_folder_in_which_an_early_file_changes_late_is_busy(
    watched: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.artifacts.leases.take_read_lease", lambda _descriptor: False)
    peft_folder(watched)
    change = _Meddler(lambda: (watched / "adapter_config.json").write_text("{}"))
    names = ("adapter_config.json", "adapter_model.safetensors")
    with pytest.raises(SourceChangedError):
        take_in(IntakeSource.of_folder(watched, names), vault, (change,), CANDIDATE)
    assert_empty(vault)


def test_inspection_gets_header_scalars_and_config(watched: Path, vault: Vault) -> None:
    result = take_folder(peft_folder(watched), vault)
    config, weights = result.glimpses
    assert config.prefix == (watched / "adapter_config.json").read_bytes()
    header = parse_header(weights.prefix, file_size=weights.size)
    content = (watched / "adapter_model.safetensors").read_bytes()
    for tensor in header.tensors:
        start, end = header.header_bytes + tensor.start, header.header_bytes + tensor.end
        if end - start <= 16:
            assert weights.read_at(start, end - start) == content[start:end]
    with pytest.raises(FormatError, match="were not kept"):
        weights.read_at(weights.size - 100, 100)


def test_plaintext_is_nowhere_in_the_vault(watched: Path, vault: Vault) -> None:
    take(write_lora(watched / "a.safetensors"), vault)
    files = [path for path in vault.root.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert b"lora_unet" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_official_writer_into_the_folder_is_taken(watched: Path, vault: Vault) -> None:
    torch = pytest.importorskip("torch", reason="needs the official safetensors writer")
    writer = pytest.importorskip("safetensors.torch")
    path = watched / "official.safetensors"
    tensors = {"lora_unet_x.alpha": torch.tensor(4.0), "lora_unet_x.lora_up.weight": torch.ones(8)}
    writer.save_file(tensors, str(path), metadata={"ss_network_dim": "4"})
    first = take(path, vault)
    writer.save_file(tensors, str(path), metadata={"ss_network_dim": "5"})
    assert take(path, vault).tensors_digest == first.tensors_digest
