"""The enrolment file: a recipient's name and public keys, signed by the signing key it brings.

Canonical JSON, schema `loraseal/enrolment-request.v1`, as DSSE with `PAYLOAD_TYPE`. The signature proves
possession only; who it is, is confirmed by comparing the six words over another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from registry.errors import FormatError
from registry.formats.base64_text import encode_base64
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.limits import ENROLMENT_BYTES

SCHEMA = "loraseal/enrolment-request.v1"
PAYLOAD_TYPE = "application/vnd.loraseal.enrolment-request+json"
_KEY_BYTES = 32
_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What a recipient asks to be known by. `signing_key` is the raw Ed25519 public key."""

    name: str
    age_recipient: str
    signing_key: bytes
    at: str

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, to be signed."""
        return dump_canonical(
            {
                "schema": SCHEMA,
                "name": self.name,
                "age_recipient": self.age_recipient,
                "signing_key": encode_base64(self.signing_key),
                "at": self.at,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the request in `data`.

        Raises:
            FormatError: not canonical, wrong schema or members, an empty or unprintable name.
        """
        fields = Fields.of(
            parse_canonical(data, what="enrolment file", max_bytes=ENROLMENT_BYTES),
            "enrolment file",
        )
        fields.schema(SCHEMA)
        name = fields.text("name", max_chars=_NAME_CHARS)
        signing_key = fields.encoded("signing_key")
        # Unprintable: an escape sequence in a name could repaint the operator's terminal.
        if not name.strip() or not name.isprintable():
            raise FormatError("enrolment file: 'name' is empty or has unprintable characters")
        if len(signing_key) != _KEY_BYTES:
            raise FormatError("enrolment file: 'signing_key' must have 32 bytes")
        return cls(name, fields.text("age_recipient"), signing_key, fields.moment("at"))
