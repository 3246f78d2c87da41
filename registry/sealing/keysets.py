"""The signed keyset: made by the root key, verified under the pinned one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import SignatureError
from registry.formats.keyset import (
    KEYSET_PAYLOAD_TYPE,
    KeyAlgorithm,
    KeyRole,
    Keyset,
    key_id_of,
    parse_keyset,
)
from registry.sealing.public_keys import short_key_id, verify_signature
from registry.sealing.signing import sign_envelope

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.envelope import Envelope
    from registry.sealing.signing import SigningKey


def sign_keyset(keyset: Keyset, root: SigningKey) -> Envelope:
    """Return the keyset in an envelope signed by the root key, which it must list.

    Raises:
        ValueError: the keyset does not list `root` as its root key; nobody could verify it.
    """
    entry = keyset.find(root.key_id)
    if entry is None or entry.role is not KeyRole.ROOT:
        raise ValueError("keyset does not list the key that signs it as root")
    return sign_envelope(KEYSET_PAYLOAD_TYPE, keyset.to_bytes(), [root])


def verify_keyset(envelope: Envelope, root: bytes, *, at: datetime) -> Keyset:
    """Return the keyset once the pinned raw root key `root` has signed it.

    Whether it is older than one seen before is the caller's to check (`version`).

    Raises:
        SignatureError: another payload type, not signed by that root alone, a false signature, or
            the keyset does not list that root as valid `at` that moment.
        FormatError: signed, and yet no keyset.
    """
    if envelope.payload_type != KEYSET_PAYLOAD_TYPE:
        raise SignatureError(
            f"envelope holds {envelope.payload_type!r}, expected {KEYSET_PAYLOAD_TYPE!r}"
        )
    pinned = key_id_of(root)
    signers = [item.key_id for item in envelope.signatures]
    if signers != [pinned]:
        raise SignatureError(
            f"keyset is signed by key {', '.join(short_key_id(item) for item in signers)}, "
            f"expected the pinned root key {short_key_id(pinned)}",
            hint="it is of another registry, or its root changed: ask in person before you pin it",
        )
    verify_signature(KeyAlgorithm.ED25519, root, envelope.signatures[0].signature, envelope.pae())
    keyset = parse_keyset(envelope.payload)
    entry = keyset.find(pinned)
    if entry is None or entry.role is not KeyRole.ROOT or not entry.is_valid_at(at):
        raise SignatureError(
            f"keyset does not list root key {short_key_id(pinned)} as valid now",
            hint="check this machine's clock, and ask the registry for its current keyset",
        )
    return keyset
