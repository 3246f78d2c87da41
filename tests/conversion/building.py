"""Torch files made byte by byte, with every knob of the archive to lie with; no torch in between."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace

ROOT = "archive"
DESCRIPTOR_FLAG, UTF8_FLAG = 1 << 3, 1 << 11


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def symbol(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def proto4(module: str, name: str) -> bytes:
    """STACK_GLOBAL, with its two texts before it."""
    return short(module) + short(name) + b"\x93"


def short(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    """A tuple of whole numbers."""
    return b"(" + b"".join(map(number, values)) + b"t"


HOOKS = symbol("collections", "OrderedDict") + b")R"


def storage(
    key: str = "0", count: int = 6, kind: str = "FloatStorage", *, view: bytes = b""
) -> bytes:
    """A persistent id of one storage."""
    where = "torch.storage" if kind == "UntypedStorage" else "torch"
    start = b"(" + text("storage") + symbol(where, kind)
    return start + text(key) + text("cpu") + number(count) + view + b"tQ"


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    *,
    offset: bytes = b"K\x00",
    held: bytes = b"",
    rest: bytes = b"\x89" + HOOKS,
) -> bytes:
    """A call of `_rebuild_tensor_v2`."""
    start = symbol("torch._utils", "_rebuild_tensor_v2") + b"(" + (held or storage())
    return start + offset + numbers(*shape) + numbers(*strides) + rest + b"tR"


def state_dict(items: bytes | None = None) -> bytes:
    """A dict of names and values, one tensor `w` unless told otherwise."""
    return b"}(" + (text("w") + tensor() if items is None else items) + b"u"


def program(body: bytes, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + body + b"."


BENIGN = program(state_dict())
CONTENT = struct.pack("<6f", *range(6))


@dataclass(frozen=True)
class Entry:
    """One entry of an archive. `local` and `central` override fields of its two headers."""

    name: str
    data: bytes
    local: dict[str, int | bytes] = field(default_factory=dict)
    central: dict[str, int | bytes] = field(default_factory=dict)
    before: bytes = b""
    in_directory: bool = True
    in_body: bool = True


def entries_of(pickle: bytes = BENIGN, **storages: bytes) -> list[Entry]:
    """The entries of an ordinary file of torch.save; its storage is `CONTENT` unless told otherwise."""
    held = {name.removeprefix("s"): data for name, data in storages.items()}
    if not held and text("storage") in pickle:
        held = {"0": CONTENT}
    return [
        Entry(f"{ROOT}/data.pkl", pickle),
        Entry(f"{ROOT}/byteorder", b"little"),
        *(Entry(f"{ROOT}/data/{key}", data) for key, data in held.items()),
        Entry(f"{ROOT}/version", b"3\n"),
    ]


def torch_zip(pickle: bytes = BENIGN, **storages: bytes) -> bytes:
    """An ordinary file of torch.save around `pickle`."""
    return archive(entries_of(pickle, **storages))


def altered(name: str, **changes: object) -> bytes:
    """An ordinary file, one entry of which is changed."""
    return archive(
        [
            replace(entry, **changes) if entry.name == f"{ROOT}/{name}" else entry
            for entry in entries_of()
        ]
    )


def with_entries(*more: Entry) -> bytes:
    """An ordinary file with more entries at its end."""
    return archive([*entries_of(), *more])


@dataclass(frozen=True)
class Ending:
    """The records behind the entries: what lies before and behind them, and fields to override."""

    gap: bytes = b""
    comment: bytes = b""
    total: int | None = None
    start: int | None = None
    zip64: dict[str, int] | None = None


def archive(entries: list[Entry], ending: Ending | None = None) -> bytes:
    """Return the archive as torch's writer lays it out, with all that the entries override."""
    ending = ending or Ending()
    body, rows = b"", []
    for entry in entries:
        body += entry.before
        offset = len(body)
        if entry.in_body:
            body += _local(entry)
        if entry.in_directory:
            rows.append(_central(entry, offset))
    body += ending.gap
    directory = b"".join(rows)
    total = len(rows) if ending.total is None else ending.total
    start = len(body) if ending.start is None else ending.start
    end = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, total, total, len(directory), start, len(ending.comment)
    )
    extra = b""
    if ending.zip64 is not None:
        record = {"total": len(rows), "length": len(directory), "start": start, **ending.zip64}
        counts = (record["total"], record["total"], record["length"], record["start"])
        extra = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 0, 0, 0, 0, *counts)
        extra += struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body) + len(directory), 1)
    return body + directory + extra + end + ending.comment


def _fields(entry: Entry, changes: dict[str, int | bytes]) -> dict[str, int | bytes]:
    usual: dict[str, int | bytes] = {
        "magic": b"",
        "flags": DESCRIPTOR_FLAG | UTF8_FLAG,
        "method": 0,
        "crc": zlib.crc32(entry.data),
        "packed": len(entry.data),
        "size": len(entry.data),
        "name": entry.name.encode("utf-8"),
        "extra": b"",
        "comment": b"",
        "attributes": 0,
        "descriptor": b"",
    }
    return usual | changes


def _local(entry: Entry) -> bytes:
    now = _fields(entry, {"extra": b"FB\x04\x00ZZZZ"} | entry.local)
    late = int(now["flags"]) & DESCRIPTOR_FLAG
    seen = (now["crc"], now["packed"], now["size"])
    told = (0, 0, 0) if late and not entry.local.get("eager") else seen
    name, extra = bytes(now["name"]), bytes(now["extra"])
    head = struct.pack(
        "<4s5H3I2H", now["magic"] or b"PK\x03\x04", 0, now["flags"], now["method"], 0, 0, *told,
        len(name), len(extra),
    )  # fmt: skip
    tail = now["descriptor"] or struct.pack("<4s3I", b"PK\x07\x08", *seen)
    return head + name + extra + entry.data + (bytes(tail) if late else b"")


def _central(entry: Entry, offset: int) -> bytes:
    now = _fields(entry, {"offset": offset} | entry.central)
    name, extra, comment = (bytes(now[each]) for each in ("name", "extra", "comment"))
    return (
        struct.pack(
            "<4s6H3I5H2I", now["magic"] or b"PK\x01\x02", 0, 0, now["flags"], now["method"], 0, 0,
            now["crc"], now["packed"], now["size"], len(name), len(extra), len(comment), 0, 0,
            now["attributes"], now["offset"],
        )
        + name + extra + comment
    )  # fmt: skip


def legacy(
    content: bytes = BENIGN,
    *,
    magic: bytes = program(b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")),
    protocol: bytes = program(b"M\xe9\x03"),
    system: bytes = program(b"}(" + text("little_endian") + b"\x88u"),
    keys: bytes = program(b"](" + text("0") + b"e"),
    storages: bytes = struct.pack("<q", 6) + CONTENT,
) -> bytes:
    """The form of torch.save before 1.6, around `content`."""
    return magic + protocol + system + content + keys + storages
