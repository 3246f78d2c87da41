"""Armor: the strict form only; what is inside is given only as far as it is well formed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.age_armor import ARMOR_BEGIN, ARMOR_END, ArmorEncoder, dump_armor, parse_armor
from tests.mutants import mutants

DATA = bytes(range(100))
TEXT = dump_armor(DATA)


def parse(text: bytes) -> bytes:
    return b"".join(parse_armor(text.split(b"\n")))


@pytest.mark.parametrize("length", range(len(TEXT) - 1))
def test_armor_cut_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        parse(TEXT[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n" * 2000 + TEXT,
        TEXT + b" " * 2000,
        TEXT + b"x",
        b"x" + TEXT,
        ARMOR_BEGIN + b"\n\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nQUI\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nQUJ=\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nQU=J\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nQU-_\n" + ARMOR_END,
        ARMOR_BEGIN + b"\n QUJD\n" + ARMOR_END,
        ARMOR_BEGIN + b"\n" + b"QUJD" * 17 + b"\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nQUJD\nQUJD\n" + ARMOR_END,
        ARMOR_BEGIN + b"\nKey: value\n\nQUJD\n" + ARMOR_END,
    ],
)
def test_armor_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse(text)


@pytest.mark.parametrize(
    "text", [TEXT.replace(b"\n", b"\r\n"), b"\n \n" + TEXT + b"\n\t", TEXT[:-1]]
)
def test_white_space_around_and_other_line_ends_are_allowed(text: bytes) -> None:
    assert parse(text) == DATA


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=100)
def test_pieces_of_any_size_are_read_back(pieces: list[bytes]) -> None:
    encoder = ArmorEncoder()
    text = encoder.begin() + b"".join(map(encoder.add, pieces)) + encoder.end()
    assert text == dump_armor(b"".join(pieces))
    assert parse(text) == b"".join(pieces)


@given(mutants(TEXT))
@settings(max_examples=300)
def test_damaged_armor_is_refused_or_differs(text: bytes) -> None:
    try:
        data = parse(text)
    except FormatError:
        return
    assert data != DATA or text.strip().replace(b"\r\n", b"\n") == TEXT.strip()
