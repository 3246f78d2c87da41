"""The DeliveryReceipt: a recipient says what arrived, and proves that its file key was unwrapped.

Canonical JSON, schema `loraseal/receipt.v1`, signed by the recipient as DSSE with `PAYLOAD_TYPE`. The
HMAC inside is over `core_bytes()`, which is everything but the HMAC itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from registry.digest import sha256_of
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.fields import ID_DIGITS, Fields
from registry.limits import RECEIPT_BYTES

if TYPE_CHECKING:
    from registry.formats.manifest import Manifest

SCHEMA = "loraseal/receipt.v1"
PAYLOAD_TYPE = "application/vnd.loraseal.receipt+json"


class ReceiptLevel(StrEnum):
    """What the recipient says it did. `OPENED` is without a verified bundle."""

    OPENED = "opened"
    VERIFIED = "verified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """One recipient's word on one delivery.

    `delivery_digest` is the sha256 of the delivery statement's payload, `files_digest` the sha256 of
    the canonical manifest of the plaintext files as they were found. `last_checkpoint` is the log's
    checkpoint that the recipient holds, as text, so that a fork shows. `file_key_proof` is in hex.
    """

    registry: str
    delivery_id: str
    delivery_digest: str
    nonce: str
    files_digest: str
    level: ReceiptLevel
    at: str
    recipient_key_id: str
    last_checkpoint: str | None = None
    file_key_proof: str | None = None

    def core_bytes(self) -> bytes:
        """Return the canonical bytes without the proof, which the proof is computed over."""
        return replace(self, file_key_proof=None).to_bytes()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, to be signed."""
        body: dict[str, Json] = {
            "schema": SCHEMA,
            "registry": self.registry,
            "delivery_id": self.delivery_id,
            "delivery_digest": self.delivery_digest,
            "nonce": self.nonce,
            "files_digest": self.files_digest,
            "level": self.level.value,
            "at": self.at,
            "recipient_key_id": self.recipient_key_id,
            "last_checkpoint": self.last_checkpoint,
            "file_key_proof": self.file_key_proof,
        }
        return dump_canonical(body)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the receipt in `data`; who signed it is checked elsewhere.

        Raises:
            FormatError: not canonical, wrong schema or members.
        """
        fields = Fields.of(
            parse_canonical(data, what="receipt", max_bytes=RECEIPT_BYTES), "receipt"
        )
        fields.schema(SCHEMA)
        return cls(
            registry=fields.text("registry"),
            delivery_id=fields.hexadecimal("delivery_id", ID_DIGITS),
            delivery_digest=fields.hexadecimal("delivery_digest"),
            nonce=fields.hexadecimal("nonce"),
            files_digest=fields.hexadecimal("files_digest"),
            level=ReceiptLevel(fields.choice("level", [item.value for item in ReceiptLevel])),
            at=fields.moment("at"),
            recipient_key_id=fields.hexadecimal("recipient_key_id"),
            last_checkpoint=fields.optional_text("last_checkpoint"),
            file_key_proof=fields.optional_hexadecimal("file_key_proof"),
        )


def files_digest(manifest: Manifest) -> str:
    """Return how receipts name a set of plaintext files: sha256 in hex of the canonical manifest."""
    return sha256_of(manifest.to_bytes()).value
