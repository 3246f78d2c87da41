"""The leaf of a statement: a salted commitment, which tells nothing to who lacks statement or salt.

Leaf bytes are `loraseal/leaf/v1` LF, then HMAC-SHA256 under the 32-byte salt of the statement's PAE
(type and payload, as signed). A leaf can be shown to anyone; once statement and salt are erased,
nothing is left that a guess could be checked against (PROTOCOL section 1.3).
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.formats.envelope import Envelope

SALT_BYTES = 32
LEAF_PREFIX = b"loraseal/leaf/v1\n"


def new_salt() -> bytes:
    """Return a fresh random salt; each statement gets its own."""
    return secrets.token_bytes(SALT_BYTES)


def leaf_for(salt: bytes, envelope: Envelope) -> bytes:
    """Return the leaf bytes that commit to the type and payload of `envelope`, not its signatures.

    The salt has a fixed length, so no two keys of HMAC are equal by padding and the commitment is
    as binding as SHA-256.

    Raises:
        ValueError: the salt does not have 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt has {len(salt)} bytes, expected {SALT_BYTES}")
    return LEAF_PREFIX + hmac.digest(salt, envelope.pae(), "sha256")
