"""Intake: what is sealed is what was read, digested and judged; a kill or a bad file loses nothing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickletools
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings

from registry.artifacts.intake import IntakeSource, resume, take_in
from registry.artifacts.notes import Glimpse, IntakeResult, PayloadForm
from registry.artifacts.reading import (
    SourceBusyError,
    SourceChangedError,
    SourceRefusedError,
    SourceVanishedError,
)
from registry.artifacts.vault import Vault
from registry.errors import CannotDecryptError, FormatError, LorasealError
from registry.formats.safetensors import parse_header
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_sealed, seal_bytes
from tests.mutants import mutants
from tests.weights_files import lora_bytes, write_lora

CHECKOUT = Path(__file__).resolve().parents[2]
CANDIDATE = "0123456789abcdef" * 2
IDENTITY = X25519Identity.generate()
RECIPIENTS = (IDENTITY.recipient(),)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    vault.create()
    return vault


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def take(path: Path, vault: Vault) -> IntakeResult:
    return take_in(IntakeSource.of_file(path), vault, RECIPIENTS, CANDIDATE)


def take_folder(folder: Path, vault: Vault) -> IntakeResult:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    return take_in(IntakeSource.of_folder(folder, names), vault, RECIPIENTS, CANDIDATE)


def plaintext(vault: Vault, result: IntakeResult) -> bytes:
    with vault.open(result.payload_digest) as sealed:
        return b"".join(map(bytes, open_sealed(sealed, [IDENTITY]).batches))


def assert_empty(vault: Vault) -> None:
    assert list(vault.payloads()) == []
    assert vault.unfinished() == ()


def peft_folder(folder: Path) -> Path:
    write_lora(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


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
    assert set(hashes) == {"sha256", "blake3", "crc32", "autov3", "tensors"}


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
    single = take(watched / "adapter_model.safetensors", vault)
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


def test_resume_of_nothing_is_none(vault: Vault) -> None:
    assert resume(vault, [IDENTITY], CANDIDATE) is None


def test_resume_after_the_end_returns_the_same(watched: Path, vault: Vault) -> None:
    result = take_folder(peft_folder(watched), vault)
    assert resume(vault, [IDENTITY], CANDIDATE) == result
    vault.forget(CANDIDATE)
    assert resume(vault, [IDENTITY], CANDIDATE) is None
    vault.check(result.payload_digest)


def test_resume_without_its_payload_is_none(watched: Path, vault: Vault) -> None:
    result = take(write_lora(watched / "a.safetensors"), vault)
    vault.delete(result.payload_digest)
    assert resume(vault, [IDENTITY], CANDIDATE) is None


def test_resume_with_damaged_notes_is_none(watched: Path, vault: Vault) -> None:
    take(write_lora(watched / "a.safetensors"), vault)
    vault.write_sidecar(CANDIDATE, seal_bytes(b"no notes", RECIPIENTS))
    assert resume(vault, [IDENTITY], CANDIDATE) is None


def test_resume_with_another_identity_says_so(watched: Path, vault: Vault) -> None:
    take(write_lora(watched / "a.safetensors"), vault)
    with pytest.raises(CannotDecryptError):
        resume(vault, [X25519Identity.generate()], CANDIDATE)


_KILLED = """
import os, signal, sys
from pathlib import Path
from registry.artifacts import vault as vaults
from registry.artifacts.intake import IntakeSource, take_in
from registry.sealing.identities import X25519Recipient

class Killed(vaults.Vault):
    def write_sidecar(self, candidate, sealed):
        if sys.argv[1] == "before-notes":
            os.kill(os.getpid(), signal.SIGKILL)
        super().write_sidecar(candidate, sealed)
    def publish(self, pending, payload):
        if sys.argv[1] == "before-name":
            os.kill(os.getpid(), signal.SIGKILL)
        super().publish(pending, payload)
        os.kill(os.getpid(), signal.SIGKILL)

source = IntakeSource.of_file(Path(sys.argv[3]))
take_in(source, Killed(Path(sys.argv[2])), [X25519Recipient.parse(sys.argv[4])], sys.argv[5])
"""


@pytest.mark.parametrize("instant", ["before-notes", "before-name", "after-name"])
def test_killed_intake_loses_nothing(watched: Path, vault: Vault, instant: str) -> None:
    path = write_lora(watched / "a.safetensors")
    content = path.read_bytes()
    arguments = [instant, str(vault.root), str(path), str(RECIPIENTS[0]), CANDIDATE]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments], cwd=CHECKOUT, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert vault.unfinished() == (CANDIDATE,)
    if instant != "before-notes":
        path.unlink()  # the trainer rotated it away meanwhile
    result = resume(vault, [IDENTITY], CANDIDATE)
    if instant == "before-notes":
        assert result is None
        result = take(path, vault)
    assert result is not None
    vault.check(result.payload_digest)
    assert plaintext(vault, result) == content
    assert list(vault.payloads()) == [result.payload_digest]
    vault.forget(CANDIDATE)
    assert vault.unfinished() == ()


def notes_of(tmp: Path) -> IntakeResult:
    vault = Vault(tmp / "vault")
    vault.create()
    return take_folder(peft_folder(tmp / "out"), vault)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> IntakeResult:
    return notes_of(tmp_path_factory.mktemp("notes"))


def test_notes_read_back_as_they_were(result: IntakeResult) -> None:
    assert IntakeResult.from_notes(result.to_notes()) == result


def test_notes_with_a_byte_too_many_are_refused(result: IntakeResult) -> None:
    with pytest.raises(FormatError, match="prefixes"):
        IntakeResult.from_notes(result.to_notes() + b"x")


def test_every_truncation_of_notes_is_refused(result: IntakeResult) -> None:
    notes = result.to_notes()
    for length in {*range(0, len(notes), 97), len(notes) - 1}:
        with pytest.raises(FormatError):
            IntakeResult.from_notes(notes[:length])


def test_mutated_notes_raise_only_our_error(result: IntakeResult) -> None:
    @settings(max_examples=300, deadline=None)
    @given(data=mutants(result.to_notes()))
    def check(data: bytes) -> None:
        with contextlib.suppress(FormatError):
            IntakeResult.from_notes(data)

    check()


def test_glimpse_hides_its_content() -> None:
    assert "secret" not in repr(Glimpse("a", 6, b"secret"))


def test_official_writer_into_the_folder_is_taken(watched: Path, vault: Vault) -> None:
    torch = pytest.importorskip("torch", reason="needs the official safetensors writer")
    writer = pytest.importorskip("safetensors.torch")
    path = watched / "official.safetensors"
    tensors = {"lora_unet_x.alpha": torch.tensor(4.0), "lora_unet_x.lora_up.weight": torch.ones(8)}
    writer.save_file(tensors, str(path), metadata={"ss_network_dim": "4"})
    first = take(path, vault)
    writer.save_file(tensors, str(path), metadata={"ss_network_dim": "5"})
    assert take(path, vault).tensors_digest == first.tensors_digest
