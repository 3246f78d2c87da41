"""Signing keys, and DSSE envelopes signed and verified with them.

A signature counts only if the keyset gives its key a role that the caller asks for, at that time. The
formats that our keys sign cannot be taken for one another: DSSE signs bytes that begin `DSSEv1 ` and
hold a JSON object, SSHSIG signs bytes that begin `SSHSIG`, a note begins with a log's origin in
lower case; and each key has one role besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import FormatError, SignatureError
from registry.formats.envelope import Envelope, EnvelopeSignature, pae
from registry.formats.keyset import key_id_of
from registry.sealing.key_files import read_key_file, write_key_file
from registry.sealing.pkcs8 import dump_private_key, load_private_key
from registry.sealing.public_keys import short_key_id, verify_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from registry.formats.keyset import KeyEntry, KeyRole


class Signer(Protocol):
    """A private key that signs statements: `SigningKey` and `P256Key` are the two."""

    @property
    def key_id(self) -> str:
        """The hex sha256 of `public_raw`."""
        ...

    @property
    def public_raw(self) -> bytes:
        """The raw public key: 32 bytes of Ed25519, or 65 of P-256."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        ...


class SigningKey:
    """An Ed25519 private key. It never shows, and cannot be pickled into a job."""

    __slots__ = ("_private", "public_raw")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_raw = private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey({short_key_id(self.key_id)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key cannot be pickled or copied")

    @classmethod
    def generate(cls) -> Self:
        """Return a new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> Self:
        """Return the key in a PKCS#8 PEM file that only its owner can read.

        Raises:
            NotFoundError, LorasealError, FormatError, OSError: as `key_files.read_key_file`.
            CannotDecryptError: the file has a passphrase and this is not it.
        """
        return cls.from_pem(read_key_file(path), passphrase, what=f"key file {str(path)!r}")

    @classmethod
    def from_pem(cls, data: bytes, passphrase: bytes | None = None, *, what: str = "key") -> Self:
        """Return the key in PKCS#8 PEM `data`, which `what` names in messages.

        Raises:
            CannotDecryptError: it has a passphrase and this is not it.
            FormatError: no such key in it.
        """
        private = load_private_key(data, passphrase, what=what)
        if not isinstance(private, Ed25519PrivateKey):
            raise FormatError(f"{what} holds an elliptic-curve key, expected Ed25519")
        return cls(private)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the private key as PKCS#8 PEM: a secret, unless the passphrase is strong."""
        return dump_private_key(self._private, passphrase)

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write the private key to a new file of mode 0600.

        Raises:
            LorasealError: the file exists; keys are never overwritten.
            OSError: it cannot be written.
        """
        write_key_file(path, self.to_pem(passphrase))

    @property
    def key_id(self) -> str:
        """The hex sha256 of the raw public key."""
        return key_id_of(self.public_raw)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032) of `message`."""
        return self._private.sign(message)


class P256Key:
    """An ECDSA P-256 private key, which OpenSSF Model Signing asks for."""

    __slots__ = ("_private", "public_raw")

    def __init__(self, private: EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, SECP256R1):
            raise FormatError(f"key is on curve {private.curve.name}, expected P-256 (secp256r1)")
        self._private = private
        self.public_raw = private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def __repr__(self) -> str:
        return f"P256Key({short_key_id(self.key_id)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key cannot be pickled or copied")

    @classmethod
    def generate(cls) -> Self:
        """Return a new random key."""
        return cls(generate_private_key(SECP256R1()))

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> Self:
        """Return the key in a PKCS#8 PEM file; errors as `SigningKey.load`."""
        return cls.from_pem(read_key_file(path), passphrase, what=f"key file {str(path)!r}")

    @classmethod
    def from_pem(cls, data: bytes, passphrase: bytes | None = None, *, what: str = "key") -> Self:
        """Return the key in PKCS#8 PEM `data`; errors as `SigningKey.from_pem`."""
        private = load_private_key(data, passphrase, what=what)
        if not isinstance(private, EllipticCurvePrivateKey):
            raise FormatError(f"{what} holds an Ed25519 key, expected P-256")
        return cls(private)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the private key as PKCS#8 PEM: a secret, unless the passphrase is strong."""
        return dump_private_key(self._private, passphrase)

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write the private key to a new file of mode 0600; errors as `SigningKey.save`."""
        write_key_file(path, self.to_pem(passphrase))

    @property
    def key_id(self) -> str:
        """The hex sha256 of the raw public key (uncompressed point)."""
        return key_id_of(self.public_raw)

    def sign(self, message: bytes) -> bytes:
        """Return the DER signature of `message`: ECDSA over SHA-256."""
        return self._private.sign(message, ECDSA(SHA256()))


@dataclass(frozen=True, slots=True)
class VerifiedEnvelope:
    """A payload whose every signature held, with the keyset's entries of the keys that made them."""

    payload_type: str
    payload: bytes
    keys: tuple[KeyEntry, ...]

    @property
    def key(self) -> KeyEntry:
        """The key of the first signature; our statements have exactly one."""
        return self.keys[0]


def sign_envelope(payload_type: str, payload: bytes, keys: Sequence[Signer]) -> Envelope:
    """Return `payload` in an envelope signed by each of `keys` (at least one), in their order.

    Raises:
        ValueError: the payload is not a JSON object, so it could be a note or another format.
        FormatError: no key, payload too long, payload type not visible ASCII.
    """
    if not _is_object(payload):
        raise ValueError("only a JSON object may be signed as a statement")
    message = pae(payload_type, payload)
    return Envelope(
        payload_type,
        payload,
        tuple(EnvelopeSignature(key.key_id, key.sign(message)) for key in keys),
    )


def verify_envelope(
    envelope: Envelope,
    keys: Sequence[KeyEntry],
    *,
    payload_type: str,
    roles: Sequence[KeyRole],
    at: datetime,
) -> VerifiedEnvelope:
    """Return the payload once *every* signature of the envelope holds.

    `keys` is what the keyset (or a pin) lists, `roles` those of which any may sign this, `at` the
    moment at which the keys must be valid. What the payload says is not judged.

    Raises:
        SignatureError: another payload type, a key that is unknown, of another role, outside its
            time or standing twice, or a signature that does not fit; the message says which.
    """
    # 1. The type is under the signature (DSSE protocol.md): a status list is no statement.
    if envelope.payload_type != payload_type:
        raise SignatureError(f"envelope holds {envelope.payload_type!r}, expected {payload_type!r}")
    # 2. A note or an SSH signature dressed as a statement (PROTOCOL section 1.5).
    if not _is_object(envelope.payload):
        raise SignatureError(f"payload of type {payload_type!r} is not a JSON object")
    # 3. One key, one signature: two by one person must not look like two people.
    key_ids = {item.key_id for item in envelope.signatures}
    if len(key_ids) != len(envelope.signatures):
        raise SignatureError("envelope is signed twice by one key")
    # 4. Key, role, time, then the signature, for each: none may stand there unverified.
    message = envelope.pae()
    entries = []
    for item in envelope.signatures:
        entry = _permitted(item.key_id, keys, roles, at)
        verify_signature(entry.algorithm, entry.public, item.signature, message)
        entries.append(entry)
    return VerifiedEnvelope(payload_type, envelope.payload, tuple(entries))


def _permitted(
    key_id: str, keys: Sequence[KeyEntry], roles: Sequence[KeyRole], at: datetime
) -> KeyEntry:
    allowed = " or ".join(roles)
    entry = next((entry for entry in keys if entry.key_id == key_id), None)
    if entry is None:
        raise SignatureError(
            f"signed by key {short_key_id(key_id)}, which the keyset does not list; "
            f"expected a key of role {allowed}",
            hint="check that this comes from the registry whose root key you pinned",
        )
    if entry.role not in roles:
        raise SignatureError(
            f"key {short_key_id(key_id)} has role {entry.role} and may not sign this; "
            f"only role {allowed} may",
            hint="a genuine key was used for something else than its purpose: ask the registry",
        )
    if not entry.is_valid_at(at):
        raise SignatureError(
            f"{entry.role} key {short_key_id(key_id)} is valid from {entry.valid_from} "
            f"until {entry.valid_until or 'further notice'}, which does not hold this moment",
            hint="check this machine's clock, and ask the registry for its current keyset",
        )
    return entry


def _is_object(payload: bytes) -> bool:
    return payload.startswith(b"{") and payload.endswith(b"}")
