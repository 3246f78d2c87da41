"""The vault: complete age files, each named after the blake3 of its payload (nonce and chunks).

    payloads/ab/<64 hex>.age    sealed artifacts; `age -d` opens each of them as it is
    sidecars/<candidate>.age    what one intake knew of the plaintext, sealed; until the ledger has it
    incoming/<candidate>.part   being sealed; after a kill: left over, see `intake.resume`

The header may change (another recipient), the payload never does, so its name stays. A sealed blob
proves nothing about who made it: signed statements over plaintext digests do.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

from registry.digest import Digest
from registry.durable import (
    PendingFile,
    atomic_write,
    ensure_directory,
    pending_file,
    remove_durably,
    remove_leftovers,
)
from registry.errors import ContentMismatchError, NotFoundError, UsageError
from registry.limits import READ_BATCH_BYTES
from registry.sealing.seal import read_header

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

SEALED_SUFFIX = ".age"
_CANDIDATE = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HINT_DAMAGED = "restore this object from a backup; its artifact cannot be opened any more"
_HINT_MISSING = "the vault was altered or restored from an old backup: run loraseal fsck"


class Vault:
    """Content-addressed sealed files in one directory, which only this user may enter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._payloads = root / "payloads"
        self._sidecars = root / "sidecars"
        self._incoming = root / "incoming"

    def create(self) -> None:
        """Make the vault's directories; those that are there are left as they are."""
        for directory in (self._payloads, self._sidecars, self._incoming):
            ensure_directory(directory)

    def path_of(self, payload: Digest) -> Path:
        """Return where the sealed file with this payload digest is, or would be."""
        if payload.algorithm != "blake3":
            raise UsageError(f"payloads are named by blake3, not {payload.algorithm}")
        return self._payloads / payload.value[:2] / f"{payload.value}{SEALED_SUFFIX}"

    def holds(self, payload: Digest) -> bool:
        """Return whether there is a sealed file of that name; its content is not looked at."""
        return self.path_of(payload).is_file()

    def open(self, payload: Digest) -> BinaryIO:
        """Open the sealed file for reading, at its age header.

        Raises:
            NotFoundError: the vault does not hold it.
        """
        path = self.path_of(payload)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"the vault has no payload {payload}", hint=_HINT_MISSING
            ) from error
        return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - from a descriptor

    def check(self, payload: Digest) -> None:
        """Read the sealed file and compare its payload with its name.

        Raises:
            NotFoundError: the vault does not hold it.
            FormatError: it does not begin with an age header.
            ContentMismatchError: its payload is not the one that was put.
        """
        with self.open(payload) as sealed:
            found = digest_payload(sealed)
        if found != payload:
            raise ContentMismatchError(
                f"payload in the vault is {found}, expected {payload}", hint=_HINT_DAMAGED
            )

    def delete(self, payload: Digest) -> bool:
        """Remove the sealed file durably; False when there was none. Copies elsewhere live on."""
        return remove_durably(self.path_of(payload))

    def payloads(self) -> Iterator[Digest]:
        """Yield the digest of every sealed file, in order of names."""
        for path in sorted(self._payloads.glob(f"??/*{SEALED_SUFFIX}")):
            if _DIGEST.fullmatch(path.stem) and path.parent.name == path.stem[:2]:
                yield Digest("blake3", path.stem)

    def orphans(self, known: Container[Digest]) -> Iterator[Digest]:
        """Yield every payload that is not in `known`: sealed, and nobody remembers it."""
        return (payload for payload in self.payloads() if payload not in known)

    @contextlib.contextmanager
    def incoming(self, candidate: str) -> Iterator[PendingFile]:
        """Yield a new file to seal into, replacing what an earlier, killed intake left."""
        path = self.incoming_path(candidate)
        remove_durably(path)
        with pending_file(path) as pending:
            yield pending

    def incoming_path(self, candidate: str) -> Path:
        """Return where the intake of `candidate` seals into."""
        return self._incoming / f"{_checked(candidate)}.part"

    def publish(self, pending: PendingFile, payload: Digest) -> Path:
        """Give a sealed file its name in the vault, durably, and return its path."""
        target = self.path_of(payload)
        ensure_directory(target.parent)
        pending.commit(target)
        return target

    def adopt(self, candidate: str, payload: Digest) -> bool:
        """Publish what a killed intake had sealed to the end; False if there is nothing of it.

        The whole file is read: only a payload that has the recorded digest gets its name.
        """
        path = self.incoming_path(candidate)
        if not path.is_file():
            return False
        with path.open("rb", buffering=0) as sealed:
            if digest_payload(sealed) != payload:
                return False
            os.fsync(sealed.fileno())
            pending = PendingFile(sealed, path)
            self.publish(pending, payload)
        return True

    def write_sidecar(self, candidate: str, sealed: bytes) -> None:
        """Keep the sealed notes of one intake durably; an older one is replaced."""
        atomic_write(self._sidecar_path(candidate), sealed)

    def read_sidecar(self, candidate: str) -> bytes | None:
        """Return the sealed notes of one intake, or None."""
        try:
            return self._sidecar_path(candidate).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, candidate: str) -> None:
        """Remove what intake left for `candidate`: the ledger has it, or it was given up."""
        remove_durably(self._sidecar_path(candidate))
        remove_durably(self.incoming_path(candidate))

    def sweep(self) -> int:
        """Remove temporary files of killed writers; return how many. Nobody else may be writing."""
        return remove_leftovers(self._sidecars)

    def unfinished(self) -> tuple[str, ...]:
        """Return the candidates of which a sidecar or an incoming file is left, sorted."""
        left = (*self._sidecars.glob(f"*{SEALED_SUFFIX}"), *self._incoming.glob("*.part"))
        return tuple(sorted({path.stem for path in left if _CANDIDATE.fullmatch(path.stem)}))

    def _sidecar_path(self, candidate: str) -> Path:
        return self._sidecars / f"{_checked(candidate)}{SEALED_SUFFIX}"


def digest_payload(sealed: BinaryIO) -> Digest:
    """Return the blake3 of everything after the age header of `sealed`, which is read to its end.

    Raises:
        FormatError: it does not begin with an age header.
    """
    read_header(sealed)
    hasher = blake3()
    while batch := sealed.read(READ_BATCH_BYTES):
        hasher.update(batch)
    return Digest("blake3", hasher.hexdigest())


def _checked(candidate: str) -> str:
    # It becomes a file name: nothing but an id may.
    if not _CANDIDATE.fullmatch(candidate):
        raise UsageError("a candidate id has 32 lower-case hex digits")
    return candidate
