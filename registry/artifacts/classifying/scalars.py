"""Single numbers out of tensor bytes, without torch: alphas are stored as tensors of one element."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from registry.errors import FormatError

if TYPE_CHECKING:
    from registry.formats.safetensors import SafetensorsHeader, TensorInfo

# (offset in the file, size) to bytes; raises FormatError where they cannot be had.
ReadAt: TypeAlias = Callable[[int, int], bytes]

_LAYOUTS = {
    "F64": "<d",
    "F32": "<f",
    "F16": "<e",
    "I64": "<q",
    "I32": "<i",
    "I16": "<h",
    "I8": "<b",
    "U64": "<Q",
    "U32": "<I",
    "U16": "<H",
    "U8": "<B",
}
# `scalar` is one more factor, which LyCORIS' use_scalar saved in older releases.
_SUFFIXES = ("alpha", "scalar")


def read_alphas(header: SafetensorsHeader, read_at: ReadAt) -> dict[str, float] | None:
    """Return the value of every alpha and scalar tensor by name; None if not one could be read.

    At most eight bytes are read for each. One that cannot be had, or is of a type that is no plain
    number, is left out.
    """
    found: dict[str, float] = {}
    for tensor in header.tensors:
        if tensor.name.rpartition(".")[2] in _SUFFIXES and math.prod(tensor.shape) == 1:
            value = _read(header, tensor, read_at)
            if value is not None:
                found[tensor.name] = value
    return found or None


def _read(header: SafetensorsHeader, tensor: TensorInfo, read_at: ReadAt) -> float | None:
    size = tensor.end - tensor.start
    try:
        data = read_at(header.header_bytes + tensor.start, size)
    except FormatError:
        return None
    return decode_scalar(tensor.dtype, data) if len(data) == size else None


def decode_scalar(dtype: str, data: bytes) -> float | None:
    """Return the number in `data`, None for a dtype that is no plain number. NaN and infinity pass."""
    if dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    layout = _LAYOUTS.get(dtype)
    return None if layout is None else float(struct.unpack(layout, data)[0])
