"""The zip archive of `torch.save` (since 1.6), read more strictly than any zip library does.

Scanners were passed by archives that one reader takes and another does not (CVE-2025-10155, -10156,
-10157: names, CRCs and flags), so exactly what torch's writer makes is accepted: one folder, stored
entries one after the other from byte 0, nothing between or behind them, both directories saying the
same, every CRC right. Layout: APPNOTE.TXT 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from registry.conversion.refusals import SAVE_AGAIN, PickleRefusedError, Reason, shown
from registry.limits import CONVERSION_ARCHIVE_ENTRIES, CONVERSION_PICKLE_BYTES

LOCAL_MAGIC = b"PK\x03\x04"
_CENTRAL_MAGIC, _DESCRIPTOR_MAGIC = b"PK\x01\x02", b"PK\x07\x08"
_END64_MAGIC, _LOCATOR_MAGIC, _END_MAGIC = b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_DESCRIPTOR = struct.Struct("<4s3I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")

_DESCRIPTOR_FLAG, _UTF8_FLAG = 1 << 3, 1 << 11
_KNOWN_FLAGS = _DESCRIPTOR_FLAG | _UTF8_FLAG
_PADDING_ID = 0x4246  # "FB": torch aligns the data with it
_EXTRA_HEAD = struct.Struct("<2H")

_NAME = re.compile(rb"([A-Za-z0-9_.+ -]{1,200})/([!-~]{1,64})")
_STORAGE = re.compile(r"data/([0-9]{1,9})")
_PICKLE_NAME, _ORDER_NAME, _VERSION_NAME = "data.pkl", "byteorder", "version"
_SMALL_NAMES = {_ORDER_NAME, _VERSION_NAME, ".format_version", ".storage_alignment"}
_SMALL_NAMES.add(".data/serialization_id")
_SMALL_BYTES = 256
_SCRIPT_NAMES = ("code/", "constants.pkl", "constants/", "attributes.pkl")


@dataclass(frozen=True, slots=True)
class TorchArchive:
    """The pickle and the storages (by key) of one archive; views of the file's own memory."""

    pickle: bytes
    storages: dict[str, memoryview]


class _Entry(NamedTuple):
    """One row of the central directory."""

    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


def read_archive(data: memoryview) -> TorchArchive:
    """Return what torch's loader would be given, if `data` is what torch's writer makes.

    Raises:
        PickleRefusedError: anything else.
    """
    entries, directory = _read_directory(data)
    contents: dict[str, memoryview] = {}
    roots = set()
    position = 0
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise _refuse(f"an entry has the name {shown(entry.name.decode('latin-1'))}")
        content, position = _read_entry(data, entry, position)
        roots.add(match[1])
        name = match[2].decode("ascii")
        if name in contents:
            raise _refuse(f"two entries have the name {shown(name)}")
        contents[name] = content
    if position != directory:
        raise _refuse("bytes lie between its last entry and its directory")
    if len(roots) != 1:
        raise _refuse(f"its entries lie in {len(roots)} folders, expected one")
    if roots & {b".", b".."}:
        raise _refuse("its folder is a way to another one")
    return _sort_out(contents)


def _sort_out(contents: dict[str, memoryview]) -> TorchArchive:
    if any(name.startswith(_SCRIPT_NAMES) for name in contents):
        raise PickleRefusedError(
            Reason.NOT_WEIGHTS, "it is a TorchScript program, not weights", hint=SAVE_AGAIN
        )
    storages = {}
    for name, content in contents.items():
        match = _STORAGE.fullmatch(name)
        if match is not None:
            storages[match[1]] = content
        elif name in _SMALL_NAMES:
            _check_small(name, bytes(content[: _SMALL_BYTES + 1]))
        elif name != _PICKLE_NAME:
            raise _refuse(f"it holds an entry {shown(name)}, which torch.save does not write")
    pickle = contents.get(_PICKLE_NAME)
    if pickle is None or _VERSION_NAME not in contents:
        raise _refuse("it lacks data.pkl or version, so it is no file of torch.save")
    if len(pickle) > CONVERSION_PICKLE_BYTES:
        raise PickleRefusedError(
            Reason.LIMIT, f"data.pkl has {len(pickle)} bytes, more than {CONVERSION_PICKLE_BYTES}"
        )
    return TorchArchive(bytes(pickle), storages)


def _check_small(name: str, content: bytes) -> None:
    if len(content) > _SMALL_BYTES:
        raise _refuse(f"its entry {shown(name)} has more than {_SMALL_BYTES} bytes")
    if name == _ORDER_NAME and content != b"little":
        raise PickleRefusedError(
            Reason.CONTAINER,
            "its byte order is not little-endian",
            hint="save it again on a little-endian machine, with safetensors",
        )
    if name == _VERSION_NAME and not content.strip(b"\n").isdigit():
        raise _refuse("its version is not a number")


def _read_directory(data: memoryview) -> tuple[list[_Entry], int]:
    """Return the rows of the directory, and where it begins."""
    size = len(data)
    if size < _END.size:
        raise _refuse(f"it ends after {size} bytes")
    end = size - _END.size
    (magic, *disks, count, total, length, start, comment) = _END.unpack_from(data, end)
    if magic != _END_MAGIC or comment:
        raise _refuse("it does not end with its directory: cut off, or something was appended")
    if any(disks) or count != total:
        raise _refuse("its directory counts several disks")
    if not 0 < total <= CONVERSION_ARCHIVE_ENTRIES:
        # 0xFFFF, "see the 64-bit record", is beyond what adapters need as well.
        raise _refuse(f"its directory counts {total} entries")
    stop = _check_end64(data, end, (total, length, start))
    if start + length != stop:
        raise _refuse("its directory does not lie right before the end")
    return _read_rows(data[start:stop], total), start


def _check_end64(data: memoryview, end: int, said: tuple[int, int, int]) -> int:
    """Return where the directory must end: before the 64-bit record, if there is one."""
    locator = end - _LOCATOR.size
    if locator < 0 or bytes(data[locator : locator + 4]) != _LOCATOR_MAGIC:
        return end
    record = locator - _END64.size
    if _LOCATOR.unpack_from(data, locator) != (_LOCATOR_MAGIC, 0, record, 1):
        raise _refuse("its 64-bit record is not where it should be")
    magic, size, _, _, on, first, here, *rest = _END64.unpack_from(data, record)
    if magic != _END64_MAGIC or size != _END64.size - 12 or on or first:
        raise _refuse("its 64-bit record is malformed")
    if (here, *rest) != (said[0], *said):
        raise _refuse("its two end records say different things")
    return record


def _read_rows(rows: memoryview, total: int) -> list[_Entry]:
    entries = []
    position = 0
    for _ in range(total):
        if len(rows) - position < _CENTRAL.size:
            raise _refuse("its directory is cut off")
        row = _CENTRAL.unpack_from(rows, position)
        magic, _, _, flags, method, _, _, crc, packed, size = row[:10]
        name_bytes, extra_bytes, comment_bytes, disk, _, _, offset = row[10:]
        if magic != _CENTRAL_MAGIC or disk or extra_bytes or comment_bytes:
            raise _refuse("its directory has a row that torch does not write")
        _check_method(flags, method)
        if packed != size:
            raise _refuse("an entry has two sizes")
        start = position + _CENTRAL.size
        position = start + name_bytes
        entries.append(_Entry(bytes(rows[start:position]), flags, crc, size, offset))
    if position != len(rows):
        raise _refuse("its directory has bytes after the last row")
    return entries


def _check_method(flags: int, method: int) -> None:
    if flags & 1:
        raise _refuse("an entry says that it is encrypted")
    if flags & ~_KNOWN_FLAGS:
        raise _refuse(f"an entry has the flags 0x{flags:04x}")
    if method:
        raise _refuse(f"an entry is compressed (method {method}); torch stores entries as they are")


def _read_entry(data: memoryview, entry: _Entry, position: int) -> tuple[memoryview, int]:
    """Return the content of the entry that must begin at `position`, and where it ends."""
    if entry.offset != position:
        raise _refuse("bytes lie before or between its entries, or entries overlap")
    if len(data) - position < _LOCAL.size:
        raise _refuse("an entry is cut off")
    row = _LOCAL.unpack_from(data, position)
    magic, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = row
    if magic != LOCAL_MAGIC or flags != entry.flags or method:
        raise _refuse("an entry and the directory say different things")
    name_at = position + _LOCAL.size
    extra_at = name_at + name_bytes
    start = extra_at + extra_bytes
    stop = start + entry.size
    if bytes(data[name_at:extra_at]) != entry.name or stop > len(data):
        raise _refuse("an entry and the directory say different things")
    _check_padding(data[extra_at:start])
    late = bool(flags & _DESCRIPTOR_FLAG)
    # With a descriptor behind the data, the fields before it are zero.
    expected = (0, 0, 0) if late else (entry.crc, entry.size, entry.size)
    if (crc, packed, size) != expected:
        raise _refuse("an entry and the directory say different things")
    if zlib.crc32(data[start:stop]) != entry.crc:
        raise _refuse("the CRC of an entry is wrong: damaged, or made to look so")
    return data[start:stop], _check_descriptor(data, entry, stop) if late else stop


def _check_padding(extra: memoryview) -> None:
    position = 0
    while position < len(extra):
        if len(extra) - position < _EXTRA_HEAD.size:
            raise _refuse("an entry has a malformed extra field")
        kind, length = _EXTRA_HEAD.unpack_from(extra, position)
        position += _EXTRA_HEAD.size + length
        if kind != _PADDING_ID or position > len(extra):
            raise _refuse(f"an entry has the extra field 0x{kind:04x}")


def _check_descriptor(data: memoryview, entry: _Entry, start: int) -> int:
    stop = start + _DESCRIPTOR.size
    expected = _DESCRIPTOR.pack(_DESCRIPTOR_MAGIC, entry.crc, entry.size, entry.size)
    if bytes(data[start:stop]) != expected:
        raise _refuse("an entry and its descriptor say different things")
    return stop


def _refuse(what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.CONTAINER, f"zip archive refused: {what}")
