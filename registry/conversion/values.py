"""What the data interpreter builds: plain values, names of symbols, and descriptions of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from registry.formats.dtypes import BYTE_BITS, DTYPE_BITS


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name out of the allow-list (`symbols.py`); never looked up in any module."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage that the pickle refers to: its key, dtype (None: untyped) and length in elements.

    An untyped storage counts bytes.
    """

    key: str
    dtype: str | None
    count: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.count * (1 if self.dtype is None else item_bytes(self.dtype))


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor in a storage: `offset` and `strides` count elements, as torch does."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Table:
    """A dict or an OrderedDict. `is_built` tells that attributes were given to it, once."""

    is_ordered: bool
    entries: dict[str | int, Value] = field(default_factory=dict)
    is_built: bool = False


# Lists and tuples hold values too; the recursion is left out because mypy cannot follow it.
Value: TypeAlias = (
    "bool | int | float | str | list[object] | tuple[object, ...] | Table | Symbol"
    " | StorageRef | TensorRef | None"
)


def item_bytes(dtype: str) -> int:
    """Return the size of one element in bytes; every dtype of torch's storages fills whole bytes."""
    return DTYPE_BITS[dtype] // BYTE_BITS
