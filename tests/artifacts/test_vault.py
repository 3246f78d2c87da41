"""The vault: what is in it has the name of its payload, and nothing half-written has a name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from registry.artifacts.vault import Vault, digest_payload
from registry.digest import Digest
from registry.errors import ContentMismatchError, FormatError, NotFoundError, UsageError
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import seal_bytes

CANDIDATE = "0123456789abcdef" * 2
IDENTITY = X25519Identity.generate()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    vault.create()
    return vault


def put(vault: Vault, plain: bytes = b"weights") -> Digest:
    sealed = seal_bytes(plain, [IDENTITY.recipient()])
    payload = digest_payload(io.BytesIO(sealed))
    with vault.incoming(CANDIDATE) as pending:
        pending.stream.write(sealed)
        vault.publish(pending, payload)
    return payload


def test_damaged_payload_is_found(vault: Vault) -> None:
    payload = put(vault)
    path = vault.path_of(payload)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContentMismatchError, match="expected blake3:") as caught:
        vault.check(payload)
    assert "backup" in str(caught.value.hint)


def test_truncated_payload_is_found(vault: Vault) -> None:
    payload = put(vault)
    path = vault.path_of(payload)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ContentMismatchError):
        vault.check(payload)


def test_file_without_an_age_header_is_found(vault: Vault) -> None:
    payload = put(vault)
    vault.path_of(payload).write_bytes(b"something else\n" * 9)
    with pytest.raises(FormatError):
        vault.check(payload)


def test_missing_payload_is_not_found(vault: Vault) -> None:
    missing = Digest("blake3", "0" * 64)
    assert not vault.holds(missing)
    with pytest.raises(NotFoundError, match="no payload"):
        vault.open(missing)
    assert not vault.delete(missing)


def test_link_in_place_of_a_payload_is_not_followed(vault: Vault, tmp_path: Path) -> None:
    payload = put(vault)
    path = vault.path_of(payload)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        vault.open(payload)


@pytest.mark.parametrize("candidate", ["", "../../etc/passwd", "G" * 32, "a" * 31, "A" * 32])
def test_candidate_that_is_no_id_never_becomes_a_path(vault: Vault, candidate: str) -> None:
    with pytest.raises(UsageError, match="32 lower-case hex"):
        vault.read_sidecar(candidate)


def test_other_algorithm_names_no_payload(vault: Vault) -> None:
    with pytest.raises(UsageError, match="blake3"):
        vault.path_of(Digest("sha256", "0" * 64))


def test_sound_payload_checks_and_is_listed(vault: Vault) -> None:
    payload = put(vault)
    vault.check(payload)
    assert list(vault.payloads()) == [payload]
    assert vault.path_of(payload).stat().st_mode & 0o777 == 0o600


def test_new_header_keeps_the_name(vault: Vault) -> None:
    payload = put(vault)
    path = vault.path_of(payload)
    content = path.read_bytes()
    start = content.index(b"\n--- ")
    body = content[content.index(b"\n", start + 1) + 1 :]
    other = seal_bytes(b"other", [IDENTITY.recipient()])
    header = other[: other.index(b"\n", other.index(b"\n--- ") + 1) + 1]
    path.write_bytes(header + body)
    vault.check(payload)


def test_payload_that_nobody_remembers_is_an_orphan(vault: Vault) -> None:
    first, second = put(vault, b"one"), put(vault, b"two")
    assert list(vault.orphans({first})) == [second]
    assert vault.delete(second)
    assert list(vault.orphans({first})) == []


def test_file_of_another_name_is_no_payload(vault: Vault) -> None:
    payload = put(vault)
    vault.path_of(payload).with_name("notes.age").write_bytes(b"")
    assert list(vault.payloads()) == [payload]


def test_adoption_refuses_what_was_not_sealed_to_its_end(vault: Vault) -> None:
    sealed = seal_bytes(b"weights", [IDENTITY.recipient()])
    payload = digest_payload(io.BytesIO(sealed))
    vault.incoming_path(CANDIDATE).write_bytes(sealed[:-1])
    assert not vault.adopt(CANDIDATE, payload)
    vault.incoming_path(CANDIDATE).write_bytes(sealed)
    assert vault.adopt(CANDIDATE, payload)
    vault.check(payload)
    assert not vault.adopt(CANDIDATE, payload)


def test_leftover_of_a_killed_intake_is_replaced(vault: Vault) -> None:
    vault.incoming_path(CANDIDATE).write_bytes(b"left over")
    assert vault.unfinished() == (CANDIDATE,)
    vault.check(put(vault))
    assert vault.unfinished() == ()


def test_forgetting_removes_sidecar_and_leftover(vault: Vault) -> None:
    vault.write_sidecar(CANDIDATE, b"sealed notes")
    vault.incoming_path(CANDIDATE).write_bytes(b"left over")
    assert vault.read_sidecar(CANDIDATE) == b"sealed notes"
    vault.forget(CANDIDATE)
    vault.forget(CANDIDATE)
    assert vault.read_sidecar(CANDIDATE) is None
    assert vault.unfinished() == ()
