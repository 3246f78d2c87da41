"""Sealed boxes (libsodium) for small messages to the registry, such as delivery receipts.

Anonymous: a carrier learns neither who wrote one nor what it says. The reader learns no sender
either; the signature inside does that. PyNaCl is imported on first use: the recipients' verifier must
not load it.
"""

from __future__ import annotations

from registry.errors import CannotDecryptError, FormatError

BOX_OVERHEAD_BYTES = 48
_KEY_BYTES = 32


def seal_box(data: bytes, public: bytes) -> bytes:
    """Return `data` sealed to the X25519 key `public`: 48 bytes more, different each time.

    Raises:
        FormatError: `public` is not 32 bytes or is a low-order point.
    """
    from nacl.exceptions import CryptoError
    from nacl.public import PublicKey, SealedBox

    _check_key(public)
    try:
        return bytes(SealedBox(PublicKey(public)).encrypt(data))
    except CryptoError as error:
        raise FormatError("box key is a low-order point") from error


def open_box(data: bytes, private: bytes) -> bytes:
    """Return what was sealed to the public half of the X25519 key `private`.

    Raises:
        FormatError: `data` is too short to be a box, or `private` is not 32 bytes.
        CannotDecryptError: made for another key, or altered.
    """
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey, SealedBox

    _check_key(private)
    if len(data) < BOX_OVERHEAD_BYTES:
        raise FormatError(f"sealed box has {len(data)} bytes, expected at least 48")
    try:
        return bytes(SealedBox(PrivateKey(private)).decrypt(data))
    except CryptoError as error:
        raise CannotDecryptError(
            "sealed box does not open: it is for another key, or was altered",
            hint="was it made for this registry? ask for it again",
        ) from error


def _check_key(key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        raise FormatError(f"box key has {len(key)} bytes, expected {_KEY_BYTES}")
