"""The key directory of one registry: made once, whole or not at all (PROTOCOL section 2).

Custody loads what it signs and opens with. The operator's key is loaded only by a person's command,
the root key only to sign a keyset; neither is ever in the daemon's memory.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from registry.durable import atomic_write, create, finish, fsync_directory, write_all
from registry.errors import FormatError, LorasealError, NotFoundError, UsageError
from registry.formats.envelope import Envelope, parse_envelope
from registry.formats.keyset import (
    KEYSET_PAYLOAD_TYPE,
    KeyEntry,
    KeyRole,
    Keyset,
    key_id_of,
    parse_keyset,
)
from registry.formats.moments import to_text
from registry.provenance.columns import new_index_key
from registry.sealing.identities import X25519Identity, parse_identity_file
from registry.sealing.key_files import read_key_file, read_raw_key, write_key_file
from registry.sealing.signing import P256Key, SigningKey, sign_envelope

if TYPE_CHECKING:
    from pathlib import Path

    from registry.settings import RegistryPaths

ROOT_FILE = "root.pem"
OPERATOR_FILE = "operator.pem"
VAULT_FILE = "vault-identity.txt"
RECEIPT_FILE = "receipt.key"
INDEX_FILE = "index.key"
KEYSET_FILE = "keyset.json"
_SIGNING_FILES = {
    KeyRole.STATEMENT: "statement.pem",
    KeyRole.LOG: "log.pem",
    KeyRole.OPERATOR: OPERATOR_FILE,
    KeyRole.HOST: "host.pem",
    KeyRole.AUDITOR: "auditor.pem",
}
_OMS_FILE = "oms.pem"
KEY_FILES = (*_SIGNING_FILES.values(), _OMS_FILE, VAULT_FILE, RECEIPT_FILE, INDEX_FILE)


@dataclass(frozen=True, slots=True)
class Keyring:
    """What custody holds in memory. The root and operator keys are not here."""

    statement: SigningKey
    log: SigningKey
    host: SigningKey
    auditor: SigningKey
    oms: P256Key
    vault: X25519Identity = field(repr=False)
    receipt: bytes = field(repr=False)
    index: bytes = field(repr=False)
    keyset: Keyset
    keyset_envelope: Envelope


def create_keyring(paths: RegistryPaths, now: datetime | None = None) -> None:
    """Make every key of a new registry and the keyset that the root key signs.

    The folder appears whole under its name, or not at all.

    Raises:
        UsageError: the registry has keys already.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    if paths.keys.exists():
        raise UsageError(
            f"{paths.keys} exists already", hint="keys are made once; move the old ones away first"
        )
    building = paths.keys.with_name(f".keys-{secrets.token_hex(6)}")
    building.mkdir(mode=0o700)
    try:
        _fill(building, paths.registry, now or datetime.now(UTC))
        fsync_directory(building)
        building.rename(paths.keys)
        fsync_directory(paths.keys.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(folder: Path, registry: str, now: datetime) -> None:
    root, oms, receipt = SigningKey.generate(), P256Key.generate(), X25519PrivateKey.generate()
    root.save(folder / ROOT_FILE)
    oms.save(folder / _OMS_FILE)
    write_key_file(folder / RECEIPT_FILE, receipt.private_bytes_raw().hex().encode() + b"\n")
    write_key_file(folder / INDEX_FILE, new_index_key().hex().encode() + b"\n")
    write_key_file(folder / VAULT_FILE, X25519Identity.generate().to_text().encode() + b"\n")
    entries = [
        KeyEntry.of(KeyRole.ROOT, root.public_raw, valid_from=now),
        KeyEntry.of(KeyRole.OMS, oms.public_raw, valid_from=now),
        KeyEntry.of(KeyRole.RECEIPT, receipt.public_key().public_bytes_raw(), valid_from=now),
    ]
    for role, name in _SIGNING_FILES.items():
        key = SigningKey.generate()
        key.save(folder / name)
        entries.append(KeyEntry.of(role, key.public_raw, valid_from=now))
    keyset = Keyset(registry, 1, to_text(now), f"{registry}/log", tuple(entries))
    envelope = sign_envelope(KEYSET_PAYLOAD_TYPE, keyset.to_bytes(), [root])
    atomic_write(folder / KEYSET_FILE, envelope.to_bytes(), mode=0o644)


def load_keyring(paths: RegistryPaths) -> Keyring:
    """Load what custody needs.

    Raises:
        NotFoundError: a key file is missing.
        LorasealError: others can read a key file.
        FormatError: a file does not hold what its name says, or a key is not in the keyset.
    """
    envelope = parse_envelope(_read_public(paths.keys / KEYSET_FILE))
    keyset = parse_keyset(envelope.payload)
    keys = {
        role: SigningKey.load(paths.keys / name)
        for role, name in _SIGNING_FILES.items()
        if role is not KeyRole.OPERATOR
    }
    oms = P256Key.load(paths.keys / _OMS_FILE)
    receipt = read_raw_key(paths.keys / RECEIPT_FILE)
    receipt_public = X25519PrivateKey.from_private_bytes(receipt).public_key().public_bytes_raw()
    ids = {role: key.key_id for role, key in keys.items()}
    ids |= {KeyRole.OMS: oms.key_id, KeyRole.RECEIPT: key_id_of(receipt_public)}
    for role, key_id in ids.items():
        _check_listed(keyset, role, key_id)
    return Keyring(
        statement=keys[KeyRole.STATEMENT],
        log=keys[KeyRole.LOG],
        host=keys[KeyRole.HOST],
        auditor=keys[KeyRole.AUDITOR],
        oms=oms,
        vault=_load_vault(paths.keys / VAULT_FILE),
        receipt=receipt,
        index=read_raw_key(paths.keys / INDEX_FILE),
        keyset=keyset,
        keyset_envelope=envelope,
    )


def load_keyset(paths: RegistryPaths) -> Keyset:
    """Return the public keyset, as it lies on disk.

    Raises:
        NotFoundError: there is none yet.
        FormatError: not a keyset.
    """
    return parse_keyset(parse_envelope(_read_public(paths.keys / KEYSET_FILE)).payload)


def load_operator(paths: RegistryPaths, passphrase: bytes | None = None) -> SigningKey:
    """Load the operator's key, for one command of a person.

    Raises:
        NotFoundError: it is not here.
        CannotDecryptError: it has a passphrase, and none or another one was given.
    """
    return SigningKey.load(paths.keys / OPERATOR_FILE, passphrase)


def load_vault_recipient(paths: RegistryPaths) -> str:
    """Return the public recipient that everything at rest is sealed to."""
    return str(_load_vault(paths.keys / VAULT_FILE).recipient())


def root_public(keyring: Keyring) -> bytes:
    """Return the root's raw public key: what recipients pin."""
    return keyring.keyset.with_role(KeyRole.ROOT)[0].public


def export_root(paths: RegistryPaths, target: Path) -> None:
    """Move the root key to `target`: written and synced there before it is removed here.

    Raises:
        NotFoundError: it has been exported already.
        LorasealError: `target` exists or cannot be written; the key stays where it is.
    """
    source = paths.keys / ROOT_FILE
    if not source.exists():
        raise NotFoundError(
            "the root key is not on this machine", hint="it was exported before; nothing to do"
        )
    content = read_key_file(source)
    _write_outside(target, content)
    if target.read_bytes() != content:
        raise FormatError(f"{target} does not read back as it was written")
    source.unlink()
    fsync_directory(paths.keys)


def _write_outside(target: Path, content: bytes) -> None:
    """Write a key to a stick: those are mostly FAT, with neither hard links nor modes."""
    try:
        stream = create(target)
    except FileExistsError as error:
        raise LorasealError(
            f"{str(target)!r} exists already", hint="name a file that is not there yet"
        ) from error
    try:
        with stream:
            write_all(stream, content)
            finish(stream)
        fsync_directory(target.parent)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def _load_vault(path: Path) -> X25519Identity:
    identities = parse_identity_file(read_key_file(path))
    if len(identities) != 1 or not isinstance(identities[0], X25519Identity):
        raise FormatError(f"{path} does not hold exactly one X25519 identity")
    return identities[0]


def _read_public(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no keyset at {path}", hint="run: loraseal init") from error


def _check_listed(keyset: Keyset, role: KeyRole, key_id: str) -> None:
    entry = keyset.find(key_id)
    if entry is None or entry.role is not role:
        raise FormatError(
            f"the {role} key on disk is not the one in the keyset",
            hint="restore keys and keyset from the same backup",
        )
