from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings

from registry.errors import FormatError, SignatureError
from registry.formats.base64_text import encode_base64
from registry.formats.keyset import KeyEntry, KeyRole
from registry.limits import SSHSIG_CHARS
from registry.sealing.signing import P256Key, SigningKey
from registry.sealing.sshsig import (
    _armor,
    _unarmor,
    allowed_signers_line,
    sign_sshsig,
    ssh_public_key,
    verify_sshsig,
)
from tests.mutants import mutants

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
ENTRY = KeyEntry.of(
    KeyRole.STATEMENT, KEY.public_raw, valid_from=NOW, valid_until=NOW + timedelta(days=30)
)
MESSAGE = b"0" * 64 + b"  adapter_model.safetensors\n"
SIGNATURE = sign_sshsig(MESSAGE, KEY)


def _changed(old: bytes, new: bytes) -> str:
    blob = _unarmor(SIGNATURE)
    assert old in blob
    return _armor(blob.replace(old, new))


def test_changed_message_key_or_namespace_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not fit"):
        verify_sshsig(SIGNATURE, MESSAGE + b" ", KEY.public_raw)
    with pytest.raises(SignatureError, match="another key"):
        verify_sshsig(SIGNATURE, MESSAGE, OTHER.public_raw)
    with pytest.raises(SignatureError, match="namespace 'git'"):
        verify_sshsig(SIGNATURE, MESSAGE, KEY.public_raw, namespace="git")
    with pytest.raises(SignatureError, match="does not fit"):
        verify_sshsig(
            _changed(b"loraseal", b"loraSEAL"), MESSAGE, KEY.public_raw, namespace="loraSEAL"
        )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"sha512", b"sha256", "SHA-512"),
        (b"SSHSIG\x00\x00\x00\x01", b"SSHSIG\x00\x00\x00\x02", "version 1"),
        (
            b"\x00\x00\x00\x08loraseal\x00\x00\x00\x00",
            b"\x00\x00\x00\x08loraseal\x00\x00\x00\x01x",
            "reserved",
        ),
        (b"\x00\x00\x00\x40", b"\xff\xff\xff\xff", "truncated"),
        (b"\x00\x00\x00\x40", b"\x00\x00\x00\x3f", "trailing"),
        (
            b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40",
            b"\x00\x00\x00\x0bssh-ed25518\x00\x00\x00\x40",
            "type",
        ),
    ],
)
def test_other_shapes_of_an_ssh_signature_are_refused(old: bytes, new: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        verify_sshsig(_changed(old, new), MESSAGE, KEY.public_raw)


def test_trailing_and_missing_bytes_are_refused() -> None:
    blob = _unarmor(SIGNATURE)
    with pytest.raises(FormatError, match="trailing"):
        verify_sshsig(_armor(blob + b"\x00"), MESSAGE, KEY.public_raw)
    for size in range(len(blob)):
        with pytest.raises((FormatError, SignatureError)):
            verify_sshsig(_armor(blob[:size]), MESSAGE, KEY.public_raw)


@pytest.mark.parametrize(
    "armored",
    [
        "",
        SIGNATURE[:-1],
        SIGNATURE + "\n",
        "\n" + SIGNATURE,
        SIGNATURE.replace("\n", "\r\n"),
        SIGNATURE.replace("U1NI", "U1NI\n", 1),
        SIGNATURE.replace("U1NI", "U1N!", 1),
        SIGNATURE.replace("U1NI", "U1Né", 1),
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        "-----BEGIN SSH SIGNATURE-----\n" + "A" * SSHSIG_CHARS,
    ],
)
def test_other_armor_is_refused(armored: str) -> None:
    with pytest.raises(FormatError):
        verify_sshsig(armored, MESSAGE, KEY.public_raw)


@settings(max_examples=150)
@given(mutants(SIGNATURE.encode()))
def test_mutated_signature_is_never_accepted(data: bytes) -> None:
    with pytest.raises((FormatError, SignatureError)):
        verify_sshsig(data.decode("utf-8", "replace"), MESSAGE, KEY.public_raw)


def test_empty_namespace_is_refused() -> None:
    with pytest.raises(ValueError, match="namespace"):
        sign_sshsig(MESSAGE, KEY, namespace="")


@pytest.mark.parametrize("principal", ["", "two words", "a,b", 'a"b', "*", "a?", "!a", "#a", "a\n"])
def test_principal_that_would_change_the_line_is_refused(principal: str) -> None:
    with pytest.raises(ValueError, match="principal"):
        allowed_signers_line(principal, ENTRY)


def test_key_that_makes_no_ssh_signatures_has_no_line() -> None:
    entry = KeyEntry.of(KeyRole.OMS, P256Key.generate().public_raw, valid_from=NOW)
    with pytest.raises(ValueError, match="ed25519"):
        allowed_signers_line("registry", entry)


def test_own_signature_is_verified() -> None:
    verify_sshsig(SIGNATURE, MESSAGE, KEY.public_raw)
    verify_sshsig(sign_sshsig(b"", KEY, namespace="x"), b"", KEY.public_raw, namespace="x")
    assert ssh_public_key(KEY.public_raw).startswith("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI")


def test_line_of_allowed_signers_says_namespace_and_times() -> None:
    assert allowed_signers_line("registry", ENTRY) == (
        'registry namespaces="loraseal",valid-after="20261121120000Z",'
        f'valid-before="20261221120000Z" {ssh_public_key(KEY.public_raw)}\n'
    )
    endless = KeyEntry.of(KeyRole.STATEMENT, KEY.public_raw, valid_from=NOW)
    assert "valid-before" not in allowed_signers_line("registry", endless)
    plain = f'registry namespaces="loraseal" {ssh_public_key(KEY.public_raw)}\n'
    assert allowed_signers_line("registry", ENTRY, with_times=False) == plain


def _ssh_verify(program: str, folder: Path, message: bytes, at: str) -> bool:
    (folder / "signers").write_text(allowed_signers_line("registry", ENTRY))
    (folder / "sums.sig").write_text(SIGNATURE)
    command = [program, "-Y", "verify", "-f", "signers", "-I", "registry", "-n", "loraseal"]
    done = subprocess.run(
        [*command, "-s", "sums.sig", "-O", f"verify-time={at}"],
        input=message,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_ssh_keygen_verifies_in_the_key_s_time_and_refuses_a_change(
    tmp_path: Path, oracle: Callable[[str], str]
) -> None:
    program = oracle("ssh-keygen")
    assert _ssh_verify(program, tmp_path, MESSAGE, "20261122120000Z")
    assert not _ssh_verify(program, tmp_path, MESSAGE + b"x", "20261122120000Z")
    assert not _ssh_verify(program, tmp_path, MESSAGE, "20270122120000Z")
    assert not _ssh_verify(program, tmp_path, MESSAGE, "20261120120000Z")


def test_ssh_keygen_signs_the_same_bytes(tmp_path: Path, oracle: Callable[[str], str]) -> None:
    program = oracle("ssh-keygen")
    private = KEY._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_bytes(private)
    (tmp_path / "key.pub").write_text(ssh_public_key(KEY.public_raw) + "\n")
    (tmp_path / "sums").write_bytes(MESSAGE)
    command = [program, "-Y", "sign", "-f", "key", "-n", "loraseal", "sums"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "sums.sig").read_text() == SIGNATURE


def test_armor_has_lines_of_70_columns() -> None:
    rows = SIGNATURE.splitlines()[1:-1]
    assert {len(row) for row in rows[:-1]} == {70}
    assert "".join(rows) == encode_base64(_unarmor(SIGNATURE))
