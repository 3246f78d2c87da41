"""The 16-byte key of one age file, and all that may be derived from it.

Every use has its own HKDF label, so that no output of one can stand for another. The class keeps the
bytes out of logs, tracebacks and job arguments; it cannot keep them out of memory.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import NoReturn, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_KEY_BYTES = 16
_DERIVED_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class FileKey:
    """The secret of one sealed payload: never logged, never stored, never used for another payload."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != FILE_KEY_BYTES:
            raise ValueError(f"file key must have {FILE_KEY_BYTES} bytes")

    def __reduce__(self) -> NoReturn:
        # A job queue that pickles its arguments must not be able to write this to disk.
        raise TypeError("a file key cannot be pickled or copied")

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh random file key."""
        return cls(secrets.token_bytes(FILE_KEY_BYTES))

    def header_mac(self, covered: bytes) -> bytes:
        """Return the header MAC over `covered` (C2SP age.md, "Header MAC")."""
        return hmac.digest(self._derive(b"", b"header"), covered, "sha256")

    def payload_key(self, nonce: bytes) -> bytes:
        """Return the ChaCha20-Poly1305 key of the payload that begins with the 16-byte `nonce`."""
        return self._derive(nonce, b"payload")

    def receipt_mac(self, message: bytes) -> bytes:
        """Return HMAC-SHA256 of `message` under HKDF(file key, "loraseal/receipt").

        Only who unwrapped the file key can make it: a receipt with it proves that.
        """
        return hmac.digest(self._derive(b"", b"loraseal/receipt"), message, "sha256")

    def _derive(self, salt: bytes, info: bytes) -> bytes:
        return HKDF(SHA256(), _DERIVED_BYTES, salt=salt, info=info).derive(self.secret)
