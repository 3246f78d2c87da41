"""The first key-value pairs of a GGUF file: enough to tell an adapter from a model.

Layout (ggml-org/ggml, docs/gguf.md, versions 2 and 3): magic, u32 version, u64 tensor count, u64 pair
count, then pairs of key (u64 length, bytes), u32 type, value; all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from registry.errors import FormatError

MAGIC = b"GGUF"
# How much of the file to give: an adapter's pairs are a few hundred bytes.
PREFIX_BYTES = 64 * 1024
_MOST_PAIRS = 4096
_VERSIONS = (2, 3)
_TYPE_KEY, _ADAPTER_TYPE_KEY = "general.type", "adapter.type"
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


class _EndOfPrefixError(Exception):
    """The pairs go on beyond what was given."""


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """Version and tensor count, and what the file calls itself ("" where it does not say).

    `general_type` is "adapter" for an adapter and "model" or "" for a model; `adapter_type` is "lora".
    """

    version: int
    tensors: int
    general_type: str
    adapter_type: str


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = len(MAGIC)

    def skip(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise _EndOfPrefixError
        found = self._data[self._position : end]
        self._position = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size), "little")

    def text(self) -> bytes:
        return self.skip(self.number(8))

    def skip_value(self, kind: int) -> bytes:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._skip_array()
        if kind not in _SIZES:
            raise FormatError(f"GGUF value has the unknown type {kind}")
        return self.skip(_SIZES[kind])

    def _skip_array(self) -> bytes:
        kind, count = struct.unpack("<IQ", self.skip(12))
        if kind in _SIZES:
            return self.skip(_SIZES[kind] * count)
        if kind != _STRING:  # arrays of arrays are allowed on paper and written by nobody
            raise FormatError(f"GGUF array has the type {kind}")
        for _ in range(count):  # ends with the prefix: each string takes 8 bytes at least
            self.text()
        return b""


def summarise_gguf(prefix: bytes) -> GgufSummary:
    """Return what the first `PREFIX_BYTES` of a GGUF file say of it.

    Pairs beyond the prefix are not read: an adapter's fit, and a model's tokenizer need not.

    Raises:
        FormatError: not GGUF of version 2 or 3, or malformed within the prefix.
    """
    reader = _Reader(prefix)
    if not prefix.startswith(MAGIC):
        raise FormatError("not a GGUF file")
    try:
        version, tensors, pairs = struct.unpack("<IQQ", reader.skip(20))
    except _EndOfPrefixError as error:
        raise FormatError("GGUF file ends within its header") from error
    if version not in _VERSIONS:
        raise FormatError(f"GGUF version is {version}, expected 2 or 3")
    found = _texts(reader, pairs)
    return GgufSummary(version, tensors, found.get(_TYPE_KEY, ""), found.get(_ADAPTER_TYPE_KEY, ""))


def _texts(reader: _Reader, pairs: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for _ in range(min(pairs, _MOST_PAIRS)):
            key = reader.text()
            kind = reader.number(4)
            value = reader.skip_value(kind)
            if kind == _STRING and key in (_TYPE_KEY.encode(), _ADAPTER_TYPE_KEY.encode()):
                found[key.decode()] = value.decode("utf-8", "replace")[:64]
    except _EndOfPrefixError:
        pass
    return found
