"""Tensors as views of the payload in memory: no copy, and never a file opened again."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import torch

from registry.errors import FormatError
from registry.updates.files import tensor_bytes

if TYPE_CHECKING:
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import WeightFile

FLOAT_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
# Signed integers of the same width, to look at the bits of floats.
BIT_DTYPES: dict[int, torch.dtype] = {
    1: torch.int8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
}


def view_tensor(file: WeightFile, info: TensorInfo) -> torch.Tensor:
    """Return the tensor as a view of the payload; its dtype must be one of `FLOAT_DTYPES`.

    Raises:
        FormatError: the dtype is not a float that audits read.
    """
    dtype = FLOAT_DTYPES.get(info.dtype)
    if dtype is None:
        raise FormatError(f"tensor {info.name!r} has dtype {info.dtype}, expected a float")
    return _view(tensor_bytes(file, info), dtype).view(info.shape)


def view_bits(file: WeightFile, info: TensorInfo, width_bytes: int) -> torch.Tensor:
    """Return the bytes of the tensor as one row of signed integers of `width_bytes` each."""
    return _view(tensor_bytes(file, info), BIT_DTYPES[width_bytes])


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` as float32, or as it is where it is float64."""
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of two or more dimensions as a matrix: its first dimension by all others.

    A 1-dimensional tensor becomes one column.
    """
    rows = tensor.shape[0] if tensor.ndim else 1
    columns = math.prod(tensor.shape[1:])
    return tensor.reshape(rows, columns)


def _view(data: memoryview, dtype: torch.dtype) -> torch.Tensor:
    if sys.byteorder != "little":
        raise FormatError("tensors are little-endian, and this machine is not")
    if len(data) == 0:
        return torch.empty(0, dtype=dtype)
    # torch warns of read-only memory; nothing here writes, and the copy costs what it saves.
    return torch.frombuffer(bytearray(data) if data.readonly else data, dtype=dtype)
