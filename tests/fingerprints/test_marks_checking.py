"""A copy that differs beyond its factors is refused, whichever byte it is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.notes import PayloadForm
from registry.errors import ContentMismatchError, FormatError
from registry.fingerprints.marks.checking import verify_only_factors
from registry.updates.payload import read_payload
from tests.audits.conftest import lora_tensors, safetensors_bytes

ORIGINAL = safetensors_bytes(
    {**lora_tensors(3), "note": ("F32", (2,), struct.pack("<2f", 1.0, 2.0))}
)


def _verify(copy, original=ORIGINAL):
    verify_only_factors(memoryview(original), memoryview(copy), PayloadForm.RAW, "a")


def _factor_ranges():
    payload = read_payload(memoryview(ORIGINAL), PayloadForm.RAW, "a")
    start = payload.files[0].header.header_bytes
    for located in payload.modules:
        for role, info in located.module.tensors:
            if role in {"down", "up"}:
                yield range(start + info.start, start + info.end)


FACTORS = frozenset(place for one in _factor_ranges() for place in one)


@pytest.mark.parametrize("copy", [b"", ORIGINAL[:-1], ORIGINAL + b"\0"])
def test_other_size_is_refused(copy):
    with pytest.raises(ContentMismatchError, match="bytes"):
        _verify(copy)


def test_malformed_original_is_refused():
    with pytest.raises(FormatError):
        _verify(b"\xff" * 100, b"\xff" * 100)


def test_malformed_copy_is_refused():
    with pytest.raises(ContentMismatchError, match="malformed"):
        _verify(b"\xff" * len(ORIGINAL))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(ORIGINAL) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused_outside_of_factors_only(place, flip):
    copy = bytearray(ORIGINAL)
    copy[place] ^= flip
    if place in FACTORS:
        _verify(copy)
    else:
        with pytest.raises(ContentMismatchError):
            _verify(copy)


def test_names_that_change_places_are_refused():
    copy = ORIGINAL.replace(b"blocks_0", b"blocks_9")
    with pytest.raises(ContentMismatchError, match="another header"):
        _verify(copy)


def test_copy_that_is_its_original_passes():
    _verify(ORIGINAL)
