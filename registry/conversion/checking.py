"""The second look: digests of tensors straight from their storages, by other steps than the writer's.

The writer gathers along the longest dimension; here every row of the last dimension is digested as it
comes. What was written must have the same canonical tensor digest (`registry.artifacts.tensor_digest`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3

from registry.artifacts.tensor_digest import tensor_record, tensor_set_digest
from registry.conversion.values import item_bytes
from registry.formats.safetensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registry.conversion.torch_file import NamedTensor
    from registry.digest import Digest


def digest_tensors(tensors: Iterable[NamedTensor]) -> Digest:
    """Return the canonical digest of all tensors."""
    return tensor_set_digest(_record(tensor) for tensor in tensors)


def _record(tensor: NamedTensor) -> bytes:
    hasher = blake3()
    for part in _parts(tensor):
        hasher.update(part)
    info = TensorInfo(tensor.name, tensor.ref.dtype, tensor.ref.shape, 0, tensor.size)
    return tensor_record(info, hasher.digest())


def _parts(tensor: NamedTensor) -> Iterator[bytes | memoryview]:
    ref = tensor.ref
    if 0 in ref.shape:
        return
    width = item_bytes(ref.dtype)
    elements = tensor.elements
    sizes = list(ref.shape)
    steps = list(ref.strides)
    # What lies in order at the end of the shape is one row; a dimension of one has no step.
    row, step = 1, 1
    while sizes and (sizes[-1] == 1 or row == 1 or steps[-1] == row * step):
        size, stride = sizes.pop(), steps.pop()
        if size > 1:
            step = stride if row == 1 else step
            row *= size
    for start in _row_starts(ref.offset, sizes, steps):
        if step == 1:
            yield tensor.storage[start * width : (start + row) * width]
        elif step:
            yield elements[start : start + (row - 1) * step + 1 : step].tobytes()
        else:
            yield elements[start : start + 1].tobytes() * row


def _row_starts(offset: int, sizes: list[int], steps: list[int]) -> Iterator[int]:
    """Yield the first element of every row, counting as an odometer does."""
    places = [0] * len(sizes)
    start = offset
    while True:
        yield start
        for dimension in reversed(range(len(sizes))):
            places[dimension] += 1
            start += steps[dimension]
            if places[dimension] < sizes[dimension]:
                break
            start -= places[dimension] * steps[dimension]
            places[dimension] = 0
        else:
            return
