"""The index: codes, pages, and a scan that finds what is near or opposite."""

from __future__ import annotations

import hashlib

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from registry.errors import FormatError  # noqa: E402
from registry.fingerprints.code_pages import (  # noqa: E402
    CODE_BITS,
    CODE_BYTES,
    PAGE_BYTES,
    PAGE_CODES,
    VACANT,
    place_code,
)
from registry.fingerprints.index import code_of, search  # noqa: E402
from tests.fingerprints.sketches import random_sketch, random_values, sketch_of  # noqa: E402


def _noise(count: int) -> bytes:
    return hashlib.shake_256(b"other codes").digest(count * CODE_BYTES)


@given(st.binary(max_size=2 * CODE_BYTES))
def test_pages_of_broken_codes_are_refused(page: bytes) -> None:
    if len(page) % CODE_BYTES:
        with pytest.raises(FormatError, match="whole codes"):
            search([page], _noise(1), 1)
    else:
        assert len(search([page], _noise(1), 9)) <= len(page) // CODE_BYTES


@pytest.mark.parametrize("length", [0, CODE_BYTES - 1, CODE_BYTES + 1])
def test_what_is_no_code_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="256 bytes"):
        search([], bytes(length), 1)
    with pytest.raises(ValueError, match="do not fit"):
        place_code(b"", 0, bytes(length))


@pytest.mark.parametrize("row", [-1, PAGE_CODES])
def test_rows_outside_a_page_are_refused(row: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        place_code(b"", row, _noise(1))


def test_an_empty_sketch_finds_nothing_and_is_not_found() -> None:
    assert code_of(random_sketch(1, 0)) == VACANT
    assert search([_noise(9)], VACANT, 5) == []
    assert search([VACANT * 9], _noise(1), 5) == []
    assert search([], _noise(1), 5) == []
    assert search([_noise(9)], _noise(1), 0) == []


def test_the_code_itself_and_its_opposite_come_first() -> None:
    values = random_values(1)
    code, opposite = code_of(sketch_of(values)), code_of(sketch_of(-values))
    page = _noise(40) + opposite + _noise(3) + VACANT + code
    first, second, third = search([page], code, 3)
    assert (first.slot, first.hamming, first.cosine) == (40, CODE_BITS, -1.0)
    assert (second.slot, second.hamming, second.cosine) == (45, 0, 1.0)
    assert abs(third.cosine) < 0.25


def test_slots_count_through_pages_of_every_kind() -> None:
    code = code_of(random_sketch(1))
    full = _noise(PAGE_CODES)
    last = place_code(b"", 7, code)
    assert len(full) == PAGE_BYTES
    for pages in (
        [full, full, last],
        [np.frombuffer(full + full + last, np.uint8)],
        [memoryview(full), bytearray(full), last],
    ):
        [hit] = search(pages, code, 1)
        assert hit.slot == 2 * PAGE_CODES + 7


def test_a_code_is_placed_replaced_and_taken_away() -> None:
    first, second = code_of(random_sketch(1)), code_of(random_sketch(2))
    page = place_code(place_code(b"", 2, first), 0, second)
    assert next(hit.slot for hit in search([page], first, 9)) == 2
    assert len(search([page], first, 9)) == 2
    assert place_code(page, 2, second)[2 * CODE_BYTES :] == second
    assert [hit.slot for hit in search([place_code(page, 2, VACANT)], first, 9)] == [0]


def test_the_angle_is_estimated() -> None:
    values, other = random_values(1, 100), random_values(2, 100)
    code = code_of(sketch_of(values))
    for weight in (0.0, 0.3, 0.7, 1.5, -0.7):
        mixed = other + weight * values
        cosine = np.vdot(mixed, values) / np.linalg.norm(mixed) / np.linalg.norm(values)
        [hit] = search([code_of(sketch_of(mixed))], code, 1)
        assert abs(hit.cosine - cosine) < 4 * 0.035


def test_sketches_with_other_layers_are_comparable() -> None:
    values = random_values(1, 40)
    code = code_of(sketch_of(values))
    [hit] = search([code_of(sketch_of(values[20:], first=21))], code, 1)
    expected = np.linalg.norm(values[20:]) / np.linalg.norm(values)
    assert abs(hit.cosine - expected) < 4 * 0.035
    [hit] = search([code_of(sketch_of(values, first=41))], code, 1)
    assert abs(hit.cosine) < 4 * 0.035


def test_many_layers_are_coded_in_chunks_as_at_once() -> None:
    values = random_values(1, 1100)
    whole, part = code_of(sketch_of(values)), code_of(sketch_of(values[:512]))
    [hit] = search([part], whole, 1)
    expected = np.linalg.norm(values[:512]) / np.linalg.norm(values)
    assert abs(hit.cosine - expected) < 4 * 0.035


def test_codes_do_not_depend_on_strength() -> None:
    values = random_values(1)
    assert code_of(sketch_of(values)) == code_of(sketch_of(values * 2.0**90))


def test_codes_of_version_1_stay_as_they_are() -> None:
    """A sketch of one layer whose values are exact, so that no rounding decides a bit."""
    values = np.arange(64, dtype=np.float64).reshape(1, 8, 8) + 1000
    digest = hashlib.sha256(code_of(sketch_of(values))).hexdigest()
    assert digest == "ab945e854e2a5d07639a6f03bff605bca8781ad15d781697f69e040edeb4130d"


def test_nearest_come_first_and_ties_by_slot() -> None:
    code = code_of(random_sketch(1))
    hits = search([code * 3 + _noise(50) + code], code, 6)
    assert [hit.slot for hit in hits[:4]] == [0, 1, 2, 53]
    sizes = [abs(hit.cosine) for hit in hits]
    assert sizes == sorted(sizes, reverse=True)
