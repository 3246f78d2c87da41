"""Sealed boxes: for one key, unaltered, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CannotDecryptError, FormatError
from registry.sealing.boxes import BOX_OVERHEAD_BYTES, open_box, seal_box
from registry.sealing.identities import X25519Identity

MINE, OTHER = X25519Identity.generate(), X25519Identity.generate()
PUBLIC = MINE.recipient().public


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), b"\x01" + bytes(31)])
def test_unusable_key_is_refused(key: bytes) -> None:
    with pytest.raises(FormatError):
        seal_box(b"x", key)


@pytest.mark.parametrize("size", [0, 1, BOX_OVERHEAD_BYTES - 1])
def test_too_short_a_box_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        open_box(bytes(size), MINE.secret)


def test_box_for_another_is_refused() -> None:
    with pytest.raises(CannotDecryptError):
        open_box(seal_box(b"x", PUBLIC), OTHER.secret)


@given(st.binary(max_size=40), st.integers(0, 10_000))
@settings(max_examples=50)
def test_flipped_bit_is_refused_and_the_rest_is_opened(data: bytes, place: int) -> None:
    box = seal_box(data, PUBLIC)
    assert open_box(box, MINE.secret) == data
    assert len(box) == len(data) + BOX_OVERHEAD_BYTES
    damaged = bytearray(box)
    damaged[place % len(box)] ^= 1 << place % 8
    with pytest.raises(CannotDecryptError):
        open_box(bytes(damaged), MINE.secret)
