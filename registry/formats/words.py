"""Six words for a digest, so that two people can compare keys by voice (66 bits).

They are for comparing what both already hold; they are never a secret and never a look-up key.
"""

from __future__ import annotations

from registry.formats.word_list import WORDS

PHRASE_WORDS = 6
_BITS_PER_WORD = 11
_DIGEST_BYTES = 32


def phrase(digest: bytes) -> tuple[str, ...]:
    """Return the six words of the first 66 bits of a 32-byte digest.

    Raises:
        ValueError: `digest` is not 32 bytes: a shorter value would say less than six words promise.
    """
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"phrase needs a {_DIGEST_BYTES}-byte digest, got {len(digest)} bytes")
    number = int.from_bytes(digest, "big") >> (_DIGEST_BYTES * 8 - PHRASE_WORDS * _BITS_PER_WORD)
    shifts = range((PHRASE_WORDS - 1) * _BITS_PER_WORD, -1, -_BITS_PER_WORD)
    return tuple(WORDS[(number >> shift) & (2**_BITS_PER_WORD - 1)] for shift in shifts)


def spoken(digest: bytes) -> str:
    """Return the six words joined by hyphens, as they are shown and said."""
    return "-".join(phrase(digest))
