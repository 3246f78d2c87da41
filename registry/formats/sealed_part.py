"""The part of a bundle that only its recipient can read: who it was made for, and on what terms.

Canonical JSON, schema `loraseal/sealed-part.v1`, sealed with age to the recipient. Names, keys and
terms stand here and nowhere else, so a bundle in the wrong hands names nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from registry.errors import FormatError
from registry.formats.base64_text import encode_base64
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.fields import ID_DIGITS, Fields
from registry.limits import SEALED_PART_BYTES

SCHEMA = "loraseal/sealed-part.v1"
_KEY_BYTES = 32
_SALT_DIGITS = 64
_USES = 64


@dataclass(frozen=True, slots=True)
class SealedPart:
    """What a recipient learns beyond the signed digests.

    `audience_salt` opens the audience commitment of the delivery statement; `signing_key` is the raw
    32-byte Ed25519 public key that receipts must be signed with.
    """

    audience_salt: str
    recipient_id: str
    recipient_name: str
    age_recipient: str
    signing_key: bytes
    artifact_name: str
    licence: str = ""
    allowed_uses: tuple[str, ...] = ()
    sensitivity: str = ""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, to be sealed."""
        uses: list[Json] = list(self.allowed_uses)
        return dump_canonical(
            {
                "schema": SCHEMA,
                "audience_salt": self.audience_salt,
                "recipient_id": self.recipient_id,
                "recipient_name": self.recipient_name,
                "age_recipient": self.age_recipient,
                "signing_key": encode_base64(self.signing_key),
                "artifact_name": self.artifact_name,
                "licence": self.licence,
                "allowed_uses": uses,
                "sensitivity": self.sensitivity,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the part in `data`, already opened.

        Raises:
            FormatError: not canonical, wrong schema or members.
        """
        fields = Fields.of(
            parse_canonical(data, what="sealed part", max_bytes=SEALED_PART_BYTES), "sealed part"
        )
        fields.schema(SCHEMA)
        signing_key = fields.encoded("signing_key")
        uses = fields.items("allowed_uses", most=_USES)
        texts = tuple(use for use in uses if isinstance(use, str))
        if len(signing_key) != _KEY_BYTES or len(texts) != len(uses):
            raise FormatError("sealed part has a malformed signing key or list of uses")
        return cls(
            audience_salt=fields.hexadecimal("audience_salt", _SALT_DIGITS),
            recipient_id=fields.hexadecimal("recipient_id", ID_DIGITS),
            recipient_name=fields.text("recipient_name"),
            age_recipient=fields.text("age_recipient"),
            signing_key=signing_key,
            artifact_name=fields.text("artifact_name"),
            licence=fields.text("licence"),
            allowed_uses=texts,
            sensitivity=fields.text("sensitivity"),
        )
