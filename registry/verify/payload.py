"""Step 8: plaintext against the signed files, while it streams. Nothing is trusted before the end."""

from __future__ import annotations

import hashlib
import hmac
import tarfile
from contextlib import AbstractContextManager, closing
from typing import IO, TYPE_CHECKING, Protocol, cast

from registry.errors import ContentMismatchError
from registry.formats.predicates.delivery import FORM_RAW
from registry.sealing.batches import Crew
from registry.verify.tar_source import TarSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from registry.formats.manifest import Manifest, ManifestEntry
    from registry.formats.predicates.delivery import Delivery

_PIECE_BYTES = 512 * 1024
# Headers and padding of one member: a pax header for a long name needs a few blocks, not megabytes.
_TAR_MEMBER_BYTES = 64 * 1024
_DAMAGED = "do not use it; ask the sender for the sealed file again"


class Writer(Protocol):
    """Takes the content of one file, piece by piece."""

    def __call__(self, piece: memoryview, /) -> object:
        """Take `piece`, whose memory is filled again after the call."""
        ...


class Destination(Protocol):
    """Where the files of a payload go."""

    def file(self, path: str) -> AbstractContextManager[Writer]:
        """Return a writer for the file at the relative `path`, a path of the signed manifest."""
        ...


def take_payload(
    batches: Generator[memoryview, None, None], delivery: Delivery, destination: Destination
) -> None:
    """Give the files in `batches` to `destination`, and return if they are exactly the signed ones.

    What `destination` got before an error must be thrown away.

    Raises:
        ContentMismatchError: altered, truncated, other files, or more than was signed.
        OSError: what `destination` raised.
    """
    with closing(batches) as plain:
        if delivery.form == FORM_RAW:
            with destination.file(delivery.files[0].path) as write:
                _take_raw(plain, delivery.files[0], write)
        else:
            _take_tar(plain, delivery.manifest, destination)


def compare(entry: ManifestEntry, size: int, sha256: str) -> None:
    """Refuse content that is not the signed one.

    Raises:
        ContentMismatchError: another size or digest.
    """
    if size != entry.size:
        raise ContentMismatchError(
            f"{entry.path!r} has {size} bytes, expected {entry.size}", hint=_DAMAGED
        )
    if not hmac.compare_digest(sha256, entry.sha256):
        raise ContentMismatchError(
            f"{entry.path!r} has sha256 {sha256[:16]}…, expected {entry.sha256[:16]}…",
            hint=_DAMAGED,
        )


def _take_raw(plain: Iterator[memoryview], entry: ManifestEntry, write: Writer) -> None:
    digest, size = hashlib.sha256(), 0
    # Hashed beside: decrypting and writing go on meanwhile.
    with Crew() as crew, closing(crew.observed(plain, digest.update)) as hashed:
        for batch in hashed:
            size += len(batch)
            # Early: a payload that was exchanged may be of any length, and fill the disk.
            if size > entry.size:
                raise ContentMismatchError(
                    f"{entry.path!r} is longer than the signed {entry.size} bytes", hint=_DAMAGED
                )
            write(batch)
    compare(entry, size, digest.hexdigest())


def _take_tar(plain: Iterator[memoryview], manifest: Manifest, destination: Destination) -> None:
    missing = {entry.path: entry for entry in manifest.entries}
    source = TarSource(plain, allowed=2 * _PIECE_BYTES)
    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", source), mode="r|", bufsize=_PIECE_BYTES
        ) as archive:
            while True:
                source.allow(_TAR_MEMBER_BYTES)
                member = archive.next()
                if member is None:
                    break
                source.allow(_checked(member, missing).size)
                _take_member(archive, member, missing.pop(member.name), destination)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ContentMismatchError("the archive inside is damaged", hint=_DAMAGED) from error
    source.drain(_PIECE_BYTES)
    if missing:
        raise ContentMismatchError(
            f"{len(missing)} of {len(manifest.entries)} signed files are missing", hint=_DAMAGED
        )


def _checked(member: tarfile.TarInfo, missing: dict[str, ManifestEntry]) -> ManifestEntry:
    # A path is only ever written if the signed manifest has it: no link, no `..`, nothing twice.
    entry = missing.get(member.name)
    if entry is None or not member.isreg():
        raise ContentMismatchError(
            "the archive inside holds something that is not a signed file", hint=_DAMAGED
        )
    if member.size != entry.size:
        raise ContentMismatchError(
            f"{entry.path!r} has {member.size} bytes, expected {entry.size}", hint=_DAMAGED
        )
    return entry


def _take_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    entry: ManifestEntry,
    destination: Destination,
) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise ContentMismatchError(f"{entry.path!r} has no content", hint=_DAMAGED)
    digest, size = hashlib.sha256(), 0
    with destination.file(entry.path) as write:
        while piece := content.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            write(memoryview(piece))
    compare(entry, size, digest.hexdigest())
