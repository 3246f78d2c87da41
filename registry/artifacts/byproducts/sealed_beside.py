"""Put a sealed copy, or a trend, beside a file; nothing there is ever replaced.

The copy is durable and was read back from the disk before this returns, so that the original may go. What a
killed run left is taken up again: a copy that holds the same content is found, if the identity is at hand.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

from registry.artifacts.byproducts.removal import open_folder
from registry.artifacts.vault import digest_payload
from registry.durable import (
    PART_SUFFIX,
    atomic_write,
    pending_file,
    remove_durably,
    storage_errors,
    temporary_beside,
)
from registry.errors import ContentMismatchError, LorasealError, UsageError
from registry.limits import AGE_HEADER_BYTES
from registry.sealing.batches import Crew
from registry.sealing.seal import open_sealed, seal
from registry.sealing.stream import sealed_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.artifacts.reading import Source
    from registry.sealing.identities import Identity, Recipient

SEALED_SUFFIX = ".age"
TREND_SUFFIX = ".trend.json"
_MOST_NAMES = 1000
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SealKeys:
    """To whom copies are sealed; with `identity` they are opened again to prove that they hold."""

    recipient: Recipient
    identity: Identity | None = field(default=None, repr=False)


def seal_beside(source: Source, root: Path, keys: SealKeys) -> Path:
    """Return a sealed file beside `source` that holds all of it, mode 0600, made or found.

    `source` lies below `root` and is left as it is. With `keys.identity` the copy was opened and compared,
    else its payload was read back and compared with what was written.

    Raises:
        SourceChangedError, SourceBusyError: it is being written to; no copy is left.
        LorasealError: cannot write there, disk full; no copy is left.
        ContentMismatchError: the disk gave back something else; no copy is left.
    """
    _remove_leftovers(source.path)
    found = _find_copy(source, root, keys)
    if found is not None:
        return found
    target = _free_name(source.path, SEALED_SUFFIX)
    plain, payload = hashlib.sha256(), blake3()
    with Crew() as crew, pending_file(temporary_beside(target)) as pending:
        batches = crew.observed(source.batches(), plain.update)
        seal(batches, pending.stream, [keys.recipient], payload_observer=payload.update, crew=crew)
        pending.commit(target)
    try:
        if keys.identity is not None:
            held = _plain_digest(target, root, keys.identity) == plain.hexdigest()
        else:
            with _opened(target, root) as sealed:
                held = digest_payload(sealed).value == payload.hexdigest()
        if not held:
            raise ContentMismatchError(f"{str(target)!r} does not read back as it was written")
    except LorasealError:
        remove_durably(target)
        raise
    return target


def write_beside(path: Path, data: bytes, suffix: str) -> Path:
    """Write `data` durably under a free name beside `path`; a file that holds it already is kept.

    Raises:
        LorasealError: cannot write there, disk full.
    """
    for taken in _names(path, suffix):
        if not os.path.lexists(taken):
            atomic_write(taken, data)
            return taken
        if not taken.is_symlink() and taken.is_file() and _holds(taken, data):
            return taken
    raise _no_name(path)


def _holds(path: Path, data: bytes) -> bool:
    return path.stat().st_size == len(data) and path.read_bytes() == data


def _names(path: Path, suffix: str) -> Iterator[Path]:
    yield path.with_name(f"{path.name}{suffix}")
    for number in range(2, _MOST_NAMES):
        yield path.with_name(f"{path.name}.{number}{suffix}")


def _free_name(path: Path, suffix: str) -> Path:
    for name in _names(path, suffix):
        if not os.path.lexists(name):
            return name
    raise _no_name(path)


def _no_name(path: Path) -> UsageError:
    return UsageError(
        f"{str(path)!r} has {_MOST_NAMES} copies beside it", hint="move the older ones away"
    )


def _find_copy(source: Source, root: Path, keys: SealKeys) -> Path | None:
    """Return a sealed file beside `source` with the same content; only who can open it can tell."""
    if keys.identity is None:
        return None
    digest = None
    for name in _names(source.path, SEALED_SUFFIX):
        if not os.path.lexists(name):
            return None
        header_bytes = name.lstat().st_size - sealed_size(source.size)
        if not 0 < header_bytes <= AGE_HEADER_BYTES:
            continue
        digest = digest or _source_digest(source)
        try:
            if _plain_digest(name, root, keys.identity) == digest:
                return name
        except LorasealError:
            continue  # somebody else's, or damaged: it stays, and ours gets another name
    return None


def _source_digest(source: Source) -> str:
    digest = hashlib.sha256()
    for batch in source.batches():
        digest.update(batch)
    return digest.hexdigest()


def _plain_digest(sealed: Path, root: Path, identity: Identity) -> str:
    digest = hashlib.sha256()
    with _opened(sealed, root) as stream, closing(open_sealed(stream, [identity]).batches) as plain:
        for batch in plain:
            digest.update(batch)
    return digest.hexdigest()


def _opened(path: Path, root: Path) -> BinaryIO:
    """Open a file that we wrote, from the disk rather than from memory where the system lets us."""
    with open_folder(root, path.relative_to(root)) as folder, storage_errors(path):
        descriptor = os.open(path.name, _FLAGS, dir_fd=folder)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return open(descriptor, "rb")  # noqa: PTH123 - from a descriptor


def _remove_leftovers(path: Path) -> None:
    """Remove what killed runs were sealing or writing for this very file."""
    ours = re.compile(
        rf"\.{re.escape(path.name)}(?:\.\d+)?(?:{re.escape(SEALED_SUFFIX)}|{re.escape(TREND_SUFFIX)})"
        rf"\.[0-9a-f]{{12}}{re.escape(PART_SUFFIX)}"
    )
    with storage_errors(path), os.scandir(path.parent) as entries:
        left = [entry.name for entry in entries if ours.fullmatch(entry.name)]
    for name in left:
        remove_durably(path.with_name(name))
