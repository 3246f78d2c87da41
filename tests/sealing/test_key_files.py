from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings

from registry.errors import CannotDecryptError, FormatError, LorasealError, NotFoundError
from registry.limits import KEY_FILE_BYTES
from registry.sealing.key_files import read_key_file, write_key_file
from registry.sealing.signing import P256Key, SigningKey
from tests.mutants import mutants

KEY, POINT = SigningKey.generate(), P256Key.generate()
PASSPHRASE = b"correct horse"
PROTECTED = KEY.to_pem(PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644, 0o610])
def test_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    KEY.save(path)
    path.chmod(mode)
    with pytest.raises(LorasealError, match=f"has mode {mode:04o}, expected 0600") as caught:
        SigningKey.load(path)
    assert caught.value.hint is not None
    assert f"chmod 600 {path}" in caught.value.hint


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.pem"):
        SigningKey.load(tmp_path / "nothing.pem")


def test_link_pipe_and_folder_are_refused(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key")
    (tmp_path / "link").symlink_to("key")
    with pytest.raises(LorasealError, match="symbolic link"):
        read_key_file(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(LorasealError, match="not a plain file"):
        read_key_file(tmp_path / "pipe")
    with pytest.raises(LorasealError, match="not a plain file"):
        read_key_file(tmp_path)


def test_what_the_system_refuses_is_not_hidden(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key")
    with pytest.raises(NotADirectoryError):
        read_key_file(tmp_path / "key" / "inside")


def test_key_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    KEY.save(tmp_path / "key")
    os.chown(tmp_path / "key", 12345, 12345)
    with pytest.raises(LorasealError, match="uid 12345"):
        SigningKey.load(tmp_path / "key")


def test_oversized_file_is_refused(tmp_path: Path) -> None:
    write_key_file(tmp_path / "key", bytes(KEY_FILE_BYTES + 1))
    with pytest.raises(FormatError, match="more than"):
        read_key_file(tmp_path / "key")


def test_a_key_is_never_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key")
    with pytest.raises(LorasealError, match="exists already"):
        SigningKey.generate().save(tmp_path / "key")
    assert SigningKey.load(tmp_path / "key").key_id == KEY.key_id
    with pytest.raises(FileNotFoundError):
        KEY.save(tmp_path / "no folder" / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("passphrase", [b"", b"wrong", PASSPHRASE + b"\n"])
def test_wrong_passphrase_is_refused(passphrase: bytes) -> None:
    with pytest.raises(CannotDecryptError, match="does not open with this passphrase"):
        SigningKey.from_pem(PROTECTED, passphrase)


def test_missing_passphrase_is_said() -> None:
    with pytest.raises(CannotDecryptError, match="operator key is protected") as caught:
        SigningKey.from_pem(PROTECTED, what="operator key")
    assert caught.value.hint is not None


def test_empty_passphrase_protects_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        KEY.to_pem(b"")


@pytest.mark.parametrize("data", [b"", b"\xff", b"-----BEGIN PRIVATE KEY-----\nAA==\n", b"x" * 99])
def test_file_without_a_key_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="no private key"):
        SigningKey.from_pem(data)


def test_key_of_another_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="expected P-256"):
        P256Key.from_pem(KEY.to_pem())
    with pytest.raises(FormatError, match="expected Ed25519"):
        SigningKey.from_pem(POINT.to_pem())
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(FormatError, match="secp384r1"):
        P256Key.from_pem(generate_private_key(SECP384R1()).private_bytes(*pem))
    with pytest.raises(FormatError, match="another kind"):
        SigningKey.from_pem(X25519PrivateKey.generate().private_bytes(*pem))


@settings(max_examples=100)
@given(mutants(KEY.to_pem()))
def test_mutated_key_raises_only_our_errors(data: bytes) -> None:
    with contextlib.suppress(FormatError, CannotDecryptError):
        SigningKey.from_pem(data)


@pytest.mark.parametrize("key", [KEY, POINT])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_saved_key_is_the_same_key(
    tmp_path: Path, key: SigningKey | P256Key, passphrase: bytes | None
) -> None:
    path = tmp_path / "key.pem"
    key.save(path, passphrase)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert type(key).load(path, passphrase).public_raw == key.public_raw
    # A passphrase that is not needed does no harm: one service setting may serve several files.
    assert type(key).from_pem(key.to_pem(), b"unneeded").key_id == key.key_id


@pytest.mark.parametrize("key", [KEY, POINT])
def test_protected_key_opens_with_openssl(
    tmp_path: Path, oracle: Callable[[str], str], key: SigningKey | P256Key
) -> None:
    path = tmp_path / "key.pem"
    key.save(path, PASSPHRASE)
    (tmp_path / "pass").write_bytes(PASSPHRASE)
    command = [oracle("openssl"), "pkey", "-in", path, "-passin", f"file:{tmp_path / 'pass'}"]
    done = subprocess.run(
        [*command, "-pubout", "-outform", "DER"], capture_output=True, check=False
    )
    assert done.stdout.endswith(key.public_raw), done.stderr
