"""A digest: an algorithm and a value, never one without the other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from registry.errors import FormatError

_HEX_LENGTHS = {"sha256": 64, "blake3": 64}
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Digest:
    """An algorithm-tagged digest. `value` is lower-case hex of full length."""

    algorithm: str
    value: str

    def __post_init__(self) -> None:
        expected = _HEX_LENGTHS.get(self.algorithm)
        if expected is None:
            raise FormatError(
                f"digest algorithm {self.algorithm!r} is none of {sorted(_HEX_LENGTHS)}"
            )
        if len(self.value) != expected or not _HEX.fullmatch(self.value):
            raise FormatError(f"{self.algorithm} digest must be {expected} lower-case hex digits")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest written as `algorithm:hex`.

        Raises:
            FormatError: not of that form, unknown algorithm, wrong length.
        """
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise FormatError("digest has no 'algorithm:' prefix")
        return cls(algorithm, value)


def sha256_of(data: bytes) -> Digest:
    """Return the SHA-256 digest of `data`."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())
