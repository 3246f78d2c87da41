"""Split a sealed file and its bundle into parcels, read a parcel, join parts again.

A carrier that takes the whole file gets it whole. Else it is cut into parts whose names sort in order
(`cat NAME.age.*-of-003 > NAME.age` is all that a recipient needs) with a list of them in canonical JSON,
so that parts that a messenger renamed, repeated or shuffled are found by their digest. The bundle goes last: where it is, the rest is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from registry.durable import write_whole
from registry.errors import (
    ContentMismatchError,
    FormatError,
    LorasealError,
    NotFoundError,
    UsageError,
)
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.limits import MAX_SAFE_INTEGER, PARTS, PARTS_MANIFEST_BYTES
from signal_bridge.channel import Parcel
from signal_bridge.plain_files import open_plain, read_slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# facts/signal.md 2.1: the largest plaintext whose padded ciphertext fits Signal's 100 MiB.
HARD_PARCEL_BYTES = 102_224_512
PARCEL_BYTES = 95 * 1024 * 1024

PARTS_SCHEMA = "loraseal/parts.v1"
_CLEAN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shipment:
    """What one delivery carries: `sealed` becomes `<name>.age`, `bundle` becomes `<name>.loraseal`.

    `workspace` is a directory for the list of parts, where one is needed; it stays until the delivery is over.
    """

    delivery_id: str
    name: str
    sealed: Path
    bundle: Path
    workspace: Path


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split file: its name, size in bytes and hex sha256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PartsManifest:
    """The list of parts of one sealed file, in order; not signed: the bundle judges what is joined."""

    delivery_id: str
    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical JSON form."""
        parts: list[Json] = [
            {"name": part.name, "size": part.size, "sha256": part.sha256} for part in self.parts
        ]
        body: dict[str, Json] = {"schema": PARTS_SCHEMA, "delivery": self.delivery_id}
        body |= {"name": self.name, "size": self.size, "sha256": self.sha256, "parts": parts}
        return dump_canonical(body)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the list in `data`.

        Raises:
            FormatError: not canonical, another schema, an unsafe name, sizes that do not add up.
        """
        value = parse_canonical(data, what="list of parts", max_bytes=PARTS_MANIFEST_BYTES)
        if not isinstance(value, dict) or value.get("schema") != PARTS_SCHEMA:
            raise FormatError(f"list of parts is not of schema {PARTS_SCHEMA}")
        listed = value.get("parts")
        if not isinstance(listed, list) or not 1 <= len(listed) <= PARTS:
            raise FormatError(f"list of parts must hold 1 to {PARTS} parts")
        whole = _parse_part(value)
        parts = tuple(_parse_part(item) for item in listed)
        if sum(part.size for part in parts) != whole.size:
            raise FormatError(f"sizes of the parts do not add up to {whole.size} bytes")
        delivery = value.get("delivery")
        if not isinstance(delivery, str):
            raise FormatError("list of parts names no delivery")
        return cls(delivery, whole.name, whole.size, whole.sha256, parts)


def clean_name(text: str, *, fallback: str = "adapter") -> str:
    """Return `text` reduced to `[A-Za-z0-9._-]`, at most 100 characters, never hidden or empty."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:100].rstrip("._-")
    return kept or fallback


def plan_parcels(shipment: Shipment, *, max_bytes: int | None) -> tuple[Parcel, ...]:
    """Return the parcels of a shipment, none larger than `max_bytes` (None: no limit).

    The same shipment always gives the same parcels. Reads every byte once, to name it by digest.

    Raises:
        FormatError: the sealed file or the bundle is empty.
        LorasealError: the bundle does not fit one parcel, or there would be more than 999 parts.
        OSError: a file cannot be read, the list of parts cannot be written.
    """
    if clean_name(shipment.name) != shipment.name:
        raise ValueError("shipment name is not clean: use clean_name()")
    if max_bytes is not None and max_bytes <= 0:
        raise ValueError(f"parcels of {max_bytes} bytes")
    pieces = [*_cut(shipment, max_bytes), _Piece(shipment.bundle, f"{shipment.name}.loraseal")]
    bundle_bytes = shipment.bundle.stat().st_size
    if max_bytes is not None and bundle_bytes > max_bytes:
        raise LorasealError(
            f"bundle has {bundle_bytes} bytes, more than the {max_bytes} of one parcel",
            hint="deliver it by a channel without that limit, such as a folder",
        )
    return tuple(
        _parcel(shipment.delivery_id, number, len(pieces), piece)
        for number, piece in enumerate(pieces, start=1)
    )


def read_parcel(parcel: Parcel) -> Iterator[bytes]:
    """Yield the bytes of `parcel` in batches; the last batch comes only if all of them are right.

    Raises:
        ContentMismatchError: the file is shorter, or no longer what was offered.
        NotFoundError: it cannot be read, or a symlink took its place.
    """
    seen = hashlib.sha256()
    held = b""
    try:
        for batch in _read(parcel.path, parcel.offset, parcel.size):
            seen.update(batch)
            if held:
                yield held
            held = batch
    except OSError as error:
        # As an error of ours: the caller is writing elsewhere and must not take it for its own.
        raise NotFoundError(
            f"parcel {parcel.number} of {parcel.count} cannot be read: {error.strerror}",
            hint="prepare the delivery again",
        ) from error
    if seen.hexdigest() != parcel.sha256:
        raise ContentMismatchError(
            f"parcel {parcel.number} of {parcel.count} is no longer what was offered",
            hint="the sealed file changed or is damaged: prepare the delivery again",
        )
    if held:
        yield held


def join_parts(manifest: PartsManifest, candidates: Iterable[Path], target: Path) -> None:
    """Write the file that `manifest` lists to `target` from whichever candidates are its parts.

    Candidates may be renamed, repeated, in any order, or something else altogether.

    Raises:
        NotFoundError: parts are missing; the message names them.
        ContentMismatchError: the joined file is not what the list says; nothing is left behind.
        UsageError: `target` exists.
    """
    if target.exists():
        raise UsageError(f"{target.name!r} exists", hint="name another file to join into")
    found = _find_parts(manifest, candidates)
    missing = [part.name for part in manifest.parts if part not in found]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of {len(manifest.parts)} parts are missing: {', '.join(missing[:5])}",
            hint="save every part of the delivery into one folder, then join again",
        )
    write_whole(target, _joined(manifest, found))


@dataclass(frozen=True, slots=True)
class _Piece:
    path: Path
    name: str
    offset: int = 0
    size: int | None = None


def _cut(shipment: Shipment, max_bytes: int | None) -> list[_Piece]:
    name = f"{shipment.name}.age"
    size = shipment.sealed.stat().st_size
    if max_bytes is None or size <= max_bytes:
        return [_Piece(shipment.sealed, name)]
    count = -(-size // max_bytes)
    if count > PARTS:
        raise LorasealError(
            f"{size} bytes would be {count} parcels, more than {PARTS}",
            hint="deliver it by a channel without that limit, such as a folder",
        )
    parts = [
        _Piece(
            shipment.sealed,
            f"{name}.{index + 1:03}-of-{count:03}",
            index * max_bytes,
            min(max_bytes, size - index * max_bytes),
        )
        for index in range(count)
    ]
    return [*parts, _Piece(_write_list(shipment, name, parts), f"{shipment.name}.parts.json")]


def _write_list(shipment: Shipment, name: str, pieces: list[_Piece]) -> Path:
    parts = []
    whole = hashlib.sha256()
    for piece in pieces:
        digest = hashlib.sha256()
        for batch in _read(piece.path, piece.offset, piece.size or 0):
            digest.update(batch)
            whole.update(batch)
        parts.append(Part(piece.name, piece.size or 0, digest.hexdigest()))
    size = sum(part.size for part in parts)
    listed = PartsManifest(shipment.delivery_id, name, size, whole.hexdigest(), tuple(parts))
    path = shipment.workspace / "parts.json"
    write_whole(path, [listed.to_bytes()])
    return path


def _parcel(delivery_id: str, number: int, count: int, piece: _Piece) -> Parcel:
    size = piece.path.stat().st_size if piece.size is None else piece.size
    if size == 0:
        raise FormatError(f"{piece.name} is empty")
    digest = hashlib.sha256()
    for batch in _read(piece.path, piece.offset, size):
        digest.update(batch)
    return Parcel(
        delivery_id, number, count, piece.path, digest.hexdigest(), size, piece.name, piece.offset
    )


def _read(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with open_plain(path) as descriptor:
        for batch in read_slice(descriptor, offset, size):
            yield batch
            size -= len(batch)
    if size:
        raise ContentMismatchError(f"{path.name!r} ends {size} bytes too early")


def _parse_part(value: Json) -> Part:
    fields = value if isinstance(value, dict) else {}
    name, size, digest = fields.get("name"), fields.get("size"), fields.get("sha256")
    if not isinstance(name, str) or not _CLEAN_NAME.fullmatch(name):
        raise FormatError("list of parts holds a name that is not plain [A-Za-z0-9._-]")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= MAX_SAFE_INTEGER:
        raise FormatError(f"{name} has no size above zero")
    if not isinstance(digest, str) or not _HEX64.fullmatch(digest):
        raise FormatError(f"{name} has no sha256 of 64 lower-case hex digits")
    return Part(name, size, digest)


def _find_parts(manifest: PartsManifest, candidates: Iterable[Path]) -> dict[Part, Path]:
    wanted = {(part.size, part.sha256): part for part in manifest.parts}
    sizes = {part.size for part in manifest.parts}
    found: dict[tuple[int, str], Path] = {}
    for path in candidates:
        # Size first: hashing everything in a downloads folder would take minutes.
        if path.is_symlink() or not path.is_file() or path.stat().st_size not in sizes:
            continue
        size = path.stat().st_size
        digest = hashlib.sha256()
        for batch in _read(path, 0, size):
            digest.update(batch)
        if (size, digest.hexdigest()) in wanted:
            found.setdefault((size, digest.hexdigest()), path)
    # Two equal parts (a file of zeros) are one candidate.
    return {
        part: found[key] for part in manifest.parts if (key := (part.size, part.sha256)) in found
    }


def _joined(manifest: PartsManifest, found: dict[Part, Path]) -> Iterator[bytes]:
    whole = hashlib.sha256()
    for part in manifest.parts:
        for batch in _read(found[part], 0, part.size):
            whole.update(batch)
            yield batch
    if whole.hexdigest() != manifest.sha256:
        raise ContentMismatchError("the joined file is not what the list of parts says")
