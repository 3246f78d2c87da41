"""Receipts as bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.delivery_receipt import DeliveryReceipt, ReceiptLevel

H, ID = "ab" * 32, "cd" * 16
RECEIPT = DeliveryReceipt(
    "r", ID, H, H, H, ReceiptLevel.VERIFIED, "2026-11-21T12:00:00Z", H, "note\n", H
)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"level": "seen"},
        {"nonce": "ab"},
        {"at": "now"},
        {"file_key_proof": "ab"},
        {"last_checkpoint": 5},
    ],
)
def test_malformed_receipt_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        DeliveryReceipt.parse(dump_canonical({**json.loads(RECEIPT.to_bytes()), **change}))


def test_core_leaves_out_the_proof_and_nothing_else() -> None:
    bare = replace(RECEIPT, file_key_proof=None)
    assert RECEIPT.core_bytes() == bare.core_bytes() == bare.to_bytes()
    assert replace(RECEIPT, nonce="ef" * 32).core_bytes() != RECEIPT.core_bytes()


def test_receipt_survives() -> None:
    assert DeliveryReceipt.parse(RECEIPT.to_bytes()) == RECEIPT
    bare = replace(RECEIPT, file_key_proof=None, last_checkpoint=None)
    assert DeliveryReceipt.parse(bare.to_bytes()) == bare


@settings(max_examples=150)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bits_raise_only_our_error(position: int, bit: int) -> None:
    data = bytearray(RECEIPT.to_bytes())
    data[position % len(data)] ^= 1 << bit
    try:
        assert DeliveryReceipt.parse(bytes(data)) != RECEIPT
    except FormatError:
        return
