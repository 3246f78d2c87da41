"""Scalars of a TensorBoard event file: length-delimited protobuf messages, read without either library.

    record   uint64 length, uint32 of it, `length` bytes, uint32 of them   (TFRecord, little-endian)
    Event    2: step (varint), 5: Summary;  Summary  1: Value;  Value  1: tag, 2: simple_value, 8: tensor

The checksums are not verified: what is read here becomes means, and bounds are checked at each step.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH_BYTES, _CHECK_BYTES = 8, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS = 64
_STEP, _SUMMARY, _VALUE, _TAG, _SIMPLE, _TENSOR = 2, 5, 1, 1, 2, 8
_TENSOR_CONTENT, _TENSOR_FLOATS = 4, 5
_FLOAT_BYTES = 4
_TAG_BYTES = 256


def read_scalars(data: bytes) -> Iterator[tuple[int, str, float]]:
    """Yield (step, tag, value) of every scalar, in order; a last record that was cut off is left out.

    Raises:
        ValueError: not an event file.
    """
    view, at = memoryview(data), 0
    while at + _LENGTH_BYTES + _CHECK_BYTES <= len(view):
        (length,) = struct.unpack_from("<Q", view, at)
        at += _LENGTH_BYTES + _CHECK_BYTES
        if length > len(view) - at - _CHECK_BYTES:
            if at == _LENGTH_BYTES + _CHECK_BYTES:
                raise ValueError("not an event file")
            return
        yield from _scalars_of(view[at : at + length])
        at += length + _CHECK_BYTES


def _scalars_of(event: memoryview) -> Iterator[tuple[int, str, float]]:
    step, summaries = 0, []
    for number, value in _fields(event):
        if number == _STEP and isinstance(value, int):
            step = value
        elif number == _SUMMARY and isinstance(value, memoryview):
            summaries.append(value)
    for summary in summaries:
        for number, value in _fields(summary):
            if number == _VALUE and isinstance(value, memoryview):
                tag, scalar = _tag_and_scalar(value)
                if scalar is not None:
                    yield step, tag, scalar


def _tag_and_scalar(message: memoryview) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in _fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _TAG:
            tag = bytes(value[:_TAG_BYTES]).decode("utf-8", "replace")
        elif number == _SIMPLE:
            scalar = _float(value)
        elif number == _TENSOR:
            scalar = _tensor_scalar(value)
    return tag, scalar


def _tensor_scalar(tensor: memoryview) -> float | None:
    """Return the only value of a float32 tensor; of text, images and histograms: None."""
    for number, value in _fields(tensor):
        if number in (_TENSOR_CONTENT, _TENSOR_FLOATS) and isinstance(value, memoryview):
            return _float(value)
    return None


def _float(value: memoryview) -> float | None:
    return struct.unpack("<f", value)[0] if len(value) == _FLOAT_BYTES else None


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if key & 7 == _BYTES:
            size, at = _varint(message, at)
        elif key & 7 in (_FIXED64, _FIXED32):
            size = 8 if key & 7 == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")
        if size > len(message) - at:
            raise ValueError("field is longer than its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < _VARINT_BITS:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at
        shift += 7
    raise ValueError("varint does not end")
