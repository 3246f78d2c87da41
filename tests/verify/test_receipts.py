"""Receipts: what counts as an acknowledgement and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import (
    CannotDecryptError,
    FormatError,
    LorasealError,
    SignatureError,
    VerificationError,
)
from registry.formats.delivery_receipt import PAYLOAD_TYPE, DeliveryReceipt, ReceiptLevel
from registry.formats.envelope import parse_envelope
from registry.formats.keyset import KeyRole
from registry.sealing.file_key import FileKey
from registry.sealing.signing import SigningKey, sign_envelope
from registry.verify.receipts import (
    ReceiptFacts,
    check_receipt,
    facts_of,
    make_receipt,
    open_receipt,
    read_receipt,
    receipt_digest,
    seal_receipt,
)
from registry.verify.steps import verify_bundle
from tests.verify.world import NOW, Delivered, World


@pytest.fixture(scope="module")
def facts(world: World, delivered: Delivered) -> ReceiptFacts:
    verified = verify_bundle(world.given(delivered))
    return facts_of(verified, ReceiptLevel.VERIFIED, NOW, verified.position.note)


@pytest.fixture(scope="module")
def receipt(facts: ReceiptFacts, delivered: Delivered) -> bytes:
    return make_receipt(facts, delivered.recipient.signing, delivered.file_key)


def _check(data: bytes, facts: ReceiptFacts, delivered: Delivered) -> DeliveryReceipt:
    return check_receipt(data, facts, delivered.recipient.signing.public_raw, delivered.file_key)


def _changed(receipt: bytes, key: SigningKey, **more: object) -> bytes:
    said = DeliveryReceipt.parse(parse_envelope(receipt).payload)
    changed = replace(said, **more)  # type: ignore[arg-type]
    return sign_envelope(PAYLOAD_TYPE, changed.to_bytes(), [key]).to_bytes()


def test_receipt_by_another_key_is_refused(facts: ReceiptFacts, delivered: Delivered) -> None:
    other = SigningKey.generate()
    data = make_receipt(facts, other, delivered.file_key)
    with pytest.raises(SignatureError, match="enrolled"):
        _check(data, facts, delivered)
    # Nor by claiming the enrolled key's id.
    claimed = _changed(data, other, recipient_key_id=delivered.recipient.signing.key_id)
    with pytest.raises(SignatureError, match="enrolled"):
        _check(claimed, facts, delivered)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("registry", "other.example"),
        ("delivery_id", "ab" * 16),
        ("delivery_digest", "ab" * 32),
        ("nonce", "ab" * 32),
        ("files_digest", "ab" * 32),
        ("file_key_proof", "ab" * 32),
        ("file_key_proof", None),
        ("level", ReceiptLevel.OPENED),
        ("last_checkpoint", None),
    ],
)
def test_receipt_that_says_anything_else_is_refused(
    receipt: bytes, facts: ReceiptFacts, delivered: Delivered, name: str, value: object
) -> None:
    data = _changed(receipt, delivered.recipient.signing, **{name: value})
    with pytest.raises(VerificationError):
        _check(data, facts, delivered)


def test_receipt_of_one_delivery_does_not_stand_for_another(
    world: World, receipt: bytes, delivered: Delivered
) -> None:
    again = world.deliver(recipient=delivered.recipient)
    verified = verify_bundle(world.given(again))
    other = facts_of(verified, ReceiptLevel.VERIFIED, NOW, None)
    with pytest.raises(VerificationError):
        check_receipt(receipt, other, again.recipient.signing.public_raw, again.file_key)


def test_receipt_without_the_file_key_is_refused(facts: ReceiptFacts, delivered: Delivered) -> None:
    data = make_receipt(facts, delivered.recipient.signing, FileKey.generate())
    with pytest.raises(VerificationError, match="prove"):
        _check(data, facts, delivered)
    with pytest.raises(ValueError, match="file key"):
        make_receipt(facts, delivered.recipient.signing, None)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_flipped_bit_is_refused_by_our_errors_only(
    receipt: bytes, facts: ReceiptFacts, delivered: Delivered, position: int, bit: int
) -> None:
    data = bytearray(receipt)
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(LorasealError) as caught:
        _check(bytes(data), facts, delivered)
    assert isinstance(caught.value, FormatError | VerificationError)


def test_other_envelopes_are_no_receipts(delivered: Delivered) -> None:
    with pytest.raises(SignatureError, match="expected"):
        read_receipt(delivered.bundle.status.to_bytes())


def test_sealed_receipt_opens_for_the_registry_only(world: World, receipt: bytes) -> None:
    sealed = seal_receipt(receipt, world.keyset, now=NOW)
    assert receipt not in sealed
    assert open_receipt(sealed, world.receipt.private_bytes_raw()) == receipt
    with pytest.raises(CannotDecryptError):
        open_receipt(sealed, World.make().receipt.private_bytes_raw())
    with pytest.raises(FormatError):
        open_receipt(sealed[:47], world.receipt.private_bytes_raw())
    with pytest.raises(VerificationError, match="more than any"):
        open_receipt(bytes(1_000_000), world.receipt.private_bytes_raw())


def test_registry_without_a_receipt_key_is_said(world: World, receipt: bytes) -> None:
    keys = tuple(entry for entry in world.keyset.keys if entry.role is not KeyRole.RECEIPT)
    with pytest.raises(VerificationError, match="no receipt key"):
        seal_receipt(receipt, replace(world.keyset, keys=keys), now=NOW)


def test_good_receipt_counts(receipt: bytes, facts: ReceiptFacts, delivered: Delivered) -> None:
    said = _check(receipt, facts, delivered)
    assert said == read_receipt(receipt)
    assert (said.level, said.last_checkpoint) == (ReceiptLevel.VERIFIED, facts.checkpoint)
    assert len(receipt_digest(receipt)) == 64


def test_deletion_may_be_reported_without_the_sealed_file(
    facts: ReceiptFacts, delivered: Delivered
) -> None:
    deleted = replace(facts, level=ReceiptLevel.DELETED)
    data = make_receipt(deleted, delivered.recipient.signing, None)
    assert _check(data, facts, delivered).level is ReceiptLevel.DELETED
