"""The key directory: whole or not at all, nobody else's to read, and the root key moves once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon import keyring as keyrings
from daemon.keyring import (
    KEY_FILES,
    OPERATOR_FILE,
    RECEIPT_FILE,
    ROOT_FILE,
    create_keyring,
    export_root,
    load_keyring,
    load_operator,
    load_vault_recipient,
    root_public,
)
from registry.errors import (
    CannotDecryptError,
    FormatError,
    LorasealError,
    NotFoundError,
    UsageError,
)
from registry.formats.envelope import parse_envelope
from registry.formats.keyset import KeyRole
from registry.sealing.signing import SigningKey
from registry.settings import RegistryPaths
from registry.verify.pin import parse_pin
from registry.verify.signed import verify_keyset

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path: Path) -> RegistryPaths:
    return RegistryPaths(tmp_path / "loraseal.toml", "test.studio", tmp_path)


@pytest.fixture
def made(paths: RegistryPaths) -> RegistryPaths:
    create_keyring(paths, NOW)
    return paths


def test_keys_that_exist_are_never_made_again(made: RegistryPaths) -> None:
    before = {path.name: path.read_bytes() for path in made.keys.iterdir()}
    with pytest.raises(UsageError, match="exists already"):
        create_keyring(made, NOW)
    assert {path.name: path.read_bytes() for path in made.keys.iterdir()} == before


@pytest.mark.parametrize("failing", range(1, 24, 4))
def test_full_disk_at_any_file_leaves_nothing(
    paths: RegistryPaths, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, LorasealError)):
        create_keyring(paths, NOW)
    assert list(paths.state.iterdir()) == []


_KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from daemon.keyring import create_keyring
from registry.settings import RegistryPaths

def kill(event, arguments):
    if event == sys.argv[3] and sys.argv[2] in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

home = Path(sys.argv[1])
sys.addaudithook(kill)
create_keyring(RegistryPaths(home / "x", "test.studio", home), datetime(2026, 11, 21, tzinfo=UTC))
"""


@pytest.mark.parametrize(
    ("instant", "event"),
    [("oms", "open"), ("host", "open"), ("keyset", "open"), (".keys-", "os.rename")],
)
def test_kill_in_the_middle_leaves_no_key_directory_and_init_can_go_on(
    paths: RegistryPaths, instant: str, event: str
) -> None:
    command = [sys.executable, "-c", _KILLED, str(paths.state), instant, event]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(command, check=False, capture_output=True, cwd=root)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not paths.keys.exists()
    create_keyring(paths, NOW)
    assert load_keyring(paths).keyset.registry == "test.studio"


def test_every_private_key_is_its_owners_alone(made: RegistryPaths) -> None:
    assert made.keys.stat().st_mode & 0o077 == 0
    for name in (*KEY_FILES, ROOT_FILE):
        assert (made.keys / name).stat().st_mode & 0o177 == 0, name


@pytest.mark.parametrize("name", sorted(set(KEY_FILES) - {OPERATOR_FILE, "index.key"}))
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_key_that_others_can_read_is_refused(made: RegistryPaths, name: str, mode: int) -> None:
    (made.keys / name).chmod(mode)
    with pytest.raises(LorasealError, match=name):
        load_keyring(made)


@pytest.mark.parametrize("name", sorted(set(KEY_FILES) - {OPERATOR_FILE}))
def test_missing_key_is_named(made: RegistryPaths, name: str) -> None:
    (made.keys / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        load_keyring(made)


@pytest.mark.parametrize(
    "name", ["statement.pem", "log.pem", "host.pem", "auditor.pem", "oms.pem", RECEIPT_FILE]
)
def test_key_of_another_registry_is_refused(made: RegistryPaths, tmp_path: Path, name: str) -> None:
    other = RegistryPaths(made.settings, "other.studio", tmp_path / "other")
    other.state.mkdir()
    create_keyring(other, NOW)
    (other.keys / name).replace(made.keys / name)
    with pytest.raises(FormatError, match="not the one in the keyset"):
        load_keyring(made)


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"\xff" * 64])
def test_damaged_receipt_key_is_refused(made: RegistryPaths, content: bytes) -> None:
    (made.keys / RECEIPT_FILE).write_bytes(content)
    with pytest.raises(FormatError, match=RECEIPT_FILE):
        load_keyring(made)


def test_keyset_that_is_missing_says_what_to_run(paths: RegistryPaths) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_keyring(paths)
    assert caught.value.hint == "run: loraseal init"


def test_keyring_shows_no_secret_when_it_is_printed(made: RegistryPaths) -> None:
    keyring = load_keyring(made)
    secrets = [(made.keys / name).read_text().split("\n") for name in KEY_FILES]
    for text in (repr(keyring), str(keyring)):
        for lines in secrets:
            assert not any(line in text for line in lines if len(line) > 20 and "-----" not in line)


def test_keyset_is_signed_by_the_root_that_recipients_pin(made: RegistryPaths) -> None:
    keyring = load_keyring(made)
    pin = parse_pin(root_public(keyring).hex().encode())
    keyset = verify_keyset(parse_envelope(made.keys.joinpath("keyset.json").read_bytes()), pin)
    assert keyset == keyring.keyset
    assert {entry.role for entry in keyset.keys} == set(KeyRole)


def test_vault_recipient_is_public_and_the_identity_is_not_in_it(made: RegistryPaths) -> None:
    assert load_vault_recipient(made).startswith("age1")


def test_daemons_keyring_holds_neither_root_nor_operator(made: RegistryPaths) -> None:
    held = {key.key_id for key in vars_of(load_keyring(made))}
    assert load_operator(made).key_id not in held
    assert SigningKey.load(made.keys / ROOT_FILE).key_id not in held


def vars_of(keyring: keyrings.Keyring) -> list[SigningKey]:
    return [keyring.statement, keyring.log, keyring.host, keyring.auditor]


def test_operator_key_with_a_passphrase_needs_it(made: RegistryPaths) -> None:
    key = load_operator(made)
    (made.keys / OPERATOR_FILE).unlink()
    key.save(made.keys / OPERATOR_FILE, b"correct horse")
    with pytest.raises(CannotDecryptError):
        load_operator(made)
    with pytest.raises(CannotDecryptError):
        load_operator(made, b"wrong")
    assert load_operator(made, b"correct horse").key_id == key.key_id


def test_exported_root_is_there_and_no_longer_here(made: RegistryPaths, tmp_path: Path) -> None:
    before = (made.keys / ROOT_FILE).read_bytes()
    export_root(made, tmp_path / "stick.pem")
    assert (tmp_path / "stick.pem").read_bytes() == before
    assert not (made.keys / ROOT_FILE).exists()
    with pytest.raises(NotFoundError, match="not on this machine"):
        export_root(made, tmp_path / "again.pem")


def test_export_overwrites_nothing_and_keeps_the_key(made: RegistryPaths, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(LorasealError, match="exists already"):
        export_root(made, target)
    assert target.read_text() == "mine"
    assert (made.keys / ROOT_FILE).exists()


def test_export_to_a_full_stick_keeps_the_key_and_leaves_nothing_there(
    made: RegistryPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises((OSError, LorasealError)):
            export_root(made, tmp_path / "stick.pem")
    assert not (tmp_path / "stick.pem").exists()
    assert (made.keys / ROOT_FILE).exists()


def test_export_needs_no_hard_links(
    made: RegistryPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sticks are mostly FAT: no hard links, no modes."""

    def refuse(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    export_root(made, tmp_path / "stick.pem")
    assert not (made.keys / ROOT_FILE).exists()
