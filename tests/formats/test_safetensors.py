from __future__ import annotations

import json
import struct
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.dtypes import DTYPE_BITS
from registry.formats.safetensors import (
    TensorInfo,
    dump_header,
    header_length,
    lay_out,
    parse_header,
)
from registry.limits import SAFETENSORS_HEADER_BYTES
from tests.flood import flood
from tests.mutants import mutants
from tests.sheet import header_bytes, rows

# The `tiny` vector of the sheet: two floats, one metadata key, written by the official library.
TINY = bytes.fromhex(
    "58000000000000007b225f5f6d657461646174615f5f223a7b22666f726d6174223a227074227d2c2261223a7b"
    "226474797065223a22463332222c227368617065223a5b325d2c22646174615f6f666673657473223a5b302c385d"
    "7d7d2020200000803f00000040"
)
TINY_HEADER = TINY[:96]
GOOD = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'


def framed(text: str | bytes, body: bytes = b"") -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw + body


def parse(text: str | bytes, *, size: int | None = None) -> Any:
    data = framed(text)
    return parse_header(data, file_size=None if size is None else size + len(data))


def entry(name: str = "a", **fields: object) -> str:
    content = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}
    return f"{json.dumps(name)}:{json.dumps(content, separators=(',', ':'))}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "length is 0"),
        (" " + GOOD, "begins with a space"),
        ("\ufeff" + GOOD, "begins with byte 0xef"),
        ("[]", "begins with byte 0x5b"),
        ("\0" * 16, "begins with byte 0x00"),
        (GOOD + "\0", "not spaces"),
        (GOOD + "\n", "not spaces"),
        (GOOD + "{}", "not spaces"),
        (GOOD[:-1], "not JSON"),
        (GOOD.encode() + b"\xff", "not UTF-8"),
        ("{}", "lists no tensors"),
        ('{"__metadata__":{}}', "lists no tensors"),
        ('{"__metadata__":{"a":"b"}}', "lists no tensors"),
        ('{"__metadata__":{"a":"b"}' + entry() + "}", "not JSON"),
        (f"{{{entry()},{entry()}}}", "'a' stands twice"),
        (f"{{{entry()}, {entry()}}}", "'a' stands twice"),
        ('{"__metadata__":{"k":"1","k":"2"},' + entry() + "}", "'k' stands twice"),
        ('{"__metadata__":{},"__metadata__":{},' + entry() + "}", "'__metadata__' stands twice"),
        ('{"__metadata__":{"k":1},' + entry() + "}", "'k' is not a string"),
        ('{"__metadata__":{"k":1.5},' + entry() + "}", "whole numbers"),
        ('{"__metadata__":{"k":{}},' + entry() + "}", "'k' is not a string"),
        ('{"__metadata__":["k"],' + entry() + "}", "not an object"),
        ("{" + entry("__metadata__") + "}", "lists no tensors"),
        (f"{{{entry()},{entry('__metadata__')}}}", "'shape' is not a string"),
        ('{"__metadata__":{"k":"\\ud800"},' + entry() + "}", "surrogate"),
        ('{"__metadata__":{"a\\u202eb":"x"},' + entry() + "}", "does not print"),
        ('{"a":{"dtype":"F32","shape":[2]}}', "has the fields"),
        ("{" + entry(more=1) + "}", "has the fields"),
        ('{"a":[["dtype","F32"],["shape",[2]],["data_offsets",[0,8]]]}', "no object"),
        ('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', "has the fields"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}}', "fields"),
        ("{" + entry(dtype="F33") + "}", "unknown dtype"),
        ("{" + entry(dtype=["F32"]) + "}", "unknown dtype"),
        ("{" + entry(dtype=None) + "}", "unknown dtype"),
        ("{" + entry(shape=2) + "}", "needs a list"),
        ("{" + entry(shape="ab") + "}", "needs a list"),
        ("{" + entry(shape={"0": 2}) + "}", "needs a list"),
        ("{" + entry(shape=[-2]) + "}", "list of counts"),
        ("{" + entry(shape=[-2, -1]) + "}", "list of counts"),
        ("{" + entry(shape=[True, 2]) + "}", "list of counts"),
        ("{" + entry(shape=["2"]) + "}", "list of counts"),
        ("{" + entry(shape=[None]) + "}", "list of counts"),
        ("{" + entry(shape=[2.0]) + "}", "whole numbers"),
        ('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', "whole numbers"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}', "whole numbers"),
        ('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', "whole numbers"),
        ('{"a":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}}', "not JSON"),
        ("{" + entry(shape=[1] * 9) + "}", "9 dimensions"),
        ("{" + entry(shape=[3]) + "}", "8 bytes"),
        ("{" + entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0]) + "}", "list of counts"),
        ("{" + entry(shape=[0, 2**40, 2**40], data_offsets=[0, 0]) + "}", "64 bits"),
        ("{" + entry(data_offsets=[0]) + "}", "two numbers"),
        ("{" + entry(data_offsets=[8, 0]) + "}", "no byte range"),
        ("{" + entry(data_offsets=[-8, 0]) + "}", "no byte range"),
        ("{" + entry(data_offsets=[False, 8]) + "}", "no byte range"),
        ("{" + entry(data_offsets=[2**63, 2**63 + 8]) + "}", "no byte range"),
        ("{" + entry(data_offsets={"a": 1, "b": 2}) + "}", "two numbers"),
        ("{" + entry(data_offsets=[8, 16]) + "}", "leaves a hole"),
        (f"{{{entry()},{entry('b', data_offsets=[4, 12])}}}", "overlaps"),
        (f"{{{entry()},{entry('b')}}}", "overlaps"),
        (f"{{{entry()},{entry('b', data_offsets=[16, 24])}}}", "leaves a hole"),
        ("{" + entry(dtype="F4", shape=[3], data_offsets=[0, 1]) + "}", "1 bytes"),
        ("{" + entry("") + "}", "0 characters"),
        ("{" + entry("x" * 513) + "}", "513 characters"),
        ("{" + entry("a\0b") + "}", "does not print"),
        ("{" + entry("a\nb") + "}", "does not print"),
        ("{" + entry("a\x7fb") + "}", "does not print"),
        ("{" + entry("a\u202eb") + "}", "does not print"),
        ("{" + entry("a\u200bb") + "}", "does not print"),
        ("{" + entry("e\u0301") + "}", "NFC"),
        ('{"a":' + "9" * 5000 + "}", "too many digits"),
        ('{"a":' + "[" * 100_000 + "}", "nested too deep"),
    ],
)
def test_anything_but_the_format_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse(text)


@pytest.mark.parametrize("cut", range(len(TINY)))
def test_a_file_cut_at_any_byte_is_refused(cut: int) -> None:
    data = TINY[:cut]
    with pytest.raises(FormatError) as caught:
        parse_header(data[:96], file_size=cut)
    assert caught.value.hint


@pytest.mark.parametrize("extra", [1, 2, 1000])
def test_bytes_behind_the_last_tensor_are_refused(extra: int) -> None:
    with pytest.raises(FormatError, match=f"{extra} bytes that no tensor covers"):
        parse_header(TINY_HEADER, file_size=len(TINY) + extra)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PK\x03\x04\x00\x00\x08\x08", "zip archive"),
        (b"\x80\x02\x8a\nl\xfc\x9cF", "a pickle"),
        (b"\x80\x04\x95\xff\xff\xff\x00\x00", "a pickle"),
        (b"(dp0\nS'state_dict'\n", "a pickle"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <html lang=", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"GGUF\x03\x00\x00\x00\x02\x00\x00\x00", "GGUF"),
        (b"\x1f\x8b\x08\x00\x10\x20\x30\x40", "gzip"),
        (b"age-encryption.org/v1\n", "sealed age file"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff" * 32, "more than"),
        (struct.pack("<Q", 2**63), "more than"),
        (struct.pack("<Q", 100_000_001), "more than"),
        (struct.pack("<Q", SAFETENSORS_HEADER_BYTES + 1), "more than"),
    ],
)
def test_another_container_is_named(start: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        header_length(start, file_size=2**40)
    assert caught.value.hint


def test_another_container_with_a_possible_length_is_named() -> None:
    data = b"\x1f\x8b\x08\x00\x00\x00\x00\x00".ljust(8 + 0x88B1F, b"x")
    with pytest.raises(FormatError, match="gzip"):
        parse_header(data, file_size=len(data))


def test_a_cut_file_whose_length_looks_like_a_pickle_is_called_cut() -> None:
    with pytest.raises(FormatError, match="header says 640 bytes"):
        header_length(struct.pack("<Q", 640) + b'{"a":', file_size=100)


def test_a_length_beyond_the_file_is_refused_before_anything_is_read() -> None:
    with pytest.raises(FormatError, match="the file has 1000 in all"):
        header_length(struct.pack("<Q", 993), file_size=1000)
    assert header_length(struct.pack("<Q", 992), file_size=1000) == 1000


def test_a_short_header_that_begins_like_a_pickle_is_read() -> None:
    text = GOOD.ljust(640)  # 640 is 80 02 in little-endian, the start of a pickle
    assert parse(text, size=8).header_bytes == 648


def test_a_flood_of_values_is_refused_before_they_are_built() -> None:
    with pytest.raises(FormatError, match="values, more than"):
        parse('{"a":[' + "[]," * 1_000_000 + "[]]}")


def test_more_tensors_or_longer_metadata_than_the_limits_are_refused() -> None:
    flood = ",".join(
        f'"{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for n in range(100_001)
    )
    with pytest.raises(FormatError, match="lists 100001 tensors"):
        parse("{" + flood + "}")
    with pytest.raises(FormatError, match="'k' has 16777217 characters"):
        parse('{"__metadata__":{"k":"' + "x" * (16 * 1024 * 1024 + 1) + '"},' + entry() + "}")


def test_long_metadata_within_the_limits_is_read() -> None:
    text = '{"__metadata__":{"k":"' + "x" * 3_000_000 + '"},' + entry() + "}"
    assert len(parse(text).metadata[0][1]) == 3_000_000


def test_the_tiny_vector_is_read() -> None:
    header = parse_header(TINY_HEADER, file_size=len(TINY))
    assert header.tensors == (TensorInfo("a", "F32", (2,), 0, 8),)
    assert header.metadata == (("format", "pt"),)
    assert (header.header_bytes, header.body_bytes, header.total_bytes) == (96, 8, 104)


def test_every_official_dtype_is_read() -> None:
    tensors = lay_out((dtype.lower(), dtype, (8,)) for dtype in DTYPE_BITS)
    header = parse_header(dump_header(tensors, []), file_size=None)
    assert header.tensors == tensors
    assert {tensor.end - tensor.start for tensor in tensors} >= {4, 6, 8, 16, 32, 64}


@pytest.mark.parametrize("name", ["<alice>", "<猫>", "a b", "../../x", "é", "clip_l", "x/y"])
def test_names_that_trainers_write_are_read(name: str) -> None:
    assert parse("{" + entry(name) + "}").tensors[0].name == name


def test_spaces_between_tokens_and_other_field_orders_are_read() -> None:
    text = '{ "a": {"data_offsets": [0, 8], "shape": [2], "dtype": "F32"}}   '
    assert parse(text).tensors == (TensorInfo("a", "F32", (2,), 0, 8),)


def test_tensors_come_in_the_order_of_the_body() -> None:
    text = f"{{{entry('b', data_offsets=[8, 16])},{entry('a')}}}"
    assert [tensor.name for tensor in parse(text).tensors] == ["a", "b"]


def test_an_empty_tensor_is_read() -> None:
    text = f"{{{entry('z', shape=[0], data_offsets=[0, 0])},{entry('a')}}}"
    assert [tensor.name for tensor in parse(text).tensors] == ["z", "a"]


SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)
NAMES = st.one_of(
    st.text("abc._<>0", min_size=1, max_size=12), st.text(min_size=1, max_size=6)
).filter(str.isprintable)
ENTRIES = st.dictionaries(
    NAMES.filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(["F32", "F16", "BF16", "U8", "I64", "BOOL"]), SHAPES),
    min_size=1,
    max_size=6,
)
METADATA = st.dictionaries(
    st.text("abc._", min_size=1, max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=20),
    max_size=3,
)


def nfc_only(entries: dict[str, Any]) -> dict[str, Any]:
    return {unicodedata.normalize("NFC", name): value for name, value in entries.items()}


@settings(max_examples=200, deadline=None)
@given(ENTRIES.map(nfc_only), METADATA)
def test_what_is_dumped_is_parsed_back(
    entries: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]
) -> None:
    tensors = lay_out((name, dtype, shape) for name, (dtype, shape) in entries.items())
    data = dump_header(tensors, metadata.items())
    header = parse_header(data, file_size=len(data) + sum(t.end - t.start for t in tensors))
    assert sorted(header.tensors) == sorted(tensors)
    assert dict(header.metadata) == metadata
    assert dump_header(header.tensors, header.metadata) == data


@settings(max_examples=150, deadline=None)
@given(ENTRIES.map(nfc_only), METADATA)
def test_the_quick_reader_agrees_with_the_general_one(
    entries: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]
) -> None:
    tensors = lay_out((name, dtype, shape) for name, (dtype, shape) in entries.items())
    compact = dump_header(tensors, metadata.items())
    spaced = framed(json.dumps(json.loads(compact[8:]), separators=(", ", ": ")))
    quick, general = parse_header(compact, file_size=None), parse_header(spaced, file_size=None)
    assert (quick.tensors, quick.metadata) == (general.tensors, general.metadata)


TWO = dump_header(lay_out([("a", "F16", (2, 3)), ("b", "F32", ())]), [("k", "v, é")])


@settings(max_examples=700, deadline=None)
@given(mutants(TINY_HEADER, TWO))
def test_damage_raises_only_our_error(data: bytes) -> None:
    try:
        header = parse_header(data, file_size=None)
    except FormatError:
        return
    # What is still accepted is a header in its own right: it covers its body, names are unique.
    assert header.body_bytes == sum(tensor.end - tensor.start for tensor in header.tensors)
    assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)


def test_a_hundred_thousand_damaged_headers_raise_only_our_error() -> None:
    accepted = 0
    for data in flood(TWO, 100_000):
        try:
            parse_header(data, file_size=None)
        except FormatError:
            continue
        accepted += 1
    assert 0 < accepted < 50_000  # a letter of a name or a value may change


@settings(max_examples=500, deadline=None)
@given(mutants(TINY_HEADER, TWO))
def test_nothing_is_accepted_that_the_official_reader_refuses(data: bytes) -> None:
    official = pytest.importorskip("safetensors")
    try:
        header = parse_header(data, file_size=None)
    except FormatError:
        return
    if header.body_bytes > 4096:
        return
    read = official.deserialize(data + bytes(header.body_bytes))
    assert {name for name, _ in read} == {tensor.name for tensor in header.tensors}


@pytest.mark.parametrize("problem", ["same", "twice", "hole", "bidi"])
def test_a_header_that_could_not_be_read_back_is_not_written(problem: str) -> None:
    first = TensorInfo("a", "F32", (2,), 0, 8)
    second = {
        "same": first,
        "twice": first._replace(start=8, end=16),
        "hole": TensorInfo("b", "F32", (2,), 9, 17),
        "bidi": TensorInfo("\u202eb", "F32", (2,), 8, 16),
    }[problem]
    with pytest.raises(ValueError, match=r"header would not be readable|given twice"):
        dump_header([first, second], [])


def test_layout_of_unknown_dtype_or_half_bytes_is_a_callers_bug() -> None:
    with pytest.raises(ValueError, match="unknown dtype"):
        lay_out([("a", "F33", (1,))])
    with pytest.raises(ValueError, match="whole bytes"):
        lay_out([("a", "F4", (1,))])


@pytest.mark.usefixtures("shared")
def test_layout_is_the_official_writers() -> None:
    numpy = pytest.importorskip("numpy")
    official = pytest.importorskip("safetensors.numpy")
    fixture = next(row for row in rows("adapters") if row["id"] == "kohya-sd15-ia3")
    parsed = parse_header(header_bytes(fixture), file_size=None)
    kinds = {"F16": numpy.float16, "BOOL": numpy.bool_}
    content = {
        tensor.name: numpy.zeros(tensor.shape, kinds[tensor.dtype])
        for tensor in reversed(parsed.tensors)
    }
    written = official.save(content)
    size = len(written)
    again = parse_header(written[: header_length(written[:8], file_size=size)], file_size=size)
    assert again.tensors == parsed.tensors


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(30), "JPEG"),
        (b"dear all, see below\n" * 3, "a text"),
    ],
)
def test_what_is_plainly_something_else_is_named(start: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        header_length(start[:32], file_size=len(start))
