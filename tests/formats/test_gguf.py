"""GGUF headers: what is no adapter is told from one, and an adapter is as llama.cpp wants it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings

from bench.fuzz.dice import Dice
from bench.fuzz.gguf_header import ADAPTER_PAIRS, TARGET, alpha, build, factors, text, word
from registry.errors import FormatError
from registry.formats.gguf import PREFIX_BYTES, GgufHeader, parse_gguf
from registry.formats.gguf_types import GGML_BLOCKS
from registry.limits import GGUF_PAIRS, GGUF_TENSORS
from tests.mutants import mutants

ROWS = factors("blk.0.attn_q.weight")
ADAPTER = build(ADAPTER_PAIRS, ROWS)
TYPE = word("general.type", "adapter")


def parse(data: bytes, *, size: int | None = None) -> GgufHeader:
    return parse_gguf(data, file_size=len(data) if size is None else size)


def head(tensors: int, pairs: int, *, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def number(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a GGUF"),
        (b"GGUX" + bytes(40), "not a GGUF"),
        (b"GGUF\x03", "ends within its header"),
        (build([], version=1), "version is 1"),
        (build([], version=0x03000000), "version is 50331648"),  # big-endian
        (head(GGUF_TENSORS + 1, 0) + bytes(64), "tensors and 0 pairs, more than"),
        (head(0, GGUF_PAIRS + 1) + bytes(64), "pairs, more than"),
        (head(2**63, 2**63), "more than"),
        (head(3, 0) + bytes(64), "no room for 3 tensors"),
        (head(0, 8) + bytes(64), "no room for 0 tensors and 8 pairs"),
        (build([text("a") + struct.pack("<I", 13)]), "unknown type 13"),
        (build([text("a") + struct.pack("<IIQ", 9, 9, 1)]), "array has the type 9"),
        (build([text("a") + struct.pack("<IIQ", 9, 8, 2**62)]), "ends within its header"),
        (build([text("a") + struct.pack("<IIQ", 9, 12, 2**61)]), "ends within its header"),
        (build([text("") + struct.pack("<II", 4, 0)]), "key has 0 bytes"),
        (build([text(b"\xff") + struct.pack("<II", 4, 0)]), "key is not UTF-8"),
        (build([word("a", "x"), word("a", "y")]), "key stands twice"),
        (build([TYPE, TYPE]), "key stands twice"),
        (build([number("general.type", 4, bytes(4))]), "general.type has the type 4, expected 8"),
        (build([word("adapter.lora.alpha", "16")]), "alpha has the type 8, expected 6"),
        (build([word("general.type", "x" * 65)]), "has 65 bytes"),
        (build([text("general.type") + struct.pack("<I", 8) + text(b"\xff")]), "is not UTF-8"),
        (build([TYPE, number("general.alignment", 4, b"\0\0\0\0")]), "alignment is 0"),
        (build([TYPE, number("general.alignment", 4, b"\x18\0\0\0")]), "alignment is 24"),
        (build([TYPE, number("general.alignment", 4, b"\0\0\1\0")]), "alignment is 65536"),
        (build([TYPE, number("general.alignment", 10, bytes(8))]), "type 10, expected 4"),
        (build([TYPE], [*ROWS, ROWS[0]]), "tensor name stands twice"),
        (build([TYPE], [("", 0, (1,), 4)]), "1 to 63 bytes"),
        (build([TYPE], [("x" * 64, 0, (1,), 4)]), "1 to 63 bytes"),
        (build([TYPE], [("a\u202eb", 0, (1,), 4)]), "bytes that print"),
        (build([TYPE], [("a", 0, (), 4)]), "0 dimensions"),
        (build([TYPE], [("a", 0, (1,) * 5, 4)]), "5 dimensions"),
        (build([TYPE], [("a", 0, (0, 4), 0)]), "dimensions that its type does not allow"),
        (build([TYPE], [("a", 0, (2**40, 2**40), 0)]), "does not allow"),
        (build([TYPE], [("a", 8, (33,), 34)]), "does not allow"),
        (build([TYPE], [("a", 4, (32,), 18)]), "unknown type 4"),
        (build([TYPE], [("a", 0, (4,), 64), ("b", 0, (4,), 16)]), "begins at 64, expected 32"),
        (build([TYPE], [("a", 0, (64,), 64), ("b", 0, (4,), 16)]), "begins at 64, expected 256"),
        (ADAPTER[:-64], "its header describes"),
        (ADAPTER + b"\0", "its header describes"),
        (build([TYPE]) + bytes(64), "its header describes"),
    ],
)
def test_what_breaks_the_format_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse(data)


@pytest.mark.parametrize("cut", range(len(ADAPTER) - 64))
def test_an_adapter_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(FormatError):
        parse(ADAPTER[:cut])


def test_an_adapter_is_read_whole() -> None:
    header = parse(ADAPTER)
    assert (header.version, header.general_type, header.adapter_type) == (3, "adapter", "lora")
    assert (header.architecture, header.alpha, header.tensor_count) == ("llama", 16.0, 2)
    assert header.tensors is not None
    assert [tensor.name for tensor in header.tensors] == [row[0] for row in ROWS]
    assert header.data_start is not None
    assert header.data_start + header.tensors[-1].offset + header.tensors[-1].size == len(ADAPTER)


def test_the_last_tensor_may_end_the_file_without_padding() -> None:
    data = build([TYPE], [("a", 0, (3,), 12)])
    assert parse(data).tensors == parse(data[:-20]).tensors


def test_another_alignment_is_followed() -> None:
    pairs = [TYPE, number("general.alignment", 4, b"\x20\0\0\0")]
    assert parse(build(pairs, ROWS)).tensors is not None


def test_a_model_is_read_as_far_as_its_first_pairs() -> None:
    words = text("tokens") + struct.pack("<IIQ", 9, 8, 50_000) + text("x") * 50_000
    model = build([word("general.type", "model"), words, word("late", "x")], ROWS)
    found = parse(model[:PREFIX_BYTES], size=len(model))
    assert (found.general_type, found.tensor_count, found.tensors) == ("model", 2, None)
    assert parse(build([])).general_type == ""


def test_an_adapter_with_a_long_header_asks_for_more() -> None:
    rows = [row for number in range(700) for row in factors(f"blk.{number}.ffn_gate.weight")]
    data = build(ADAPTER_PAIRS, rows)
    first = parse(data[:PREFIX_BYTES], size=len(data))
    assert (first.is_adapter, first.tensors, first.tensor_count) == (True, None, 1400)
    assert len(parse(data).tensors or ()) == 1400


@settings(max_examples=400, deadline=None)
@given(mutants(ADAPTER, build([word("general.type", "model"), alpha(1.0)])))
def test_damage_raises_only_our_error(data: bytes) -> None:
    TARGET.examine(data)


def test_sizes_of_the_types_are_the_official_ones() -> None:
    gguf = pytest.importorskip("gguf", reason="oracle missing: gguf")
    assert {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()} == GGML_BLOCKS


def test_a_file_of_the_official_writer_is_read(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="oracle missing: gguf")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_array("adapter.alora.invocation_tokens", [1, 2])
    for number in range(3):
        writer.add_tensor(f"blk.{number}.attn_q.weight.lora_a", numpy.ones((4, 9), numpy.float16))
        writer.add_tensor(f"blk.{number}.attn_q.weight.lora_b", numpy.ones((7, 4), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = parse(path.read_bytes())
    assert (header.alpha, header.architecture) == (8.0, "llama")
    found = {tensor.name: tensor.dimensions for tensor in header.tensors or ()}
    assert found["blk.0.attn_q.weight.lora_a"] == (9, 4)
    assert found["blk.2.attn_q.weight.lora_b"] == (4, 7)


def test_adapters_that_are_accepted_are_read_alike_by_the_official_reader(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="oracle missing: gguf")
    path, compared = tmp_path / "a.gguf", 0
    for number in range(1200):
        data = TARGET.mutant(Dice(7, number))
        try:
            header = parse(data)
        except FormatError:
            continue
        if not header.tensors:
            continue
        path.write_bytes(data)
        theirs = gguf.GGUFReader(path).tensors
        assert [tensor.name for tensor in theirs] == [tensor.name for tensor in header.tensors]
        for one, other in zip(theirs, header.tensors, strict=True):
            assert tuple(map(int, one.shape)) == other.dimensions
            assert (int(one.n_bytes), int(one.data_offset)) == (
                other.size,
                (header.data_start or 0) + other.offset,
            )
        compared += 1
    assert compared > 50
