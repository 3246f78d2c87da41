"""The safetensors header: a strict reader and a deterministic writer.

Layout (huggingface/safetensors, README "Format"): 8 bytes little-endian length N, N bytes of JSON
that begin with `{` and may be padded with spaces, then the body. Stricter than the official reader
0.8: repeated names, repeated metadata keys, extra fields, a leading space, unprintable names and a
header without tensors are refused here, because two readers would see two different files, or bytes
that nobody looks at.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from registry.errors import FormatError
from registry.formats.containers import MAGIC_BYTES, find_container
from registry.formats.dtypes import BYTE_BITS, DTYPE_BITS, DTYPE_ORDER
from registry.formats.safetensors_rows import check_name, read_canonical_rows, read_rows
from registry.limits import (
    SAFETENSORS_HEADER_BYTES,
    SAFETENSORS_METADATA_VALUE_CHARS,
    SAFETENSORS_NAME_CHARS,
    SAFETENSORS_SEPARATORS,
    SAFETENSORS_TENSORS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.formats.safetensors_rows import Row

LENGTH_BYTES = 8
METADATA_NAME = "__metadata__"
_METADATA_START = '{"__metadata__":{'
_PAD_BYTES = 8


class TensorInfo(NamedTuple):
    """One tensor: its name, dtype (official spelling), shape, and byte range [start, end) in the body.

    A named tuple and not a dataclass: an SDXL adapter has 2958 of them, and a frozen dataclass
    costs five times as much to make.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """A header that was read in full and found sound.

    `header_bytes` counts the length field too, so the body begins there. `tensors` are in the order
    of the body and cover it without hole or overlap; `metadata` is in the order of the header.
    """

    header_bytes: int
    tensors: tuple[TensorInfo, ...]
    metadata: tuple[tuple[str, str], ...]

    @property
    def body_bytes(self) -> int:
        """Length of the body in bytes."""
        return self.tensors[-1].end if self.tensors else 0

    @property
    def total_bytes(self) -> int:
        """Length of the whole file in bytes."""
        return self.header_bytes + self.body_bytes


# Tensors in the order of the body, and metadata.
_Content: TypeAlias = "tuple[tuple[TensorInfo, ...], tuple[tuple[str, str], ...]]"


def header_length(prefix: bytes, *, file_size: int) -> int:
    """Return how many bytes to read for `parse_header`: 8 + N.

    `prefix` is the start of the file: 8 bytes, or up to `containers.MAGIC_BYTES` for better words.
    The answer is bounded by `file_size` and by limits.py, so reading that much is safe.

    Raises:
        FormatError: too short, N impossible or over the limit, or another container (named).
    """
    if file_size == 0:
        raise FormatError("file is empty", hint="wait until its writer is done, or copy it again")
    if len(prefix) < LENGTH_BYTES or file_size < LENGTH_BYTES:
        size = min(len(prefix), file_size)
        raise FormatError(
            f"file ends after {size} bytes, before its 8-byte header length",
            hint="the file is cut off: wait until its writer is done, or copy it again",
        )
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length == 0:
        raise FormatError(
            "header length is 0, expected a JSON header",
            hint="the file was reserved and not written yet: wait until its writer is done",
        )
    if length > SAFETENSORS_HEADER_BYTES or LENGTH_BYTES + length > file_size:
        raise _impossible_length(prefix, length, file_size)
    return LENGTH_BYTES + length


def _impossible_length(prefix: bytes, length: int, file_size: int) -> FormatError:
    container = find_container(prefix)
    if container is not None:
        return FormatError(f"not safetensors but {container.words}", hint=container.advice)
    if length <= SAFETENSORS_HEADER_BYTES:
        return FormatError(
            f"header says {length} bytes, but the file has {file_size} in all",
            hint="the file is cut off: wait until its writer is done, or copy it again",
        )
    return FormatError(
        f"header length is {length}, more than {SAFETENSORS_HEADER_BYTES} bytes",
        hint="this is not a safetensors file, or a damaged one",
    )


def parse_header(data: bytes, *, file_size: int | None) -> SafetensorsHeader:
    """Return the header in `data`, the first 8 + N bytes of a file, all of it checked.

    With `file_size` None (a stream whose end is not known) only the length of the file is not
    checked: compare `total_bytes` when the end is reached.

    Raises:
        FormatError: anything that is not exactly the format, or beyond limits.py.
    """
    known = len(data) if file_size is None else file_size
    needed = header_length(data[:MAGIC_BYTES], file_size=known)
    if len(data) != needed:
        raise FormatError(f"header has {needed} bytes, and {len(data)} were given")
    tensors, metadata = _read(_text(data))
    if len(tensors) > SAFETENSORS_TENSORS:
        raise FormatError(f"header lists {len(tensors)} tensors, more than {SAFETENSORS_TENSORS}")
    header = SafetensorsHeader(needed, tensors, metadata)
    if file_size is not None:
        _check_file_size(header, file_size)
    return header


def _text(data: bytes) -> str:
    if not data.startswith(b"{", LENGTH_BYTES):
        raise _not_json(data)
    # 3 bytes of JSON can become 64 of Python: bound the number of values before building them.
    if len(data) > SAFETENSORS_SEPARATORS:
        found = data.count(b",") + data.count(b"[") + data.count(b"{")
        if found > SAFETENSORS_SEPARATORS:
            raise FormatError(f"header holds {found} values, more than {SAFETENSORS_SEPARATORS}")
    try:
        return str(memoryview(data)[LENGTH_BYTES:], "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"header is not UTF-8 at byte {error.start}") from error


def _not_json(data: bytes) -> FormatError:
    container = find_container(data[:MAGIC_BYTES])
    if container is not None:
        return FormatError(f"not safetensors but {container.words}", hint=container.advice)
    body = data[LENGTH_BYTES:]
    found = "a space" if body.startswith(b" ") else f"byte 0x{body[0]:02x}"
    hint = "this is not a safetensors file, or a damaged one"
    if not body.strip(b"\0"):
        hint = "the header is all zeroes: wait until its writer is done"
    return FormatError(f"header begins with {found}, expected '{{'", hint=hint)


def _read(text: str) -> _Content:
    metadata: object = ()
    start = 1
    if text.startswith(_METADATA_START):
        metadata, end = _decode(text, len(_METADATA_START) - 1)
        if not text.startswith(",", end):
            return _read_any_json(text)
        start = end + 1
    canonical = read_canonical_rows(text, start)
    if canonical is None or METADATA_NAME in canonical[0]:
        return _read_any_json(text)
    names, rows = canonical
    _check_repeats("tensor name", names)
    return tuple(map(_new_tensor, rows)), _metadata(metadata)


def _read_any_json(text: str) -> _Content:
    value, end = _decode(text, 0)
    if text[end:].strip(" "):
        raise FormatError("header has bytes after its JSON that are not spaces")
    entries: list[tuple[str, object]] = list(value) if isinstance(value, tuple) else []
    _check_repeats("tensor name", [name for name, _ in entries])
    metadata = dict(entries).get(METADATA_NAME, ())
    rows = read_rows([entry for entry in entries if entry[0] != METADATA_NAME])
    if not rows:
        raise FormatError("header lists no tensors")
    return _in_file_order(rows), _metadata(metadata)


def _decode(text: str, start: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise FormatError("header is nested too deep") from error
    except json.JSONDecodeError as error:
        raise FormatError(
            f"header is not JSON: {error.msg.lower()} at character {error.pos}"
        ) from error
    except ValueError as error:
        raise FormatError("header is not JSON: a number has too many digits") from error


def _refuse_number(text: str) -> NoReturn:
    raise FormatError(f"header holds {text[:32]!a} where only whole numbers may stand")


def _whole_number(text: str) -> int:
    # Python reads -0 as 0, and the official reader as a float: it would refuse what we took.
    return _refuse_number(text) if text == "-0" else int(text)


# Objects become tuples of pairs, so that repeated names stay visible; arrays become lists.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
    parse_int=_whole_number,
)


def _check_repeats(what: str, names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    repeated = next(name for name, count in Counter(names).items() if count > 1)
    raise FormatError(
        f"{what} {repeated[:SAFETENSORS_NAME_CHARS]!a} stands twice in the header",
        hint="two readers would load two different files from this one; save it again",
    )


def _metadata(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, tuple):
        raise FormatError("__metadata__ is not an object")
    pairs: list[tuple[str, str]] = []
    for key, text in value:
        check_name(key, "metadata key")
        if not isinstance(text, str):
            raise FormatError(f"metadata {key!a} is not a string")
        _check_metadata_text(key, text)
        pairs.append((key, text))
    _check_repeats("metadata key", [key for key, _ in pairs])
    return tuple(pairs)


def _check_metadata_text(key: str, text: str) -> None:
    if len(text) > SAFETENSORS_METADATA_VALUE_CHARS:
        raise FormatError(
            f"metadata {key!a} has {len(text)} characters, "
            f"more than {SAFETENSORS_METADATA_VALUE_CHARS}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"metadata {key!a} holds half a surrogate pair") from error


_new_tensor = functools.partial(tuple.__new__, TensorInfo)


def _in_file_order(rows: Iterable[Row]) -> tuple[TensorInfo, ...]:
    tensors = map(_new_tensor, rows)
    ordered = sorted(tensors, key=lambda tensor: (tensor.start, tensor.end, tensor.name))
    position = 0
    for tensor in ordered:
        if tensor.start != position:
            what = "overlaps the one before it" if tensor.start < position else "leaves a hole"
            raise FormatError(
                f"tensor {tensor.name!a} {what}: it begins at {tensor.start}, expected {position}"
            )
        position = tensor.end
    return tuple(ordered)


def _check_file_size(header: SafetensorsHeader, file_size: int) -> None:
    expected = header.total_bytes
    if file_size < expected:
        raise FormatError(
            f"file is cut off: it has {file_size} bytes, its header describes {expected}",
            hint="wait until its writer is done, or copy it again",
        )
    if file_size > expected:
        raise FormatError(
            f"file has {file_size - expected} bytes that no tensor covers "
            f"({file_size} in all, its header describes {expected})",
            hint="something was appended to it; save or download it again",
        )


def lay_out(entries: Iterable[tuple[str, str, tuple[int, ...]]]) -> tuple[TensorInfo, ...]:
    """Return tensors for (name, dtype, shape) with offsets in the official writer's order.

    Raises:
        ValueError: unknown dtype, or a shape that does not fill whole bytes.
    """
    entries = list(entries)
    unknown = {dtype for _, dtype, _ in entries} - DTYPE_BITS.keys()
    if unknown:
        raise ValueError(f"unknown dtype {sorted(unknown)}")
    tensors = []
    position = 0
    for name, dtype, shape in sorted(entries, key=lambda row: (-DTYPE_ORDER[row[1]], row[0])):
        bits = DTYPE_BITS[dtype]
        for dimension in shape:
            bits *= dimension
        if bits % BYTE_BITS:
            raise ValueError(f"tensor {name!a} does not fill whole bytes")
        end = position + bits // BYTE_BITS
        tensors.append(TensorInfo(name, dtype, tuple(shape), position, end))
        position = end
    return tuple(tensors)


def dump_header(tensors: Sequence[TensorInfo], metadata: Iterable[tuple[str, str]]) -> bytes:
    """Return length field and header, the same bytes for the same input on every run.

    Entries stand in the order of the body, metadata sorted by key; compact JSON, padded with spaces
    to a multiple of 8. The official writer orders metadata at random, so its files differ each time.

    Raises:
        ValueError: what `parse_header` would refuse to read back.
    """
    pairs = sorted(metadata)
    content: dict[str, object] = {METADATA_NAME: dict(pairs)} if pairs else {}
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end, tensor.name)):
        content[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start, tensor.end],
        }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _PAD_BYTES)
    data = len(text).to_bytes(LENGTH_BYTES, "little") + text
    try:
        header = parse_header(data, file_size=None)
    except FormatError as error:
        raise ValueError(f"header would not be readable: {error}") from error
    if len(header.tensors) != len(tensors) or len(header.metadata) != len(pairs):
        raise ValueError("a name or key is given twice")
    return data
