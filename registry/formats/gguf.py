"""The header of a GGUF file: enough to tell an adapter from a model, and all of it for an adapter.

Layout (ggml-org/ggml, docs/gguf.md, versions 2 and 3): magic, u32 version, u64 tensor count, u64 pair
count; pairs of key (u64 length, bytes), u32 type, value; then for each tensor its name, u32 number of
dimensions, u64 dimensions, u32 type, u64 offset; all little-endian. The data follows, aligned.

Of a model only the first pairs are read. An adapter (`general.type`) is read strictly: names once,
tensors one after the other as llama.cpp wants them, and nothing behind the last one.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from registry.errors import FormatError
from registry.formats.gguf_types import GGML_BLOCKS
from registry.limits import GGUF_ALIGNMENT_BYTES, GGUF_KEY_BYTES, GGUF_PAIRS, GGUF_TENSORS

MAGIC = b"GGUF"
# How much of the file to give at first; an adapter of many layers needs more, and says so.
PREFIX_BYTES = 64 * 1024
ADAPTER_TYPE = "adapter"
_VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _FLOAT32, _STRING, _ARRAY = 4, 6, 8, 9
_LEAST_PAIR_BYTES, _LEAST_TENSOR_BYTES = 13, 32
_MOST_DIMENSIONS = 4
_NAME_BYTES = 63  # ggml keeps names in 64 bytes, with a zero at the end
_WORD_BYTES = 64
_MOST_ELEMENTS = 2**60
_DEFAULT_ALIGNMENT = 32
# The pairs that are read, and the type that llama.cpp asks for.
_TYPE, _ADAPTER, _FAMILY = "general.type", "adapter.type", "general.architecture"
_ALPHA, _ALIGNMENT = "adapter.lora.alpha", "general.alignment"
_READ = {_TYPE: _STRING, _ADAPTER: _STRING, _FAMILY: _STRING, _ALPHA: _FLOAT32, _ALIGNMENT: _UINT32}


class _EndOfPrefixError(Exception):
    """The header goes on beyond what was given."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: dimensions with the fastest first (`ne` of ggml), and where its bytes lie in the data."""

    name: str
    kind: int
    dimensions: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Version and tensor count, and what the file calls itself ("" where it does not say).

    `general_type` is "adapter" for an adapter and "model" or "" for a model; `adapter_type` is "lora";
    `alpha` may be any float, NaN too. `tensors` is None unless it is an adapter whose whole header was
    given; then `data_start` is where the data begins in the file.
    """

    version: int
    tensor_count: int
    general_type: str
    adapter_type: str
    architecture: str
    alpha: float | None
    tensors: tuple[GgufTensor, ...] | None
    data_start: int | None

    @property
    def is_adapter(self) -> bool:
        """Whether it calls itself an adapter."""
        return self.general_type == ADAPTER_TYPE


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = len(MAGIC)

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise _EndOfPrefixError
        found = self._data[self.position : end]
        self.position = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> bytes:
        return self.take(self.number(8))

    def value(self, kind: int) -> bytes:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._skip_array()
        if kind not in _SIZES:
            raise FormatError(f"GGUF value has the unknown type {kind}")
        return self.take(_SIZES[kind])

    def _skip_array(self) -> bytes:
        kind, count = struct.unpack("<IQ", self.take(12))
        if kind in _SIZES:
            self.take(_SIZES[kind] * count)
        elif kind == _STRING:
            for _ in range(count):  # ends with the prefix: each string takes 8 bytes at least
                self.text()
        else:  # arrays of arrays are allowed on paper and written by nobody
            raise FormatError(f"GGUF array has the type {kind}")
        return b""


def parse_gguf(data: bytes, *, file_size: int) -> GgufHeader:
    """Return what the start of a GGUF file says; `data` is its first bytes, of `file_size` in all.

    For a model `PREFIX_BYTES` are enough: pairs beyond what was given are not read. For an adapter whose
    header goes on beyond `data`, `tensors` is None; give more.

    Raises:
        FormatError: not GGUF of version 2 or 3, beyond limits.py, or malformed as far as it was given.
    """
    reader = _Reader(data)
    if not data.startswith(MAGIC):
        raise FormatError("not a GGUF file")
    found: dict[str, object] = {}
    whole: tuple[tuple[GgufTensor, ...], int] | None = None
    try:
        version, tensors, pairs = struct.unpack("<IQQ", reader.take(20))
        _check_counts(version, tensors, pairs, file_size)
        _read_pairs(reader, pairs, found)
        if found.get(_TYPE) == ADAPTER_TYPE:
            whole = _read_layout(reader, tensors, _alignment(found), file_size)
    except _EndOfPrefixError as error:
        if len(data) >= file_size or reader.position == len(MAGIC):
            raise FormatError(
                "GGUF file ends within its header",
                hint="the file is cut off: wait until its writer is done, or copy it again",
            ) from error
    alpha = found.get(_ALPHA)
    return GgufHeader(
        version=version,
        tensor_count=tensors,
        general_type=str(found.get(_TYPE, "")),
        adapter_type=str(found.get(_ADAPTER, "")),
        architecture=str(found.get(_FAMILY, "")),
        alpha=alpha if isinstance(alpha, float) else None,
        tensors=None if whole is None else whole[0],
        data_start=None if whole is None else whole[1],
    )


def _check_counts(version: int, tensors: int, pairs: int, file_size: int) -> None:
    if version not in _VERSIONS:
        raise FormatError(f"GGUF version is {version}, expected 2 or 3")
    if tensors > GGUF_TENSORS or pairs > GGUF_PAIRS:
        raise FormatError(
            f"GGUF file lists {tensors} tensors and {pairs} pairs, "
            f"more than {GGUF_TENSORS} or {GGUF_PAIRS}"
        )
    if tensors * _LEAST_TENSOR_BYTES + pairs * _LEAST_PAIR_BYTES > file_size:
        raise FormatError(
            f"GGUF file of {file_size} bytes has no room for {tensors} tensors and {pairs} pairs",
            hint="the file is cut off: wait until its writer is done, or copy it again",
        )


def _read_pairs(reader: _Reader, pairs: int, found: dict[str, object]) -> None:
    seen: set[bytes] = set()
    for _ in range(pairs):
        key = reader.text()
        if not 0 < len(key) <= GGUF_KEY_BYTES:
            raise FormatError(f"GGUF key has {len(key)} bytes, expected 1 to {GGUF_KEY_BYTES}")
        if key in seen:
            raise FormatError("a GGUF key stands twice")
        seen.add(key)
        kind = reader.number(4)
        value = reader.value(kind)
        name = _utf8(key, "GGUF key")
        if name in _READ:
            found[name] = _known_value(name, kind, value)


def _known_value(name: str, kind: int, value: bytes) -> object:
    if kind != _READ[name]:
        raise FormatError(f"GGUF value of {name} has the type {kind}, expected {_READ[name]}")
    if kind == _FLOAT32:
        return struct.unpack("<f", value)[0]
    if kind == _UINT32:
        return int.from_bytes(value, "little")
    if len(value) > _WORD_BYTES:
        raise FormatError(f"GGUF value of {name} has {len(value)} bytes, more than {_WORD_BYTES}")
    return _utf8(value, f"GGUF value of {name}")


def _alignment(found: dict[str, object]) -> int:
    value = found.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    # A power of two: what lies between two tensors is seen by nobody, so it is kept short.
    if not isinstance(value, int) or value.bit_count() != 1 or value > GGUF_ALIGNMENT_BYTES:
        raise FormatError(
            f"GGUF alignment is {value}, expected a power of two up to {GGUF_ALIGNMENT_BYTES}"
        )
    return value


def _read_layout(
    reader: _Reader, count: int, alignment: int, file_size: int
) -> tuple[tuple[GgufTensor, ...], int]:
    """Return the tensors and where their data begins."""
    tensors = tuple(_read_tensor(reader) for _ in range(count))
    if len({tensor.name for tensor in tensors}) != count:
        raise FormatError("a GGUF tensor name stands twice")
    position = end = 0
    for tensor in tensors:
        if tensor.offset != position:
            raise FormatError(
                f"GGUF tensor {tensor.name!a} begins at {tensor.offset}, expected {position}"
            )
        end = position + tensor.size
        position = _aligned(end, alignment)
    start = _aligned(reader.position, alignment)
    least, most = start + end if tensors else reader.position, start + position
    if not least <= file_size <= most:
        raise FormatError(f"GGUF file has {file_size} bytes, its header describes {most}")
    return tensors, start


def _read_tensor(reader: _Reader) -> GgufTensor:
    raw = reader.text()
    name = _utf8(raw, "GGUF tensor name")
    if not 0 < len(raw) <= _NAME_BYTES or not name.isprintable():
        raise FormatError(f"GGUF tensor name is not 1 to {_NAME_BYTES} bytes that print")
    number = reader.number(4)
    if not 0 < number <= _MOST_DIMENSIONS:
        raise FormatError(f"GGUF tensor {name!a} has {number} dimensions, expected 1 to 4")
    dimensions = struct.unpack(f"<{number}Q", reader.take(8 * number))
    kind, offset = struct.unpack("<IQ", reader.take(12))
    return GgufTensor(name, kind, dimensions, offset, _size(name, kind, dimensions))


def _size(name: str, kind: int, dimensions: tuple[int, ...]) -> int:
    if kind not in GGML_BLOCKS:
        raise FormatError(f"GGUF tensor {name!a} has the unknown type {kind}")
    elements, size = GGML_BLOCKS[kind]
    count = math.prod(dimensions)
    if not 0 < count <= _MOST_ELEMENTS or dimensions[0] % elements:
        raise FormatError(f"GGUF tensor {name!a} has dimensions that its type does not allow")
    return count // elements * size


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8 at byte {error.start}") from error
