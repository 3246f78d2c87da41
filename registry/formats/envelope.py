"""DSSE envelope: bytes with a type, and signatures over both.

Spec: secure-systems-lab/dsse v1.0.0, `envelope.md` and `protocol.md`. Stricter than the spec: standard
base64 only, a key id on every signature, no fields beside the specified ones, since what stands
outside the signed bytes is seen by no signature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from registry.digest import Digest, sha256_of
from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.limits import (
    ENVELOPE_BYTES,
    ENVELOPE_SIGNATURES,
    PAYLOAD_TYPE_CHARS,
    SIGNATURE_BYTES,
)

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"

PAE_PREFIX = b"DSSEv1 "
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_PAYLOAD_TYPE = re.compile(r"[!-~]+")
_FIELDS = {"payload", "payloadType", "signatures"}
_SIGNATURE_FIELDS = {"keyid", "sig"}


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature. `key_id` is hex sha256 of the raw public key; it is a claim, not signed."""

    key_id: str
    signature: bytes

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise FormatError("envelope signature has no key id of 64 lower-case hex digits")
        if not 0 < len(self.signature) <= SIGNATURE_BYTES:
            raise FormatError(
                f"envelope signature has {len(self.signature)} bytes, "
                f"expected 1 to {SIGNATURE_BYTES}"
            )


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload of a type, with one signature or more. Nothing in it is verified yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    def __post_init__(self) -> None:
        check_payload_type(self.payload_type)
        if len(self.payload) > ENVELOPE_BYTES:
            raise FormatError(
                f"envelope payload has {len(self.payload)} bytes, more than {ENVELOPE_BYTES}"
            )
        if not 0 < len(self.signatures) <= ENVELOPE_SIGNATURES:
            raise FormatError(
                f"envelope has {len(self.signatures)} signatures, "
                f"expected 1 to {ENVELOPE_SIGNATURES}"
            )

    @property
    def statement_digest(self) -> Digest:
        """The sha256 of the payload: the name by which other statements refer to this one.

        Signatures are left out, so signing again does not change it.
        """
        return sha256_of(self.payload)

    def pae(self) -> bytes:
        """Return the bytes that each signature covers."""
        return pae(self.payload_type, self.payload)

    def to_json(self) -> Json:
        """Return the envelope as JSON data, in the field names of DSSE."""
        rows: list[Json] = [
            {"keyid": item.key_id, "sig": encode_base64(item.signature)} for item in self.signatures
        ]
        return {
            "payload": encode_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": rows,
        }

    def to_bytes(self) -> bytes:
        """Return the canonical JSON bytes, which `parse_envelope` reads."""
        return dump_canonical(self.to_json())

    @classmethod
    def from_json(cls, value: Json, *, what: str = "envelope") -> Self:
        """Return the envelope in `value` (parsed JSON). `what` names it in messages.

        Raises:
            FormatError: a field is missing, unknown or of another type; bounds of `registry.limits`.
        """
        if not isinstance(value, dict) or set(value) != _FIELDS:
            raise FormatError(f"{what} needs exactly payload, payloadType and signatures")
        payload, payload_type = value["payload"], value["payloadType"]
        rows = value["signatures"]
        if not isinstance(payload, str) or not isinstance(payload_type, str):
            raise FormatError(f"{what} has a payload or payloadType that is not text")
        if not isinstance(rows, list):
            raise FormatError(f"{what} has no list of signatures")
        return cls(
            payload_type,
            decode_base64(payload, what=f"payload of the {what}"),
            tuple(_signature_from(row, what) for row in rows),
        )


def parse_envelope(data: bytes, *, what: str = "envelope") -> Envelope:
    """Return the envelope whose canonical JSON `data` is, byte for byte.

    Raises:
        FormatError: too long, not canonical JSON, not an envelope. `what` names it in the message.
    """
    # Base64 makes four bytes of three; the rest is room for type and signatures.
    value = parse_canonical(data, what=what, max_bytes=ENVELOPE_BYTES * 3 // 2)
    return Envelope.from_json(value, what=what)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding of DSSE: what is signed for a payload of a type.

    Lengths count bytes (of the UTF-8 form, for the type), in decimal.
    """
    kind = payload_type.encode("utf-8")
    return b"%s%d %s %d %s" % (PAE_PREFIX, len(kind), kind, len(payload), payload)


def check_payload_type(payload_type: str) -> None:
    """Refuse a payload type that is not one to 128 visible ASCII characters.

    Raises:
        FormatError: empty, too long, spaces, control characters, not ASCII.
    """
    if len(payload_type) > PAYLOAD_TYPE_CHARS or not _PAYLOAD_TYPE.fullmatch(payload_type):
        raise FormatError(
            f"payload type must be 1 to {PAYLOAD_TYPE_CHARS} visible ASCII characters"
        )


def _signature_from(row: Json, what: str) -> EnvelopeSignature:
    if not isinstance(row, dict) or set(row) != _SIGNATURE_FIELDS:
        raise FormatError(f"signature of the {what} needs exactly keyid and sig")
    key_id, signature = row["keyid"], row["sig"]
    if not isinstance(key_id, str) or not isinstance(signature, str):
        raise FormatError(f"signature of the {what} has a keyid or sig that is not text")
    return EnvelopeSignature(key_id, decode_base64(signature, what=f"signature of the {what}"))
