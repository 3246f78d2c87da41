"""A recipient's own folder: age identity, signing key, enrolment file, and what is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.durable import atomic_write, ensure_directory
from registry.errors import NotFoundError, UsageError
from registry.formats.enrolment_file import EnrolmentRequest
from registry.formats.moments import to_text
from registry.sealing.identities import ScryptRecipient, X25519Identity
from registry.sealing.identity_file import load_identities
from registry.sealing.key_files import write_key_file
from registry.sealing.seal import seal_bytes
from registry.sealing.signing import SigningKey
from registry.verify.enrolments import enrolment_words, make_enrolment

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

IDENTITY_NAME = "identity.txt"
SIGNING_NAME = "signing-key.pem"
ENROLMENT_NAME = "enrolment.json"


@dataclass(frozen=True, slots=True)
class RecipientKeys:
    """A recipient's two private keys; their `repr` hides them. `made` is false if they were there."""

    identity: X25519Identity
    signing: SigningKey
    made: bool


def ensure_keys(home: Path, now: datetime, passphrase: bytes | None = None) -> RecipientKeys:
    """Return the keys in `home`, made now (mode 0600) if there are none; nothing is overwritten.

    With a passphrase new keys are written under it; the identity file is then itself an age file,
    as `age -i` takes it.

    Raises:
        LorasealError: cannot write there, others may read a key, or only one of the two is there.
        CannotDecryptError: the passphrase is wrong.
    """
    identity_file, signing_file = home / IDENTITY_NAME, home / SIGNING_NAME
    present = [path for path in (identity_file, signing_file) if path.exists()]
    if len(present) == 1:
        raise UsageError(
            f"{str(home)!r} holds {present[0].name} and not the other key",
            hint="restore the missing one, or move this one away to make both anew",
        )
    if present:
        return _load(home, passphrase)
    ensure_directory(home)
    identity, signing = X25519Identity.generate(), SigningKey.generate()
    text = (
        f"# made by loraseal enrol, {to_text(now)}; a secret: keep it and never send it\n"
        f"# public key: {identity.recipient()}\n{identity.to_text()}\n"
    ).encode("ascii")
    if passphrase is not None:
        text = seal_bytes(text, [ScryptRecipient(passphrase)])
    signing.save(signing_file, passphrase)
    write_key_file(identity_file, text)
    return RecipientKeys(identity, signing, made=True)


def enrolment_file(keys: RecipientKeys, name: str, now: datetime) -> tuple[bytes, str]:
    """Return the enrolment file's bytes and the six words to compare.

    Raises:
        FormatError: `name` is empty, too long or unprintable.
    """
    request = EnrolmentRequest(
        name, str(keys.identity.recipient()), keys.signing.public_raw, to_text(now)
    )
    return make_enrolment(request, keys.signing), enrolment_words(request)


def write_enrolment(target: Path, data: bytes) -> None:
    """Write the enrolment file; it holds nothing secret.

    Raises:
        LorasealError: cannot write there.
    """
    atomic_write(target, data)


def load_signing_key(path: Path, passphrase: bytes | None = None) -> SigningKey:
    """Return the recipient's signing key.

    Raises:
        NotFoundError: there is none.
        CannotDecryptError, FormatError, LorasealError: as `SigningKey.load`.
    """
    if not path.exists():
        raise NotFoundError(
            f"there is no signing key {str(path)!r}",
            hint="name it with --signing-key, or make keys with: loraseal enrol",
        )
    return SigningKey.load(path, passphrase)


def _load(home: Path, passphrase: bytes | None) -> RecipientKeys:
    identities = load_identities(home / IDENTITY_NAME, passphrase=passphrase)
    mine = [item for item in identities if isinstance(item, X25519Identity)]
    if len(mine) != 1:
        raise UsageError(f"{IDENTITY_NAME} holds {len(mine)} identities, expected 1")
    return RecipientKeys(mine[0], SigningKey.load(home / SIGNING_NAME, passphrase), made=False)
