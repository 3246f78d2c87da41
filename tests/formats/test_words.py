"""Six words for a digest."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.formats.word_list import WORDS
from registry.formats.words import phrase, spoken


def test_short_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="32-byte"):
        phrase(bytes(31))


def test_list_is_the_published_one() -> None:
    # sha256 of BIP-39's english.txt: one word a line.
    text = "".join(f"{word}\n" for word in WORDS).encode()
    expected = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    assert hashlib.sha256(text).hexdigest() == expected


def test_words_differ_in_their_first_four_letters() -> None:
    assert len({word[:4] for word in WORDS}) == len(WORDS) == 2048


def test_known_phrases() -> None:
    assert spoken(bytes(32)) == "-".join(["abandon"] * 6)
    assert spoken(b"\xff" * 32) == "-".join(["zoo"] * 6)
    # 11 bits a word, first bits first.
    assert phrase(bytes([0b00000000, 0b00100000]) + bytes(30))[0] == WORDS[1]


@settings(max_examples=100)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 65))
def test_each_of_the_first_66_bits_changes_the_phrase(digest: bytes, bit: int) -> None:
    changed = int.from_bytes(digest, "big") ^ (1 << (255 - bit))
    assert phrase(changed.to_bytes(32, "big")) != phrase(digest)
