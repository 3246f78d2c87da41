"""The form of `torch.save` before 1.6, still written on request: five pickles, then the storages.

torch/serialization.py, `_legacy_save`: a magic number, the protocol (1001), facts of the system, the
object, the sorted keys of its storages; then for each key a count of elements (8 bytes) and the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.conversion.machine import Read, read_pickle
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.values import Table

if TYPE_CHECKING:
    from registry.conversion.values import Value

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8
# PROTO 2, LONG1 of ten bytes: what every such file begins with.
LEGACY_START = b"\x80\x02\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little") + b"."


def read_legacy(data: memoryview) -> tuple[Read, dict[str, memoryview]]:
    """Return the object's pickle and the storages by key.

    Raises:
        PickleRefusedError: not exactly this form, from the first byte to the last.
    """
    magic = read_pickle(data)
    protocol = read_pickle(data, magic.end)
    system = read_pickle(data, protocol.end)
    if magic.value != _MAGIC_NUMBER or protocol.value != _PROTOCOL:
        raise _refuse("its magic number or protocol is another")
    _check_system(system.value)
    content = read_pickle(data, system.end)
    keys = read_pickle(data, content.end)
    if any(each.storages or each.symbols for each in (magic, protocol, system, keys)):
        raise _refuse("a storage or a name stands where none belongs")
    return content, _storages(data, content, keys)


def _check_system(value: Value) -> None:
    little = value.entries.get("little_endian") if isinstance(value, Table) else None
    if little is not True:
        raise PickleRefusedError(
            Reason.CONTAINER,
            "its byte order is not little-endian",
            hint="save it again on a little-endian machine, with safetensors",
        )


def _storages(data: memoryview, content: Read, keys: Read) -> dict[str, memoryview]:
    names = keys.value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refuse("its list of storages is malformed")
    if len(set(names)) != len(names) or set(names) != set(content.storages):
        raise _refuse("its list of storages is not that of its tensors")
    storages = {}
    position = keys.end
    for name in map(str, names):
        expected = content.storages[name]
        start = position + _COUNT_BYTES
        count = int.from_bytes(data[position:start], "little", signed=True)
        if start > len(data) or count != expected.count:
            raise _refuse(f"a storage has {count} elements, expected {expected.count}")
        position = start + expected.size
        if position > len(data):
            raise _refuse("a storage is cut off")
        storages[name] = data[start:position]
    if position != len(data):
        raise _refuse(f"{len(data) - position} bytes lie behind its last storage")
    return storages


def _refuse(what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.CONTAINER, f"old torch file refused: {what}")
