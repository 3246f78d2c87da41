"""Finding the nearest of many sketches: one code of 2,048 bits each, and a scan over all of them.

A bit is the side of a random plane on which a sketch lies. Two codes at an angle a differ in about
2048 a / pi bits, so a count of different bits estimates a cosine, +-0.035 near 0; a negated adapter
differs in nearly all. A scan of 10^5 codes reads 25.6 MB, which is quicker than any tree at this size and
misses nothing that the estimate does not miss. Codes only choose candidates: the answer is computed
from their whole sketches.

Each layer counts by a hash of its own name, so sketches with different layers have comparable codes.
The planes need no key: what they are applied to was made with one.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from registry.errors import FormatError
from registry.fingerprints.code_pages import CODE_BITS, CODE_BYTES, VACANT
from registry.fingerprints.signs import NAME_BYTES, signs_of
from registry.fingerprints.sketch import K

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from registry.fingerprints.sketch import Sketch

    Page: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]

_VALUES = K * K
_WORDS = CODE_BYTES // 8
_DOMAIN = b"loraseal/code/v1/"
_CHUNK_PARTS = 512
# Rows of words compared at once: their counts stay in the cache.
_CHUNK_CODES = 2048


@dataclass(frozen=True, slots=True)
class Hit:
    """A code near the one that was asked for. `slot` counts from the first code of the first page."""

    slot: int
    hamming: int
    cosine: float


def code_of(sketch: Sketch) -> bytes:
    """Return the code of a sketch, `CODE_BYTES` long; `VACANT` for one without parts.

    The codes of two sketches of one key can be compared; those of different keys are unrelated.
    """
    sums = np.zeros(CODE_BITS, np.float32)
    flat = sketch.values.reshape(-1, _VALUES)
    if len(flat) == 0:
        return VACANT
    flat = flat / np.abs(flat).max()
    planes = _planes(sketch.key_id)
    for start in range(0, len(flat), _CHUNK_PARTS):
        end = start + _CHUNK_PARTS
        names = sketch.names[start * NAME_BYTES : end * NAME_BYTES]
        inner, outer = _signs_of_names(sketch.key_id, names)
        sums += np.einsum("lb,lb->b", (flat[start:end] * inner) @ planes, outer)
    return np.packbits(sums > 0, bitorder="little").tobytes()


def search(pages: Iterable[Page], code: bytes, limit: int) -> list[Hit]:
    """Return the codes nearest to `code` or to its opposite, nearest first, at most `limit`.

    Pages before the last are full (`PAGE_CODES` codes, vacant ones zero), so that a slot is
    its page times `PAGE_CODES` plus its row; an index held in memory may be one long page. All codes
    must be of sketches of one key. Vacant codes are never found, and find nothing.

    Raises:
        FormatError: a page that does not consist of whole codes.
        ValueError: `code` has another length.
    """
    if len(code) != CODE_BYTES:
        raise ValueError(f"a code has {CODE_BYTES} bytes, not {len(code)}")
    if code == VACANT or limit < 1:
        return []
    query = np.frombuffer(code, np.uint64)
    counts = [np.zeros(0, np.uint16)]
    for page in pages:
        counts.extend(_distances(page, query))
    distances = np.concatenate(counts)
    # Vacant codes count as half way, which is the farthest there is; 16 bits sort by radix.
    farness = CODE_BITS // 2 - np.abs(distances.astype(np.int16) - CODE_BITS // 2)
    order = np.argsort(farness.astype(np.uint16), kind="stable")[:limit]
    return [_hit(slot, distances) for slot in order.tolist() if farness[slot] < CODE_BITS // 2]


def _hit(slot: int, distances: NDArray[np.uint16]) -> Hit:
    hamming = int(distances[slot])
    return Hit(slot, hamming, float(np.cos(np.pi * hamming / CODE_BITS)))


def _distances(page: Page, query: NDArray[np.uint64]) -> list[NDArray[np.uint16]]:
    flat = np.frombuffer(page, np.uint8)
    if len(flat) % CODE_BYTES:
        raise FormatError(f"index page of {len(flat)} bytes does not consist of whole codes")
    words = flat.view(np.uint64).reshape(-1, _WORDS)
    found = []
    for start in range(0, len(words), _CHUNK_CODES):
        chunk = words[start : start + _CHUNK_CODES]
        counts = np.bitwise_count(chunk ^ query).sum(1, dtype=np.uint16)
        vacant = chunk[:, 0] == 0
        if vacant.any():
            counts[vacant & ~chunk.any(1)] = CODE_BITS // 2
        found.append(counts)
    return found


@functools.lru_cache(maxsize=4)
def _planes(key_id: bytes) -> NDArray[np.float32]:
    """Return the signs that all layers share, (k * k, CODE_BITS)."""
    signs = signs_of(_DOMAIN + b"planes/" + key_id, _VALUES * CODE_BITS)
    return signs.astype(np.float32).reshape(_VALUES, CODE_BITS)


def _signs_of_names(key_id: bytes, names: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return for each hashed name the signs of its values and of its share in each bit."""
    size = (_VALUES + CODE_BITS) // 8
    stream = b"".join(
        hashlib.shake_256(_DOMAIN + b"name/" + key_id + names[place : place + NAME_BYTES]).digest(
            size
        )
        for place in range(0, len(names), NAME_BYTES)
    )
    bits = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(-1, _VALUES + CODE_BITS)
    signs = 1 - 2 * bits.astype(np.float32)
    return signs[:, :_VALUES], signs[:, _VALUES:]
