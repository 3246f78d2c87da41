"""Taking a file or folder into a vault of the test's own, and looking at what lies there afterwards."""

from __future__ import annotations

from pathlib import Path

from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.notes import IntakeResult
from registry.artifacts.vault import Vault
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_sealed
from tests.weights_files import write_lora

CHECKOUT = Path(__file__).resolve().parents[2]
CANDIDATE = "0123456789abcdef" * 2
IDENTITY = X25519Identity.generate()
RECIPIENTS = (IDENTITY.recipient(),)


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
