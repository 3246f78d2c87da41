from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64


@pytest.mark.parametrize(
    "text",
    ["A", "QQ", "QQ=", "QQ==\n", " QQ==", "QR==", "-_8=", "QQ==QQ==", "é===", "QUI", "QUJD\nQUJD"],
)
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="a key"):
        decode_base64(text, what="a key")


def test_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(FormatError, match="root has 1 bytes, expected 32"):
        decode_base64("QQ==", what="root", size=32)


def test_the_value_is_not_quoted_in_the_message() -> None:
    with pytest.raises(FormatError) as caught:
        decode_base64("c2VjcmV0!", what="a key")
    assert "c2Vj" not in str(caught.value)


@settings(max_examples=50)
@given(st.binary(max_size=70))
def test_what_was_encoded_decodes_to_the_same_bytes(data: bytes) -> None:
    assert decode_base64(encode_base64(data), what="x", size=len(data)) == data
