"""The calls that a pickle of tensors makes, carried out as pure data: arguments in, a description out.

Signatures: torch/_utils.py and torch/serialization.py of torch 2.13. Nothing of torch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.conversion.refusals import PickleRefusedError, Reason, shown
from registry.conversion.symbols import (
    ORDERED_DICT,
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    REBUILD_TYPED_TENSOR,
    STORAGE_DTYPES,
    TENSOR_DTYPES,
    UNTYPED_STORAGE,
)
from registry.conversion.values import StorageRef, Symbol, Table, TensorRef, Value, item_bytes
from registry.limits import SAFETENSORS_DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 2**48  # elements: far beyond any file, and no product of eight of them is slow
_KEY_CHARS = 32
_LOCATION_CHARS = 32


def call(symbol: object, arguments: object) -> Value:
    """Return what `symbol(*arguments)` would describe.

    Raises:
        PickleRefusedError: a symbol that is no function, or arguments that torch.save does not write.
    """
    builder = _BUILDERS.get(symbol) if isinstance(symbol, Symbol) else None
    if builder is None or not isinstance(arguments, tuple):
        raise _refuse("something is called that is no function of torch's tensors")
    return builder(arguments)


def storage_of(reference: object) -> StorageRef:
    """Return the storage that a persistent id describes: ("storage", class, key, device, count[, view]).

    Raises:
        PickleRefusedError: anything else.
    """
    match reference:
        case ("storage", Symbol() as kind, str(key), str(location), int(count)):
            pass
        case ("storage", Symbol() as kind, str(key), str(location), int(count), None):
            pass  # the form before torch 1.6; what is None is a view of another storage
        case _:
            raise _refuse("a storage is not described as torch does")
    if not (key.isascii() and key.isdigit() and len(key) <= _KEY_CHARS):
        raise _refuse(f"a storage has the key {shown(key)}")
    if len(location) > _LOCATION_CHARS or location.startswith("meta"):
        raise PickleRefusedError(Reason.TENSOR, "a storage lies on no device: it has no content")
    if kind != UNTYPED_STORAGE and kind not in STORAGE_DTYPES:
        raise _refuse(f"a storage is of the class {shown(kind.name)}")
    return StorageRef(key, STORAGE_DTYPES.get(kind), _whole(count))


def _ordered_dict(arguments: tuple[object, ...]) -> Table:
    if arguments:
        raise _refuse("an OrderedDict is made from arguments")
    return Table(is_ordered=True)


def _tensor(arguments: tuple[object, ...]) -> TensorRef:
    match arguments:
        case (StorageRef(dtype=str(dtype)) as storage, offset, shape, strides, bool(), hooks):
            pass
        case (
            StorageRef(dtype=str(dtype)) as storage,
            offset,
            shape,
            strides,
            bool(),
            hooks,
            extra,
        ):
            _check_no_metadata(extra)
        case _:
            raise _refuse("a tensor is not described as torch does")
    _check_no_hooks(hooks)
    return _placed(storage, dtype, offset, (shape, strides))


def _typed_tensor(arguments: tuple[object, ...]) -> TensorRef:
    match arguments:
        case (
            StorageRef(dtype=None) as storage,
            offset,
            shape,
            strides,
            bool(),
            hooks,
            Symbol() as kind,
        ):
            pass
        case (
            StorageRef(dtype=None) as storage, offset, shape, strides, bool(), hooks,
            Symbol() as kind, extra,
        ):  # fmt: skip
            _check_no_metadata(extra)
        case _:
            raise _refuse("a tensor is not described as torch does")
    _check_no_hooks(hooks)
    if kind not in TENSOR_DTYPES:
        raise _refuse(f"a tensor has the dtype {shown(kind.name)}")
    return _placed(storage, TENSOR_DTYPES[kind], offset, (shape, strides))


def _parameter(arguments: tuple[object, ...]) -> TensorRef:
    match arguments:
        case (TensorRef() as tensor, bool(), hooks):
            _check_no_hooks(hooks)
            return tensor
        case _:
            raise _refuse("a parameter is not described as torch does")


def _placed(
    storage: StorageRef, dtype: str, offset: object, layout: tuple[object, object]
) -> TensorRef:
    """Return the tensor, every element of which lies within its storage."""
    shape, strides = (_numbers(each) for each in layout)
    if len(shape) != len(strides) or len(shape) > SAFETENSORS_DIMENSIONS:
        raise _refuse(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    first = _whole(offset)
    if storage.size % item_bytes(dtype):
        raise PickleRefusedError(
            Reason.TENSOR, f"a storage does not hold whole elements of {dtype}"
        )
    count = storage.size // item_bytes(dtype)
    last = first + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if first > count or (0 not in shape and last >= count):
        raise PickleRefusedError(
            Reason.TENSOR, f"a tensor reaches element {last} of a storage of {count}"
        )
    return TensorRef(storage, dtype, first, shape, strides)


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise _refuse("sizes of a tensor are no tuple")
    return tuple(_whole(each) for each in value)


def _whole(value: object) -> int:
    # A bool is an int to Python, and none to torch.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise _refuse("a size, offset or stride is no whole number in range")
    return value


def _check_no_hooks(hooks: object) -> None:
    if not isinstance(hooks, Table) or not hooks.is_ordered or hooks.entries or hooks.is_built:
        raise _refuse("a tensor has hooks")


def _check_no_metadata(extra: object) -> None:
    # Bits such as "conjugated" change what the numbers mean.
    if extra is not None and not (isinstance(extra, Table) and not extra.entries):
        raise PickleRefusedError(Reason.TENSOR, "a tensor is conjugated or negated lazily")


def _refuse(what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.OPCODE, f"pickle refused: {what}")


_BUILDERS: dict[Symbol, Callable[[tuple[object, ...]], Value]] = {
    ORDERED_DICT: _ordered_dict,
    REBUILD_TENSOR: _tensor,
    REBUILD_TYPED_TENSOR: _typed_tensor,
    REBUILD_PARAMETER: _parameter,
}
