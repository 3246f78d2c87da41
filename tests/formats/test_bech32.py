"""Bech32: one text for one key, and nothing of the text in a message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.bech32 import decode_bech32, encode_bech32

# Valid and invalid strings of BIP 173 (data parts of any length are allowed here).
VALID = (
    "A12UEL5L",
    "a12uel5l",
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    "?1ezyfcl",
)
INVALID = (
    "",
    "pzry9x0s0muk",
    "1pzry9x0s0muk",
    "x1b4n0q5v",
    "li1dgmt3",
    "de1lg7wt\xff",
    "A1G7SGD8",
    "10a06t8",
    "1qzzfhee",
    "A12uEL5L",
    "a12uel5m",
    "a1 2uel5l",
    "a" * 5000,
)


@pytest.mark.parametrize("text", INVALID)
def test_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        decode_bech32(text)


def test_message_never_quotes_a_secret() -> None:
    text = encode_bech32("AGE-SECRET-KEY-", bytes(range(32)))
    damaged = text[:-1] + ("Q" if text[-1] != "Q" else "P")
    with pytest.raises(FormatError) as caught:
        decode_bech32(damaged)
    assert text[16:40] not in str(caught.value)


def test_stray_bits_are_refused() -> None:
    # One 5-bit group encodes no byte: the text "a1" + "q" has a valid checksum and no meaning.
    with pytest.raises(FormatError):
        decode_bech32(_with_groups("age", [0]))
    with pytest.raises(FormatError):
        decode_bech32(_with_groups("age", [31, 31]))


def _with_groups(prefix: str, groups: list[int]) -> str:
    from registry.formats.bech32 import _CHARSET, _expand, _polymod

    checksum = _polymod([*_expand(prefix), *groups, 0, 0, 0, 0, 0, 0]) ^ 1
    tail = [*groups, *(checksum >> 5 * (5 - i) & 31 for i in range(6))]
    return prefix + "1" + "".join(_CHARSET[value] for value in tail)


@pytest.mark.parametrize("text", VALID)
def test_valid_text_of_the_standard_is_read(text: str) -> None:
    decode_bech32(text)


@given(st.sampled_from(["age", "AGE-SECRET-KEY-"]), st.binary(max_size=80))
@settings(max_examples=100)
def test_what_was_written_is_read(prefix: str, data: bytes) -> None:
    assert decode_bech32(encode_bech32(prefix, data)) == (prefix, data)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 57), st.sampled_from("qpzry9x8gf2tvdw0"))
@settings(max_examples=200)
def test_one_changed_character_is_refused(data: bytes, place: int, char: str) -> None:
    text = encode_bech32("age", data)
    position = 4 + place
    changed = text[:position] + char + text[position + 1 :]
    if changed != text:
        with pytest.raises(FormatError):
            decode_bech32(changed)
