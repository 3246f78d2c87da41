"""Open a delivery: to a `.part` first, under its name only once everything holds (PROTOCOL step 10)."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.durable import (
    create,
    discard,
    ensure_directory,
    finish,
    fsync_directory,
    place,
    refuse_existing,
    storage_errors,
    temporary_beside,
    write_all,
)
from registry.errors import UsageError, naming
from registry.formats.predicates.delivery import FORM_RAW
from registry.sealing.seal import Opened, open_sealed
from registry.verify.content import open_file
from registry.verify.payload import Writer, take_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from registry.formats.predicates.delivery import Delivery
    from registry.sealing.identities import Identity

_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"


@dataclass(frozen=True, slots=True)
class OpenedResult:
    """What was opened, and where it is. `verified` is None when there was no bundle to judge it by."""

    out: Path
    size: int
    verified: bool | None
    is_archive: bool


class PendingOutput:
    """Opened and compared, and not there yet: `keep()` gives it its name."""

    def __init__(self, part: Path, out: Path, size: int) -> None:
        self._part = part
        self.out = out
        self.size = size

    def keep(self) -> OpenedResult:
        """Give what was opened its name, durably.

        Raises:
            LorasealError: what the system said.
        """
        place(self._part, self.out)
        return OpenedResult(self.out, self.size, verified=True, is_archive=False)


@contextmanager
def pending_output(opened: Opened, delivery: Delivery, out: Path) -> Iterator[PendingOutput]:
    """Write the payload beside `out`, compare it, and yield it; what is not kept is removed.

    A single file goes to `out`, or into it under its own name if `out` is a folder. Several files
    go to the folder `out`, which must not exist or be empty.

    Raises:
        ContentMismatchError: not the signed content; nothing is left.
        LorasealError: cannot write there, disk full; nothing is left.
    """
    target = _target(delivery, out)
    part = temporary_beside(target)
    try:
        with storage_errors(target):
            _write(opened, delivery, part)
        yield PendingOutput(part, target, sum(entry.size for entry in delivery.files))
    finally:
        discard(part)


def open_unverified(sealed: Path, identities: Sequence[Identity], out: Path) -> OpenedResult:
    """Open a sealed file that comes without a bundle: intact, and made by nobody knows whom.

    `out` gets the payload as it is, which is a tar if several files were sealed.

    Raises:
        FormatError, CannotDecryptError, ContentMismatchError: as `open_sealed`; nothing is left.
        LorasealError: cannot write there.
    """
    target = out / sealed.name.removesuffix(".age") if out.is_dir() else out
    refuse_existing(target)
    part = temporary_beside(target)
    try:
        with open_file(sealed) as source, naming(sealed):
            opened = open_sealed(source, identities)
            with storage_errors(target), create(part) as stream:
                size, start = _copy(opened, stream)
                finish(stream)
        place(part, target)
    finally:
        discard(part)
    is_archive = start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)
    return OpenedResult(target, size, verified=None, is_archive=is_archive)


class _OneFile:
    """A destination for a payload that is one file."""

    def __init__(self, part: Path) -> None:
        self._part = part

    @contextmanager
    def file(self, path: str) -> Iterator[Writer]:
        with _written(self._part) as write:
            yield write


class _Folder:
    """A destination for a payload of several files; creates folders as they are needed."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._made = {part}
        ensure_directory(part)

    @contextmanager
    def file(self, path: str) -> Iterator[Writer]:
        place_at = self._part.joinpath(*PurePosixPath(path).parts)
        ensure_directory(place_at.parent)
        self._made.update(item for item in place_at.parents if self._part in item.parents)
        with _written(place_at) as write:
            yield write

    def finish(self) -> None:
        for folder in self._made:
            fsync_directory(folder)


@contextmanager
def _written(path: Path) -> Iterator[Writer]:
    with create(path) as stream:

        def write(piece: memoryview, /) -> None:
            write_all(stream, piece)

        yield write
        finish(stream)


def _write(opened: Opened, delivery: Delivery, part: Path) -> None:
    if delivery.form == FORM_RAW:
        take_payload(opened.batches, delivery, _OneFile(part))
        return
    folder = _Folder(part)
    take_payload(opened.batches, delivery, folder)
    folder.finish()


def _copy(opened: Opened, stream: BinaryIO) -> tuple[int, bytes]:
    """Write all batches; return their size and how they begin."""
    size, start = 0, b""
    with closing(opened.batches) as plain:
        for batch in plain:
            start = start or bytes(batch[:512])
            write_all(stream, batch)
            size += len(batch)
    return size, start


def _target(delivery: Delivery, out: Path) -> Path:
    if delivery.form == FORM_RAW:
        target = out / delivery.files[0].path if out.is_dir() else out
        refuse_existing(target)
        return target
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"{str(out)!r} is a folder that holds something",
            hint="name a folder that does not exist yet: several files will be put into it",
        )
    return out
