"""Delivery receipts: made by the recipient, checked by custody.

A receipt counts when the enrolled key signed it, it names this very delivery and its nonce, and it
proves that the file key was unwrapped. What a messenger says of "delivered" is only a hint.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.digest import sha256_of
from registry.errors import SignatureError, VerificationError
from registry.formats.delivery_receipt import (
    PAYLOAD_TYPE,
    DeliveryReceipt,
    ReceiptLevel,
    files_digest,
)
from registry.formats.envelope import parse_envelope
from registry.formats.keyset import KeyAlgorithm, KeyRole, Keyset, key_id_of
from registry.formats.moments import to_text
from registry.limits import RECEIPT_BYTES
from registry.sealing.boxes import open_box, seal_box
from registry.sealing.public_keys import verify_signature
from registry.sealing.signing import sign_envelope
from registry.verify.signed import check_single

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.predicates.delivery import Delivery
    from registry.sealing.file_key import FileKey
    from registry.sealing.signing import SigningKey
    from registry.verify.steps import VerifiedDelivery


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """What a receipt is about: the delivery statement with its payload's digest, level and time.

    `checkpoint` is the log's checkpoint that the recipient holds (a note), None if it holds none.
    """

    delivery: Delivery
    delivery_digest: str
    level: ReceiptLevel
    now: datetime
    checkpoint: str | None = None


def facts_of(
    verified: VerifiedDelivery, level: ReceiptLevel, now: datetime, checkpoint: str | None
) -> ReceiptFacts:
    """Return what a receipt for a verified delivery says."""
    return ReceiptFacts(verified.statement, verified.delivery.digest, level, now, checkpoint)


def make_receipt(facts: ReceiptFacts, key: SigningKey, file_key: FileKey | None) -> bytes:
    """Return the signed receipt (an envelope's bytes), to be sealed before it travels.

    `file_key` is that of the sealed file, unwrapped by the recipient; only a receipt of deletion may
    come without one.

    Raises:
        ValueError: no file key for another level.
    """
    if file_key is None and facts.level is not ReceiptLevel.DELETED:
        raise ValueError("a receipt needs the file key as its proof")
    receipt = DeliveryReceipt(
        registry=facts.delivery.registry,
        delivery_id=facts.delivery.delivery_id,
        delivery_digest=facts.delivery_digest,
        nonce=facts.delivery.nonce,
        files_digest=files_digest(facts.delivery.manifest),
        level=facts.level,
        at=to_text(facts.now),
        recipient_key_id=key.key_id,
        last_checkpoint=facts.checkpoint,
    )
    if file_key is not None:
        receipt = replace(receipt, file_key_proof=file_key.receipt_mac(receipt.core_bytes()).hex())
    return sign_envelope(PAYLOAD_TYPE, receipt.to_bytes(), [key]).to_bytes()


def seal_receipt(receipt: bytes, keyset: Keyset, *, now: datetime) -> bytes:
    """Return the receipt sealed to the registry's receipt key: the carrier learns nothing.

    Raises:
        VerificationError: the keyset lists no receipt key that is valid now.
    """
    valid = [entry for entry in keyset.with_role(KeyRole.RECEIPT) if entry.is_valid_at(now)]
    if not valid:
        raise VerificationError(
            f"{keyset.registry} has no receipt key that is valid now",
            hint="ask the sender for its present keyset",
        )
    return seal_box(receipt, valid[-1].public)


def open_receipt(sealed: bytes, private: bytes) -> bytes:
    """Return the signed receipt that was sealed to the raw X25519 `private` key.

    Raises:
        CannotDecryptError: for another registry, or altered.
        FormatError: too long or too short to be one.
    """
    if len(sealed) > 2 * RECEIPT_BYTES:
        raise VerificationError(f"sealed receipt has {len(sealed)} bytes, more than any receipt")
    return open_box(sealed, private)


def read_receipt(data: bytes) -> DeliveryReceipt:
    """Return what the receipt says, *unverified*: to find the delivery that it must be checked against.

    Raises:
        FormatError: no receipt.
        SignatureError: an envelope of another type.
    """
    envelope = parse_envelope(data, what="receipt")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"envelope holds {envelope.payload_type!r}, expected {PAYLOAD_TYPE!r}")
    return DeliveryReceipt.parse(envelope.payload)


def check_receipt(
    data: bytes, facts: ReceiptFacts, signing_key: bytes, file_key: FileKey
) -> DeliveryReceipt:
    """Return the receipt once it is shown to be the enrolled recipient's for this very delivery.

    `facts` carries the delivery statement and its digest (level and checkpoint are not compared);
    `signing_key` is the raw key of the signed enrolment; `file_key` is unwrapped from the vault.

    Raises:
        FormatError: no receipt.
        SignatureError: not signed by the enrolled key.
        VerificationError: of another delivery, other files, or without the file key.
    """
    envelope = parse_envelope(data, what="receipt")
    check_single(envelope)
    receipt = read_receipt(data)
    # 1. Signed by the enrolled key, and saying so.
    expected = key_id_of(signing_key)
    if not envelope.signatures[0].key_id == receipt.recipient_key_id == expected:
        raise SignatureError(
            "receipt is signed by another key than the recipient's enrolled one",
            hint="did the recipient make new keys? then enrol it anew, and compare the six words",
        )
    verify_signature(
        KeyAlgorithm.ED25519, signing_key, envelope.signatures[0].signature, envelope.pae()
    )
    # 2. Of this delivery; the nonce keeps one receipt from standing for another delivery's.
    _compare("registry", receipt.registry, facts.delivery.registry)
    _compare("delivery", receipt.delivery_id, facts.delivery.delivery_id)
    _compare("delivery statement", receipt.delivery_digest, facts.delivery_digest)
    _compare("nonce", receipt.nonce, facts.delivery.nonce)
    # 3. What was found is what was sent.
    _compare("set of files", receipt.files_digest, files_digest(facts.delivery.manifest))
    # 4. The file key was unwrapped.
    _check_proof(receipt, file_key)
    return receipt


def receipt_digest(data: bytes) -> str:
    """Return the name of a receipt, by which repeats are dropped: sha256 of its envelope's bytes."""
    return sha256_of(data).value


def _check_proof(receipt: DeliveryReceipt, file_key: FileKey) -> None:
    if receipt.file_key_proof is None:
        if receipt.level is ReceiptLevel.DELETED:
            return
        raise VerificationError("receipt holds no proof that the delivery was opened")
    expected = file_key.receipt_mac(receipt.core_bytes()).hex()
    if not hmac.compare_digest(receipt.file_key_proof, expected):
        raise VerificationError("receipt does not prove that this delivery was opened")


def _compare(what: str, found: str, expected: str) -> None:
    if not hmac.compare_digest(found.encode(), expected.encode()):
        raise VerificationError(f"receipt is of another {what}")
