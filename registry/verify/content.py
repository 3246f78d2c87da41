"""Steps 7 and 8 for what lies on the disk: a sealed file, the opened file, or its folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry.digest import sha256_of
from registry.errors import ContentMismatchError, InconclusiveError, LorasealError, NotFoundError
from registry.formats.age_armor import ARMOR_BEGIN
from registry.formats.age_header import VERSION_LINE
from registry.sealing.seal import Opened, open_sealed, read_header
from registry.verify.payload import Destination, Writer, compare, take_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.formats.manifest import Manifest
    from registry.formats.predicates.delivery import Delivery
    from registry.sealing.identities import Identity

_PIECE_BYTES = 512 * 1024
_LISTED = 5


class ContentKind(StrEnum):
    """What a recipient has in hand."""

    SEALED = "sealed"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class FolderAnswer:
    """A folder that holds every signed file unchanged; `extra` are files that nobody signed."""

    files: int
    extra: tuple[str, ...]


def kind_of(path: Path) -> ContentKind:
    """Return what `path` is.

    Raises:
        NotFoundError: there is nothing.
        LorasealError: neither a file nor a folder.
    """
    if path.is_dir():
        return ContentKind.FOLDER
    with open_file(path) as stream:
        first = stream.read(max(len(VERSION_LINE), len(ARMOR_BEGIN)))
    sealed = first.startswith((VERSION_LINE, ARMOR_BEGIN))
    return ContentKind.SEALED if sealed else ContentKind.FILE


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file for reading, unbuffered where it matters: batches are read whole.

    Raises:
        NotFoundError: there is nothing.
        LorasealError: not a plain file, or this user may not read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {str(path)!r}") from error
    except OSError as error:
        reason = (error.strerror or "").lower()
        hint = "ask its owner for read permission" if error.errno == errno.EACCES else None
        raise LorasealError(f"cannot read {str(path)!r}: {reason}", hint=hint) from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LorasealError(f"{str(path)!r} is neither a file nor a folder")
        yield stream


def check_header(header_bytes: bytes, delivery: Delivery) -> None:
    """Refuse a sealed file whose header is not the delivered one (step 7).

    Raises:
        ContentMismatchError: another header: altered, re-wrapped by someone, or another delivery.
    """
    if not hmac.compare_digest(sha256_of(header_bytes).value, delivery.header_digest):
        raise ContentMismatchError(
            "the sealed file's header is not the one that was signed for this delivery",
            hint="does this bundle belong to this file? else ask the sender for both again",
        )


def open_delivered(stream: BinaryIO, delivery: Delivery, identities: Sequence[Identity]) -> Opened:
    """Return the sealed file opened, its header checked; the payload is still to be taken.

    The header's digest is judged before a key touches it: so a damaged header is content mismatch,
    never "not for you".

    Raises:
        ContentMismatchError, CannotDecryptError, FormatError: as the causes say.
    """
    start = stream.tell()
    check_sealed_header(stream, delivery)
    stream.seek(start)
    return open_sealed(stream, identities)


def check_sealed_header(stream: BinaryIO, delivery: Delivery) -> None:
    """Check the header of a sealed file; `stream` is then at its payload.

    Raises:
        ContentMismatchError: another header than was signed.
        FormatError: no age file.
    """
    check_header(read_header(stream)[1], delivery)


def check_sealed_payload(stream: BinaryIO, delivery: Delivery) -> None:
    """Check the payload bytes of a sealed file that cannot be opened here, by their digest.

    This shows that they are those that the registry signed; the content stays unseen.

    Raises:
        ContentMismatchError: other payload bytes.
        InconclusiveError: BLAKE3 is not installed, so the payload was not looked at.
    """
    try:
        from blake3 import blake3  # not at module level: the verifier loads cryptography only
    except ImportError as error:
        raise InconclusiveError(
            "the sealed content was not checked",
            hint="give your identity (-i) so that it can be opened, or verify the opened file",
        ) from error
    digest = blake3()
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
    if not hmac.compare_digest(digest.hexdigest(), delivery.payload_digest.value):
        raise ContentMismatchError(
            "the sealed payload is not the one that was signed for this delivery",
            hint="it was cut off or altered on its way: ask the sender for it again",
        )


class Nowhere(Destination):
    """Takes files and keeps nothing: for checking without opening to disk."""

    @contextlib.contextmanager
    def file(self, path: str) -> Iterator[Writer]:
        """Return a writer that forgets."""
        yield _forget


def check_opened(opened: Opened, delivery: Delivery) -> None:
    """Read the opened payload to its end and compare every file, without writing any.

    Raises:
        ContentMismatchError: altered, truncated, or other files.
    """
    take_payload(opened.batches, delivery, Nowhere())


def check_file(path: Path, manifest: Manifest) -> str:
    """Return the signed path of the opened file at `path`; its own name does not matter.

    Raises:
        ContentMismatchError: it is none of the signed files.
    """
    with open_file(path) as stream:
        size, sha256 = _measure(stream)
    for entry in manifest.entries:
        if (entry.size, entry.sha256) == (size, sha256):
            return entry.path
    if len(manifest.entries) == 1:
        compare(manifest.entries[0], size, sha256)
    raise ContentMismatchError(
        f"{path.name!r} is none of the {len(manifest.entries)} signed files",
        hint="do not use it; does this bundle belong to this file?",
    )


def check_folder(path: Path, manifest: Manifest) -> FolderAnswer:
    """Return what the folder holds once every signed file is there, unchanged.

    Raises:
        ContentMismatchError: files are missing or changed; both are listed apart.
    """
    missing: list[str] = []
    changed: list[str] = []
    for entry in manifest.entries:
        found = _measure_inside(path, entry.path)
        if found is None:
            missing.append(entry.path)
        elif found != (entry.size, entry.sha256):
            changed.append(entry.path)
    if missing or changed:
        parts = [_listed("missing", missing), _listed("changed", changed)]
        raise ContentMismatchError(
            f"folder {path.name!r}: {'; '.join(part for part in parts if part)}",
            hint="do not use it; open the sealed file again, or ask the sender for it",
        )
    signed = {entry.path for entry in manifest.entries}
    extra = sorted(item for item in _files_in(path) if item not in signed)
    return FolderAnswer(len(signed), tuple(extra))


def _measure(stream: BinaryIO) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _measure_inside(folder: Path, relative: str) -> tuple[int, str] | None:
    path = folder / relative
    # A link could lead to the right bytes today and to others tomorrow.
    if any(part.is_symlink() for part in (path, *_parents(path, folder))) or not path.is_file():
        return None
    with open_file(path) as stream:
        return _measure(stream)


def _parents(path: Path, folder: Path) -> Iterator[Path]:
    return (parent for parent in path.parents if parent != folder and folder in parent.parents)


def _files_in(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _listed(word: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{word} {shown}{more}"


def _forget(_piece: memoryview, /) -> None:
    return None
