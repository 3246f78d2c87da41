"""The part of a bundle that only its recipient reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.sealed_part import SealedPart

PART = SealedPart(
    "ab" * 32,
    "cd" * 16,
    "Li W.",
    "age1x",
    bytes(32),
    "kiki",
    "research",
    ("inference",),
    "internal",
)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"audience_salt": "ab"},
        {"recipient_id": "CD" * 16},
        {"signing_key": "AAAA"},
        {"allowed_uses": [1]},
        {"allowed_uses": ["x"] * 65},
        {"licence": None},
    ],
)
def test_malformed_part_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        SealedPart.parse(dump_canonical({**json.loads(PART.to_bytes()), **change}))


def test_part_survives() -> None:
    assert SealedPart.parse(PART.to_bytes()) == PART


@settings(max_examples=150)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bits_raise_only_our_error(position: int, bit: int) -> None:
    data = bytearray(PART.to_bytes())
    data[position % len(data)] ^= 1 << bit
    try:
        assert SealedPart.parse(bytes(data)) != PART
    except FormatError:
        return
