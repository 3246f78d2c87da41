"""Intake: one pass over the open files of one artifact, from a trainer's folder into the vault.

Every batch is read once, and digested and sealed from that same memory; plaintext is never written.
What is audited and delivered later is what was sealed here, whatever the path holds by then.

In this order, so that a kill at any instant loses nothing: seal into `incoming/`, fsync; write the
sealed notes; give the payload its name. `resume` finishes or finds what a killed `take_in` had begun.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from registry.artifacts.archive import Member, tar_batches
from registry.artifacts.digesting import WEIGHTS_SUFFIX, FilePass, WeightsHead, read_head
from registry.artifacts.ecosystem import known_hashes
from registry.artifacts.notes import Glimpse, IntakeResult, PayloadForm
from registry.artifacts.reading import OpenFile, open_source
from registry.artifacts.tensor_digest import tensor_set_digest
from registry.digest import Digest
from registry.errors import FormatError
from registry.formats.manifest import Manifest, ManifestEntry, check_relative_path
from registry.limits import ADAPTER_CONFIG_BYTES, INTAKE_FILES, INTAKE_NOTES_BYTES
from registry.sealing.batches import Crew
from registry.sealing.seal import open_bytes, seal, seal_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from registry.artifacts.digesting import FileDigests
    from registry.artifacts.vault import Vault
    from registry.durable import PendingFile
    from registry.sealing.identities import Identity, Recipient

ADAPTER_CONFIG = "adapter_config.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IntakeSource:
    """What to take: (path inside the artifact, absolute path) of each file, and the folder they are in.

    No file is reached through a symbolic link below `root`.
    """

    root: Path
    files: tuple[tuple[str, Path], ...]

    @classmethod
    def of_file(cls, path: Path, *, root: Path | None = None) -> IntakeSource:
        """Return the source of a one-file artifact, under the file's own name."""
        return cls(root or path.parent, ((path.name, path),))

    @classmethod
    def of_folder(
        cls, folder: Path, names: Sequence[str], *, root: Path | None = None
    ) -> IntakeSource:
        """Return the source of an artifact whose files lie at `names` (relative, POSIX) in `folder`."""
        return cls(root or folder, tuple((name, folder / name) for name in names))


def take_in(
    source: IntakeSource, vault: Vault, recipients: Sequence[Recipient], candidate: str
) -> IntakeResult:
    """Seal the files of `source` into the vault for `recipients` and return what was learnt of them.

    Needs public recipients only. When it returns, payload and sealed notes survive a power cut; when it
    raises, the vault is as it was. A second call for one candidate seals a second payload: after a
    restart ask `resume` first. The ledger having it, call `vault.forget(candidate)`.

    Raises:
        SourceChangedError: written or replaced meanwhile; as it is now, it is another candidate.
        SourceBusyError: open for writing, perhaps unchanged; try the same candidate again later.
        SourceVanishedError, SourceUnreadableError, SourceRefusedError: see `open_source`.
        FormatError: a weights file is broken or not safetensors, an unsafe path, too many files.
        LorasealError: disk full and the like, with what to do.
    """
    check_names([name for name, _ in source.files])
    with ExitStack() as stack:
        opened = (
            (name, stack.enter_context(open_source(path, root=source.root)))
            for name, path in source.files
        )
        return take_in_opened(opened, vault, recipients, candidate)


def take_in_opened(
    opened: Iterable[tuple[str, OpenFile]],
    vault: Vault,
    recipients: Sequence[Recipient],
    candidate: str,
    *,
    also_known: Iterable[tuple[str, str]] = (),
) -> IntakeResult:
    """Seal files that are open already, each with its path inside the artifact, as `take_in` does.

    `also_known` are more (algorithm, hex value) pairs under which others may ask for the artifact.
    `check_names` has seen the names.

    Raises:
        SourceChangedError, SourceBusyError, FormatError, LorasealError: see `take_in`.
    """
    parts = [_part(name, source) for name, source in opened]
    with vault.incoming(candidate) as pending:
        result = _seal_parts(parts, pending, recipients)
        if also_known := tuple(also_known):
            result = replace(result, hashes=tuple(sorted({*result.hashes, *also_known})))
        vault.write_sidecar(candidate, seal_bytes(result.to_notes(), recipients))
        vault.publish(pending, result.payload_digest)
    log.info("artifact sealed", extra={"candidate": candidate, "artifact": result.artifact_id})
    return result


def resume(vault: Vault, identities: Sequence[Identity], candidate: str) -> IntakeResult | None:
    """Return what an earlier `take_in` of `candidate` sealed, finishing it if it was killed.

    None means that nothing usable is left: take it in (again). Notes only say what to look for in the
    vault; digests of plaintext are proved later, by whoever opens the payload.

    Raises:
        CannotDecryptError: the notes are sealed to another registry.
    """
    sealed = vault.read_sidecar(candidate)
    if sealed is None:
        return None
    try:
        notes = open_bytes(sealed, identities, max_bytes=INTAKE_NOTES_BYTES)
        result = IntakeResult.from_notes(notes)
    except FormatError:
        log.warning("intake notes are damaged; taking in again", extra={"candidate": candidate})
        return None
    if vault.holds(result.payload_digest) or vault.adopt(candidate, result.payload_digest):
        return result
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the artifact on its way: open, its header read, its pass not yet begun."""

    name: str
    source: OpenFile
    head: WeightsHead | None
    side: bytes | None
    work: FilePass

    def glimpse(self, digests: FileDigests) -> Glimpse | None:
        """Return what inspection will want of it, after the pass."""
        if self.head is not None and digests.weights is not None:
            scalars = digests.weights.scalars
            return Glimpse(self.name, digests.size, self.head.header_bytes, scalars)
        return None if self.side is None else Glimpse(self.name, digests.size, self.side)


def _part(name: str, opened: OpenFile) -> _Part:
    try:
        head = read_head(opened) if name.endswith(WEIGHTS_SUFFIX) else None
    except FormatError as error:
        # A file that is being written looks broken; say what it is only if it stood still.
        opened.check_unchanged()
        raise FormatError(f"{str(opened.path)!r}: {error}", hint=error.hint) from error
    side = _small_side_file(name, opened)
    return _Part(name, opened, head, side, FilePass(opened, head, seen=side or b""))


def _small_side_file(name: str, source: OpenFile) -> bytes | None:
    if Path(name).name != ADAPTER_CONFIG or source.size > ADAPTER_CONFIG_BYTES:
        return None
    return source.read_at(0, source.size)


def _seal_parts(
    parts: Sequence[_Part], pending: PendingFile, recipients: Sequence[Recipient]
) -> IntakeResult:
    form = PayloadForm.RAW if len(parts) == 1 else PayloadForm.TAR
    hasher = blake3()
    with Crew() as crew:
        batches = parts[0].work.batches(crew) if form is PayloadForm.RAW else _tar(parts, crew)
        sealed = seal(
            batches, pending.stream, recipients, payload_observer=hasher.update, crew=crew
        )
    pending.settle()
    for part in parts:
        # Once more for the set: an early file may have changed while a later one was read.
        part.source.check_unchanged()
    payload = Digest("blake3", hasher.hexdigest())
    return _result(parts, payload, sealed.payload_bytes, form)


def _tar(parts: Sequence[_Part], crew: Crew) -> Iterator[bytes | memoryview]:
    return tar_batches(
        Member(part.name, part.source.size, partial(part.work.batches, crew)) for part in parts
    )


def _result(
    parts: Sequence[_Part], payload: Digest, payload_bytes: int, form: PayloadForm
) -> IntakeResult:
    digests = [(part, part.work.digests()) for part in parts]
    entries = [ManifestEntry(part.name, found.size, found.sha256) for part, found in digests]
    weights = [found.weights for _, found in digests if found.weights is not None]
    tensors = tensor_set_digest(record for one in weights for record in one.records)
    glimpses = (part.glimpse(found) for part, found in digests)
    hashes = {pair for _, found in digests for pair in known_hashes(found)}
    if weights:
        hashes.add(("tensors", tensors.value))
    return IntakeResult(
        manifest=Manifest.of(entries),
        payload_digest=payload,
        payload_bytes=payload_bytes,
        payload_form=form,
        body_sha256=weights[0].body_sha256 if len(weights) == 1 else None,
        tensors_digest=tensors if weights else None,
        hashes=tuple(sorted(hashes)),
        glimpses=tuple(glimpse for glimpse in glimpses if glimpse is not None),
        leased=all(part.source.leased for part in parts),
    )


def check_names(names: Sequence[str]) -> None:
    """Check the paths inside one artifact: how many, none twice, none that leads out of a folder.

    Raises:
        FormatError: they are not those of one artifact.
    """
    if not 0 < len(names) <= INTAKE_FILES:
        raise FormatError(
            f"artifact has {len(names)} files, expected 1 to {INTAKE_FILES}",
            hint="give the folder of one adapter, not a folder of many",
        )
    if len(set(names)) != len(names):
        raise FormatError("a path stands twice in one artifact")
    for name in names:
        check_relative_path(name)
