"""Keyed bytes for ever the same: HMAC-SHA256 makes a key of a secret and labels, SHAKE-256 a stream.

No generator of a numeric library is used: their streams change between releases.
"""

from __future__ import annotations

import hashlib
import hmac

_LENGTH_BYTES = 8


def derive_key(secret: bytes, label: str, *fields: bytes) -> bytes:
    """Return 32 bytes that depend on the secret, what they are for, and every field.

    Each field goes in behind its length, so that no two lists of fields are the same message.
    """
    framed = b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)
    return hmac.digest(secret, label.encode() + b"\n" + framed, "sha256")


def key_stream(key: bytes, label: str, count: int) -> bytes:
    """Return the first `count` bytes of the stream of `key` for one purpose."""
    return hashlib.shake_256(label.encode() + b"\n" + key).digest(count)
