"""The content of a tensor, row by row without gaps, out of a storage that may hold it in any order.

No numpy and no torch: a host has neither. A tensor without gaps is a slice; of any other, its longest
dimension is copied run by run, by slices with steps, which is C's work and not Python's.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.conversion.refusals import SAVE_AGAIN, PickleRefusedError, Reason, shown
from registry.conversion.values import item_bytes
from registry.limits import CONVERSION_GATHER_BYTES, CONVERSION_GATHER_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registry.conversion.torch_file import NamedTensor
    from registry.conversion.values import TensorRef


@dataclass(frozen=True, slots=True)
class _Axis:
    """One dimension of more than one element: its size, its step in the storage and in the result."""

    size: int
    step: int
    result_step: int


def is_gapless(ref: TensorRef) -> bool:
    """Return whether the tensor lies in its storage as it will lie in the file."""
    axes = _axes(ref)
    return not axes or (len(axes) == 1 and axes[0].step == 1)


def check_gathering(tensors: Iterable[NamedTensor]) -> int:
    """Return how many tensors have to be gathered, if that is a bounded piece of work.

    Raises:
        PickleRefusedError: it is not.
    """
    scattered = [tensor for tensor in tensors if tensor.size and not is_gapless(tensor.ref)]
    runs = 0
    for tensor in scattered:
        if tensor.size > CONVERSION_GATHER_BYTES:
            raise PickleRefusedError(
                Reason.LIMIT,
                f"tensor {shown(tensor.name)} is scattered and has {tensor.size} bytes, "
                f"more than {CONVERSION_GATHER_BYTES}",
                hint=SAVE_AGAIN,
            )
        # The second look of `checking` runs along the last dimension instead.
        axes = _axes(tensor.ref)
        runs += math.prod(tensor.ref.shape) // min(max(axis.size for axis in axes), axes[-1].size)
    if runs > CONVERSION_GATHER_RUNS:
        raise PickleRefusedError(
            Reason.LIMIT,
            f"its tensors are scattered over {runs} runs, more than {CONVERSION_GATHER_RUNS}",
            hint=SAVE_AGAIN,
        )
    return len(scattered)


def row_major(tensor: NamedTensor) -> memoryview:
    """Return the content of the tensor in row-major order.

    A view of its storage where that is possible, else new memory.
    """
    ref = tensor.ref
    width = item_bytes(ref.dtype)
    count = math.prod(ref.shape)
    if not count or is_gapless(ref):
        start = ref.offset * width
        return tensor.storage[start : start + count * width]
    result = replace(tensor, storage=memoryview(bytearray(count * width)))
    _gather(tensor, result)
    return result.storage


def _gather(tensor: NamedTensor, result: NamedTensor) -> None:
    source, target = tensor.elements, result.elements
    axes = sorted(_axes(tensor.ref), key=lambda axis: axis.size)
    run = axes.pop()
    for start, at in _starts(tensor.ref.offset, axes):
        part = target[at : at + (run.size - 1) * run.result_step + 1 : run.result_step]
        if run.step:
            part[:] = source[start : start + (run.size - 1) * run.step + 1 : run.step]
        else:
            # One element stands for all of the run.
            same = memoryview(source[start : start + 1].tobytes() * run.size)
            part[:] = replace(tensor, storage=same).elements


def _starts(offset: int, axes: list[_Axis]) -> Iterator[tuple[int, int]]:
    """Yield where each run begins: in the storage and in the result."""
    for places in itertools.product(*(range(axis.size) for axis in axes)):
        pairs = list(zip(places, axes, strict=True))
        yield (
            offset + sum(place * axis.step for place, axis in pairs),
            sum(place * axis.result_step for place, axis in pairs),
        )


def _axes(ref: TensorRef) -> list[_Axis]:
    """Return the dimensions that matter, outer first; neighbours that are one run are made one."""
    axes: list[_Axis] = []
    result_step = 1
    for size, step in reversed(list(zip(ref.shape, ref.strides, strict=True))):
        if size == 1:
            continue
        inner = axes[-1] if axes else None
        if inner is not None and step == inner.size * inner.step:
            axes[-1] = _Axis(size * inner.size, inner.step, inner.result_step)
        else:
            axes.append(_Axis(size, step, result_step))
        result_step *= size
    return axes[::-1]
