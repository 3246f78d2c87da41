"""Very many damaged copies of an example, quickly and the same on every run (no hypothesis)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

_ROUND = 10_000
# What means something to a parser of JSON, and what must not be there at all.
_ODD = b'{}[]",:0159 -e\\\xff\x00atn'


def flood(example: bytes, count: int) -> Iterator[bytes]:
    """Yield `count` copies of `example`, each with one to three bytes set, dropped or doubled."""
    for start in range(0, count, _ROUND):
        wanted = min(_ROUND, count - start)
        dice = hashlib.shake_128(example + start.to_bytes(8, "little")).digest(wanted * 10)
        for offset in range(0, wanted * 10, 10):
            yield _damaged(example, dice[offset : offset + 10])


def _damaged(example: bytes, dice: bytes) -> bytes:
    data = bytearray(example)
    for step in range(1 + dice[0] % 3):
        kind, value, place = dice[1 + 3 * step], dice[2 + 3 * step], dice[3 + 3 * step]
        position = (place * 257 + value) % len(data)
        if kind % 4 == 0:
            del data[position]
        elif kind % 4 == 1:
            data.insert(position, data[position])
        elif kind % 4 == 2:
            data[position] ^= 1 << (value % 8)
        else:
            data[position] = _ODD[value % len(_ODD)]
    return bytes(data)
