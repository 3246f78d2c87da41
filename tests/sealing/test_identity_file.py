"""Identity files, plain or under a passphrase."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.errors import CannotDecryptError, FormatError, UsageError
from registry.formats.age_armor import dump_armor
from registry.sealing.identities import ScryptRecipient, X25519Identity
from registry.sealing.identity_file import load_identities, parse_passphrase
from registry.sealing.seal import seal_bytes

IDENTITY = X25519Identity.generate()
TEXT = f"# public key: {IDENTITY.recipient()}\n{IDENTITY.to_text()}\n".encode()
SEALED = seal_bytes(TEXT, [ScryptRecipient(b"phrase", log_n=1)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.txt"


def test_sealed_file_asks_for_its_passphrase(path: Path) -> None:
    path.write_bytes(SEALED)
    with pytest.raises(UsageError, match="passphrase") as caught:
        load_identities(path)
    assert caught.value.hint


def test_wrong_passphrase_is_refused(path: Path) -> None:
    path.write_bytes(SEALED)
    with pytest.raises(CannotDecryptError):
        load_identities(path, passphrase=b"other")


def test_what_is_sealed_must_hold_an_identity(path: Path) -> None:
    path.write_bytes(seal_bytes(b"nothing here", [ScryptRecipient(b"phrase", log_n=1)]))
    with pytest.raises(FormatError):
        load_identities(path, passphrase=b"phrase")


@pytest.mark.parametrize("data", [b"", b"\n", b"one\ntwo\n"])
def test_passphrase_file_of_no_or_two_lines_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        parse_passphrase(data)


@pytest.mark.parametrize("data", [b"a b ", b"a b \n", b"a b \r\n", b"a b \n\n"])
def test_passphrase_is_the_first_line_as_it_is(data: bytes) -> None:
    assert parse_passphrase(data) == b"a b "


@pytest.mark.parametrize("data", [TEXT, b"\n" + TEXT, SEALED, dump_armor(SEALED)])
def test_plain_sealed_and_armored_files_are_read(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    (identity,) = load_identities(path, passphrase=b"phrase")
    assert isinstance(identity, X25519Identity)
    assert identity.secret == IDENTITY.secret
