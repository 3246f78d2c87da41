"""What a killed intake leaves: notes that are read back or refused, and a payload that is found again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from registry.artifacts.intake import resume
from registry.artifacts.notes import Glimpse, IntakeResult
from registry.artifacts.vault import Vault
from registry.errors import CannotDecryptError, FormatError
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import seal_bytes
from tests.artifacts.taking import (
    CANDIDATE,
    CHECKOUT,
    IDENTITY,
    RECIPIENTS,
    peft_folder,
    plaintext,
    take,
    take_folder,
)
from tests.mutants import mutants
from tests.weights_files import write_lora


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
