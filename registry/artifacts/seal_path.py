"""Seal one file or folder into an age file, with no registry: what `loraseal seal` does.

A folder becomes the deterministic tar of its regular files. Every batch is hashed and encrypted from
the same memory, so the digests are of what was sealed, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from registry.artifacts.reading import open_source
from registry.durable import pending_file, storage_errors, temporary_beside
from registry.errors import FormatError, NotFoundError, UsageError
from registry.limits import MANIFEST_ENTRIES
from registry.sealing.armor import ArmoredSink
from registry.sealing.batches import Crew
from registry.sealing.seal import seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from registry.artifacts.archive import Member
    from registry.sealing.identities import Recipient

RAW = "raw"
TAR = "tar"

_MODE = 0o644  # ciphertext; the umask still applies


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One file that went in: path inside the folder (or the file's name), size, sha256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SealedPath:
    """What was written: `form` is `raw` for one file, `tar` for a folder; `payload` is a digest."""

    output: Path
    form: str
    files: tuple[SealedFile, ...]
    payload: str
    sealed_bytes: int


def seal_path(
    path: Path, output: Path, recipients: Sequence[Recipient], *, armor: bool = False
) -> SealedPath:
    """Seal the file or folder `path` into `output`, which appears only once it is complete.

    Raises:
        UsageError: `output` would replace the source, is a folder, or lies in the folder to be sealed.
        LorasealError: the source is missing, unreadable, changing or a link; the disk is full.
    """
    _check_output(path, output)
    payload = blake3()
    with Crew() as crew, pending_file(temporary_beside(output), mode=_MODE) as pending:
        packing = _Packing(crew)
        batches = packing.folder(path) if path.is_dir() else packing.file(path, path.name)
        sink = ArmoredSink(pending.stream) if armor else pending.stream
        seal(batches, sink, recipients, payload_observer=payload.update, crew=crew)
        if isinstance(sink, ArmoredSink):
            sink.finish()
        sealed_bytes = pending.stream.tell()
        pending.commit(output)
    form = TAR if path.is_dir() else RAW
    digest = f"blake3:{payload.hexdigest()}"
    return SealedPath(output, form, tuple(packing.done), digest, sealed_bytes)


@dataclass(slots=True)
class _Packing:
    """Reads what is to be sealed and notes the digest of each file that went by whole."""

    crew: Crew
    done: list[SealedFile] = field(default_factory=list)

    def file(self, path: Path, name: str, root: Path | None = None) -> Iterator[bytes | memoryview]:
        """Yield the content of one file."""
        digest = hashlib.sha256()
        with open_source(path, root=root) as source:
            with closing(self.crew.observed(source.batches(), digest.update)) as batches:
                yield from batches
            self.done.append(SealedFile(name, source.size, digest.hexdigest()))

    def folder(self, root: Path) -> Iterator[bytes | memoryview]:
        """Yield the tar of all files under `root`."""
        from registry.artifacts.archive import tar_batches  # loads tarfile: only where it is needed

        return tar_batches([self._member(path, root) for path in _files_of(root)])

    def _member(self, path: Path, root: Path) -> Member:
        from registry.artifacts.archive import Member

        name = path.relative_to(root).as_posix()
        return Member(name, path.lstat().st_size, lambda: self.file(path, name, root))


def _files_of(root: Path) -> list[Path]:
    """Return all that is in `root` and is no folder; whatever is no plain file is refused on reading."""
    found = [path for path in sorted(root.rglob("*")) if path.is_symlink() or not path.is_dir()]
    if not found:
        raise NotFoundError(f"folder {str(root)!r} holds no file", hint="give the adapter's folder")
    if len(found) > MANIFEST_ENTRIES:
        raise FormatError(
            f"folder {str(root)!r} holds {len(found)} files, more than {MANIFEST_ENTRIES}",
            hint="give the adapter's own folder, not the one above it",
        )
    return found


def _check_output(path: Path, output: Path) -> None:
    with storage_errors(output):
        where = output.resolve()
    if where.is_dir():
        raise UsageError(
            f"output {str(output)!r} is a folder", hint="name a file, such as NAME.safetensors.age"
        )
    source = path.resolve()
    if where == source or source in where.parents:
        raise UsageError(
            f"output {str(output)!r} is or lies in what is to be sealed",
            hint="write the sealed file somewhere else",
        )
