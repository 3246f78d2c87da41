"""The bytes of a sketch: strict, small, exact enough, and with one spelling only."""

from __future__ import annotations

import struct

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from registry.errors import FormatError  # noqa: E402
from registry.fingerprints.sketch import (  # noqa: E402
    K,
    Omissions,
    build_sketch,
    parse_sketch,
)
from tests.fingerprints.sketches import KEY_ID, random_sketch, random_values, sketch_of  # noqa: E402

HEADER = 44
DATA = random_sketch(1, 3).to_bytes()


@pytest.mark.parametrize("end", range(len(DATA)))
def test_truncated_sketch_is_refused(end: int) -> None:
    with pytest.raises(FormatError):
        parse_sketch(DATA[:end])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(FormatError, match="expected"):
        parse_sketch(DATA + b"\0")


@pytest.mark.parametrize("place", range(6))
def test_another_magic_version_or_k_is_refused(place: int) -> None:
    with pytest.raises(FormatError, match="version 1"):
        parse_sketch(DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :])


def test_more_parts_than_allowed_are_refused() -> None:
    many = DATA[:6] + struct.pack("<H", 8193) + DATA[8:HEADER] + bytes(8193 * 105)
    with pytest.raises(FormatError, match="8193 parts"):
        parse_sketch(many)


def test_names_out_of_order_or_twice_are_refused() -> None:
    names = DATA[HEADER : HEADER + 24]
    for wrong in (names[8:16] + names[:8] + names[16:], names[:8] * 2 + names[16:]):
        with pytest.raises(FormatError, match="ascending"):
            parse_sketch(DATA[:HEADER] + wrong + DATA[HEADER + 24 :])


@pytest.mark.parametrize("exponent", [121, 127, -121, -128])
def test_an_exponent_out_of_range_is_refused(exponent: int) -> None:
    place = HEADER + 24
    with pytest.raises(FormatError, match="exponent"):
        parse_sketch(DATA[:place] + struct.pack("b", exponent) + DATA[place + 1 :])


@pytest.mark.parametrize("content", [b"\0" * 96, b"\x00\x08\x80" * 32])
def test_numbers_that_are_not_normalised_are_refused(content: bytes) -> None:
    """-2048 is no number, and all zero is no part."""
    with pytest.raises(FormatError, match="normalised"):
        parse_sketch(DATA[:-96] + content)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_raise_only_our_error(data: bytes, with_header: bool) -> None:
    parts = len(data) // 105
    head = DATA[:6] + struct.pack("<H", parts) + DATA[8:HEADER] if with_header else b""
    body = data[: parts * 105] if with_header else data
    try:
        assert parse_sketch(head + body).to_bytes() == head + body
    except FormatError:
        return


@settings(max_examples=300)
@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_another_sketch(position: int, bit: int) -> None:
    changed = bytearray(DATA)
    changed[position] ^= 1 << bit
    try:
        found = parse_sketch(bytes(changed))
    except FormatError:
        return
    assert found != parse_sketch(DATA)
    assert found.to_bytes() == bytes(changed)


def test_more_parts_than_allowed_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="8193 parts"):
        build_sketch(KEY_ID, np.arange(8193, dtype=np.uint64), np.ones((8193, K, K)))
    with pytest.raises(ValueError, match="key id of 7"):
        build_sketch(KEY_ID[1:], np.arange(1, dtype=np.uint64), np.ones((1, K, K)))


_numbers = st.floats(-1e6, 1e6, width=64) | st.sampled_from([0.0, 1e-37, 1e-300, 1e30, 2047.5])


@settings(max_examples=100)
@given(
    st.lists(st.lists(_numbers, min_size=64, max_size=64), max_size=5), st.integers(0, 2**32 - 1)
)
def test_what_is_built_survives(rows: list[list[float]], count: int) -> None:
    values = np.array(rows, np.float64).reshape(-1, K, K)
    sketch = build_sketch(
        KEY_ID, np.arange(len(rows), dtype=np.uint64) * 2**60, values, Omissions(faulty=count)
    )
    assert parse_sketch(sketch.to_bytes()) == sketch
    assert len(sketch) + sketch.omissions.zero == len(rows)
    kept = {int(number) // 2**60: place for place, number in enumerate(sketch.numbers)}
    for number, place in kept.items():
        worst = np.abs(sketch.values[place] - values[number]).max()
        assert worst <= np.abs(values[number]).max() / 2048


def test_a_sketch_of_192_layers_fits_24_kib() -> None:
    assert len(random_sketch(1, 192).to_bytes()) == 44 + 192 * 105 <= 24 * 1024


def test_rounding_leaves_the_cosine() -> None:
    values = random_values(1, 192)
    stored = sketch_of(values).values.astype(np.float64)
    cosine = np.vdot(values, stored) / np.linalg.norm(values) / np.linalg.norm(stored)
    assert cosine > 0.999999


def test_layers_named_twice_are_added() -> None:
    values = random_values(1, 4)
    twice = build_sketch(KEY_ID, np.array([7, 9, 7, 9], np.uint64), values)
    once = build_sketch(KEY_ID, np.array([9, 7], np.uint64), values[[1, 0]] + values[[3, 2]])
    assert twice == once


def test_nothing_that_is_no_number_gets_in() -> None:
    values = random_values(1, 4)
    values[0, 2, 3], values[1, 0, 0], values[2] = np.nan, np.inf, 0
    sketch = build_sketch(KEY_ID, np.arange(4, dtype=np.uint64), values)
    assert sketch.numbers.tolist() == [3]
    assert (sketch.omissions.zero, sketch.omissions.not_finite) == (1, 2)


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        random_sketch(1).values[0, 0, 0] = 1
