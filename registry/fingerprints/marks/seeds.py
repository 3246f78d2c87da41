"""Seeds of marks: one per artifact and recipient, from the registry's master secret; and commitments.

A commitment goes into the log when a copy is delivered. Revealing the seed opens it, and then anyone
who has the original can compute the mark. That shows that the seed was fixed at delivery, and no more:
who holds the master secret could have marked any other file with it.
"""

from __future__ import annotations

import hashlib
import hmac

from registry.errors import VerificationError
from registry.fingerprints.marks.stream import derive_key

MARK_VERSION = 1
SEED_BYTES = 32
_SEED_LABEL = "loraseal/mark/v1/seed"
_MODULE_LABEL = "loraseal/mark/v1/module"
_COMMITMENT_PREFIX = b"loraseal/mark/v1/commitment\n"


def seed_of(master: bytes, artifact: str, recipient: str) -> bytes:
    """Return the 32-byte seed of the mark that one recipient's copy of one artifact bears.

    `artifact` is the digest of the artifact that is marked, not of the copy; `recipient` the random id.

    Raises:
        ValueError: a master secret of less than 32 bytes, or an empty name.
    """
    if len(master) < SEED_BYTES:
        raise ValueError(f"master secret has {len(master)} bytes, expected at least {SEED_BYTES}")
    if not artifact or not recipient:
        raise ValueError("a mark needs an artifact and a recipient")
    return derive_key(master, _SEED_LABEL, artifact.encode(), recipient.encode())


def commitment(seed: bytes) -> bytes:
    """Return the 32 bytes that commit to `seed` and tell nothing of it.

    Raises:
        ValueError: the seed does not have 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed has {len(seed)} bytes, expected {SEED_BYTES}")
    return hashlib.sha256(_COMMITMENT_PREFIX + seed).digest()


def verify_opening(committed: bytes, seed: bytes) -> None:
    """Return if `seed` is the one that was committed to.

    Raises:
        VerificationError: it is another one, or no seed.
    """
    if len(seed) != SEED_BYTES or not hmac.compare_digest(commitment(seed), committed):
        raise VerificationError("the seed does not open the commitment")


def module_key(seed: bytes, name: str, occurrence: int = 0) -> bytes:
    """Return the key of one module's chips and rotation.

    `name` is as the original file spells it: those bytes stay, while rules for canonical names grow.
    `occurrence` counts modules of the same name in several files of one payload.
    """
    return derive_key(seed, _MODULE_LABEL, name.encode(), str(occurrence).encode())
