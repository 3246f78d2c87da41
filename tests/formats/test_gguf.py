from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings

from registry.errors import FormatError
from registry.formats.gguf import PREFIX_BYTES, GgufSummary, summarise_gguf
from tests.mutants import mutants


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


def gguf(*pairs: bytes, version: int = 3, tensors: int = 2) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs)) + b"".join(pairs)


ADAPTER = gguf(
    pair("general.architecture", "llama"),
    text("adapter.lora.alpha") + struct.pack("<If", 6, 16.0),
    text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
    text("types") + struct.pack("<IIQ", 9, 5, 3) + bytes(12),
    pair("general.type", "adapter"),
    pair("adapter.type", "lora"),
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a GGUF"),
        (b"GGUX" + bytes(40), "not a GGUF"),
        (b"GGUF\x03", "ends within its header"),
        (gguf(version=1), "version is 1"),
        (gguf(text("a") + struct.pack("<I", 13)), "unknown type 13"),
        (gguf(text("a") + struct.pack("<IIQ", 9, 9, 1)), "array has the type 9"),
    ],
)
def test_what_is_no_gguf_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        summarise_gguf(data)


def test_an_adapter_says_so() -> None:
    assert summarise_gguf(ADAPTER) == GgufSummary(3, 2, "adapter", "lora")


def test_a_model_whose_pairs_go_on_beyond_the_prefix_is_read_as_far_as_given() -> None:
    model = gguf(pair("general.type", "model"), text("big") + struct.pack("<IIQ", 9, 8, 2**60))
    assert summarise_gguf(model[:PREFIX_BYTES]) == GgufSummary(3, 2, "model", "")


def test_a_model_that_says_nothing_has_no_type() -> None:
    assert summarise_gguf(gguf(tensors=7)) == GgufSummary(3, 7, "", "")


@settings(max_examples=300, deadline=None)
@given(mutants(ADAPTER))
def test_damage_raises_only_our_error(data: bytes) -> None:
    try:
        summarise_gguf(data)
    except FormatError:
        return
