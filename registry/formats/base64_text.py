"""Standard base64 (RFC 4648 section 4) with exactly one text for each byte string."""

from __future__ import annotations

import base64
import binascii

from registry.errors import FormatError


def encode_base64(data: bytes) -> str:
    """Return `data` in standard base64 with padding, without line breaks."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, *, what: str, size: int | None = None) -> bytes:
    """Return the bytes that `text` encodes; `size` is their exact number, where it is known.

    Raises:
        FormatError: another alphabet, spaces, missing padding, stray last bits, another size.
            `what` names the value in the message; the value itself is never quoted.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{what} is not standard base64") from error
    # Stray bits under the padding would give one signature many texts (malleability).
    if encode_base64(data) != text:
        raise FormatError(f"{what} is base64, but not in its one canonical form")
    if size is not None and len(data) != size:
        raise FormatError(f"{what} has {len(data)} bytes, expected {size}")
    return data
