"""What a recipient pinned: a registry's root key, or a keyset that was signed by it.

Never taken from the bundle itself: whoever makes a bundle could put any key into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from registry.errors import FormatError, SignatureError
from registry.formats.base64_text import decode_base64
from registry.formats.envelope import parse_envelope
from registry.formats.keyset import KeyAlgorithm, KeyRole, key_id_of, parse_keyset
from registry.formats.words import spoken
from registry.limits import KEY_PIN_BYTES
from registry.sealing.public_keys import verify_signature

_KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_HINT = (
    "give --key the root key (64 hex digits, base64 or PEM) or the keyset file that you pinned "
    "when you enrolled"
)


@dataclass(frozen=True, slots=True)
class KeyPin:
    """The raw Ed25519 root keys that may sign a keyset, and the oldest version that is acceptable."""

    roots: tuple[bytes, ...]
    version: int = 0

    @property
    def name(self) -> str:
        """The key id of the first root: under this name memory is kept."""
        return key_id_of(self.roots[0])

    @property
    def words(self) -> str:
        """The six words of the first root, to compare with those that the registry says."""
        return spoken(bytes.fromhex(self.name))


def parse_pin(data: bytes) -> KeyPin:
    """Return the pin in `data`: 64 hex digits, base64 of 32 bytes, PEM, or a keyset's envelope.

    Raises:
        FormatError: none of these.
        SignatureError: a keyset that its own root key did not sign.
    """
    if len(data) > KEY_PIN_BYTES:
        raise FormatError(f"pinned key has {len(data)} bytes, more than {KEY_PIN_BYTES}")
    word = data.strip()
    if word.startswith(b"{"):
        return _from_keyset(word)
    if word.startswith(b"-----BEGIN"):
        return KeyPin((_from_pem(word),))
    try:
        text = word.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError("pinned key is not text", hint=_HINT) from error
    if _HEX.fullmatch(text):
        return KeyPin((bytes.fromhex(text),))
    try:
        return KeyPin((decode_base64(text, what="pinned key", size=_KEY_BYTES),))
    except FormatError as error:
        raise FormatError(
            "pinned key is none of 64 hex digits, base64 of 32 bytes, PEM, or a keyset", hint=_HINT
        ) from error


def _from_keyset(data: bytes) -> KeyPin:
    envelope = parse_envelope(data, what="pinned keyset")
    keyset = parse_keyset(envelope.payload)
    roots = keyset.with_role(KeyRole.ROOT)
    if not roots:
        raise FormatError("pinned keyset names no root key", hint=_HINT)
    # Self-signed: it proves no more than that the file is whole; the pinning is what trusts it.
    for signature in envelope.signatures:
        root = next((item for item in roots if item.key_id == signature.key_id), None)
        if root is None:
            raise SignatureError("pinned keyset is not signed by a root key that it names")
        verify_signature(KeyAlgorithm.ED25519, root.public, signature.signature, envelope.pae())
    signed_by = {signature.key_id for signature in envelope.signatures}
    first = tuple(root.public for root in roots if root.key_id in signed_by)
    rest = tuple(root.public for root in roots if root.key_id not in signed_by)
    return KeyPin(first + rest, keyset.version)


def _from_pem(data: bytes) -> bytes:
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError("pinned key is not a public key in PEM form", hint=_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise FormatError("pinned key is of another kind than Ed25519", hint=_HINT)
    return key.public_bytes_raw()
