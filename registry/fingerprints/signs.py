"""Secret signs: HMAC-SHA256 of a purpose seeds SHAKE-256, and every bit of its stream is +1 or -1.

No generator of a numeric library: their streams change with versions and devices, and a sketch must
be the same in ten years. A purpose holds the version, so that two versions share no sign.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Signs: TypeAlias = NDArray[np.int8]

SKETCH_VERSION = 1
KEY_BYTES = 32
KEY_ID_BYTES = 8
NAME_BYTES = 8


def derive(key: bytes, purpose: str) -> bytes:
    """Return 32 bytes for `purpose`: HMAC-SHA256(key, "loraseal/sketch/v1/" + purpose).

    Raises:
        ValueError: the key is shorter than `KEY_BYTES`.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"a sketch key has at least {KEY_BYTES} bytes, not {len(key)}")
    text = f"loraseal/sketch/v{SKETCH_VERSION}/{purpose}"
    # A name from a file may hold half a surrogate pair: it still is a name.
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")


def signs_of(seed: bytes, count: int) -> Signs:
    """Return the first `count` signs of SHAKE-256(seed), int8: bit 0 of each byte first, 0 is +1."""
    stream = np.frombuffer(hashlib.shake_256(seed).digest(-(-count // 8)), np.uint8)
    bits = np.unpackbits(stream, count=count, bitorder="little").view(np.int8)
    return np.subtract(1, 2 * bits, dtype=np.int8)


def draw_signs(key: bytes, purpose: str, count: int) -> Signs:
    """Return `count` signs for `purpose`, int8."""
    return signs_of(derive(key, purpose), count)


def key_id_of(key: bytes) -> bytes:
    """Return the 8 bytes by which a sketch says which key made it; they do not tell the key."""
    return derive(key, "id")[:KEY_ID_BYTES]


def hashed_name(key: bytes, name: str) -> int:
    """Return the 64-bit number that stands for a canonical name in the sketches of this key."""
    return int.from_bytes(derive(key, f"name/{name}")[:NAME_BYTES], "big")
