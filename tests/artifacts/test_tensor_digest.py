"""The tensor digest: the same tensors, the same name, however a file stores them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.tensor_digest import (
    SCALAR_BYTES,
    TensorHasher,
    tensor_record,
    tensor_set_digest,
)
from registry.formats.safetensors import SafetensorsHeader, TensorInfo

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def tensors() -> st.SearchStrategy[Tensors]:
    def of_bytes(data: bytes) -> tuple[str, tuple[int, ...], bytes]:
        return ("U8", (len(data),), data)

    return st.dictionaries(
        st.text(min_size=1, max_size=12),
        st.binary(max_size=40).map(of_bytes),
        min_size=1,
        max_size=8,
    )


def store(content: Tensors, order: list[str]) -> tuple[SafetensorsHeader, bytes]:
    infos, body = [], b""
    for name in order:
        dtype, shape, data = content[name]
        infos.append(TensorInfo(name, dtype, shape, len(body), len(body) + len(data)))
        body += data
    return SafetensorsHeader(8, tuple(infos), ()), body


def digest(header: SafetensorsHeader, body: bytes, cut: int = 1 << 20) -> str:
    hasher = TensorHasher(header)
    for start in range(0, len(body), cut):
        hasher.update(memoryview(body)[start : start + cut])
    return str(tensor_set_digest(hasher.records()))


def test_missing_bytes_are_refused() -> None:
    header, body = store({"a": ("U8", (4,), b"abcd")}, ["a"])
    hasher = TensorHasher(header)
    hasher.update(memoryview(body)[:3])
    with pytest.raises(ValueError, match="1 bytes are missing"):
        hasher.records()


def test_extra_bytes_are_refused() -> None:
    header, body = store({"a": ("U8", (4,), b"abcd")}, ["a"])
    with pytest.raises(ValueError, match="after the last tensor"):
        TensorHasher(header).update(memoryview(body + b"e"))


@pytest.mark.parametrize(
    "other",
    [
        {"b": ("F16", (2, 2), bytes(8))},
        {"a": ("BF16", (2, 2), bytes(8))},
        {"a": ("F16", (4,), bytes(8))},
        {"a": ("F16", (2, 2), bytes(7) + b"\1")},
        {"a": ("F16", (2, 2), bytes(8)), "b": ("F16", (0,), b"")},
    ],
)
def test_name_dtype_shape_content_and_number_all_count(other: Tensors) -> None:
    first = digest(*store({"a": ("F16", (2, 2), bytes(8))}, ["a"]))
    assert digest(*store(other, sorted(other))) != first


def test_record_is_the_documented_bytes() -> None:
    record = tensor_record(TensorInfo("é", "F16", (2, 3), 0, 12), b"\xaa" * 32)
    assert (
        record
        == (b"\x02\0\0\0\xc3\xa9" + b"\x03F16" + b"\x02" + b"\x02" + bytes(7) + b"\x03" + bytes(7))
        + b"\xaa" * 32
    )


@settings(max_examples=60)
@given(content=tensors(), data=st.data())
def test_order_and_batches_do_not_count(content: Tensors, data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(content)))
    cut = data.draw(st.integers(1, 50))
    assert digest(*store(content, order), cut) == digest(*store(content, sorted(content)))


@settings(max_examples=40)
@given(content=tensors(), data=st.data())
def test_splitting_over_files_does_not_count(content: Tensors, data: st.DataObject) -> None:
    names = sorted(content)
    at = data.draw(st.integers(0, len(names)))
    records: list[bytes] = []
    for part in (names[:at], names[at:]):
        header, body = store(content, part)
        hasher = TensorHasher(header)
        hasher.update(memoryview(body))
        records += hasher.records()
    assert str(tensor_set_digest(records)) == digest(*store(content, names))


@settings(max_examples=40)
@given(content=tensors(), cut=st.integers(1, 50))
def test_small_tensors_are_kept_whole(content: Tensors, cut: int) -> None:
    header, body = store(content, sorted(content))
    hasher = TensorHasher(header)
    for start in range(0, len(body), cut):
        hasher.update(memoryview(body)[start : start + cut])
    expected = [
        (info.start, body[info.start : info.end])
        for info in header.tensors
        if 0 < info.end - info.start <= SCALAR_BYTES
    ]
    assert list(hasher.scalars()) == expected
