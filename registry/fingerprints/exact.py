"""Exact names of a file: every digest under which the ecosystem knows it, from one pass.

Byte algorithms: facts/formats.md section 3. These say "the same bytes" or "the same tensors"; what a
header claims of itself is never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.digesting import WEIGHTS_SUFFIX, FilePass, WeightsHead, read_head
from registry.artifacts.ecosystem import civitai_crc32
from registry.artifacts.reading import open_source
from registry.artifacts.tensor_digest import tensor_set_digest
from registry.errors import FormatError, NotFoundError
from registry.formats.manifest import Manifest, ManifestEntry
from registry.limits import MANIFEST_ENTRIES
from registry.sealing.batches import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.artifacts.digesting import FileDigests
    from registry.artifacts.reading import Source

# Civitai leaves AutoV1 out below 2 MiB; web UIs do not, and digest what there is.
CIVITAI_AUTOV1_BYTES = 0x200000
_AUTOV2_DIGITS = 10
_AUTOV3_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ExactNames:
    """All exact names of one file, spelled as their users spell them; None where there is none.

    `autov1`, `autov2`, `autov3`, `crc32` as on Civitai (upper-case); `webui_legacy` as in web UIs. `hf_lfs_oid`
    is Hugging Face's name of the sha256 and `hf_git_blob` its ETag of a small file that is not in LFS.
    `body_sha256` is the long AutoV3 and kohya's `sshs_model_hash`; `tensors` is our canonical tensor digest
    (blake3). `reason` says why a file has no names of weights, or "".
    """

    path: str
    size: int
    sha256: str
    blake3: str
    crc32: str
    autov1: str | None
    autov2: str
    webui_legacy: str
    hf_lfs_oid: str
    hf_git_blob: str | None = None
    autov3: str | None = None
    body_sha256: str | None = None
    sshs_model_hash: str | None = None
    sshs_legacy_hash: str | None = None
    tensors: str | None = None
    reason: str = ""


def name_file(path: Path, *, shown: str | None = None) -> ExactNames:
    """Return the exact names of the file `path`, read once; `shown` is the path to report.

    A file that is not sound safetensors gets the names that any file has, and the reason.

    Raises:
        SourceVanishedError, SourceUnreadableError, SourceRefusedError, SourceChangedError,
            SourceBusyError: see `registry.artifacts.reading`.
    """
    with open_source(path) as source:
        head, reason = _head(source)
        work = FilePass(source, head)
        with Crew() as crew:
            for _batch in work.batches(crew):
                pass
        return _names(shown or path.name, work.digests(), reason)


def name_path(path: Path) -> Iterator[ExactNames]:
    """Yield the names of the file `path`, or of every regular file below the folder `path`, sorted.

    Raises:
        NotFoundError: there is nothing, or no file below it.
        FormatError: more than a manifest's number of files.
    """
    if not path.is_dir():
        yield name_file(path)
        return
    found = sorted(
        (entry for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink()),
        key=lambda entry: entry.relative_to(path).parts,
    )
    if not found:
        raise NotFoundError(f"no file below {str(path)!r}", hint="give a file, or another folder")
    if len(found) > MANIFEST_ENTRIES:
        raise FormatError(f"{len(found)} files below {str(path)!r}, more than {MANIFEST_ENTRIES}")
    for entry in found:
        yield name_file(entry, shown=entry.relative_to(path).as_posix())


def manifest_of(names: tuple[ExactNames, ...]) -> Manifest:
    """Return the manifest of an artifact that consists of exactly these files.

    Raises:
        FormatError: a path that no manifest may hold.
    """
    return Manifest.of([ManifestEntry(one.path, one.size, one.sha256) for one in names])


def search_values(path: Path) -> tuple[str, ...]:
    """Return the full-length digests by which an artifact can be found again, best first.

    Of a folder, those of every file below it. Short names (AutoV1, CRC32) are left out: they collide.

    Raises:
        NotFoundError, FormatError: see `name_path`.
    """
    found = []
    for name in name_path(path):
        tensors = None if name.tensors is None else name.tensors.rpartition(":")[2]
        values = (name.sha256, name.blake3, name.body_sha256, tensors)
        found += [value.lower() for value in values if value is not None]
    return tuple(dict.fromkeys(found))


def _head(source: Source) -> tuple[WeightsHead | None, str]:
    try:
        return read_head(source), ""
    except FormatError as error:
        if source.path.name.endswith(WEIGHTS_SUFFIX):
            return None, str(error)
        return None, "not a safetensors file"


def _names(path: str, digests: FileDigests, reason: str) -> ExactNames:
    weights = digests.weights
    legacy = digests.autov1
    body = None if weights is None else weights.body_sha256
    return ExactNames(
        path=path,
        size=digests.size,
        sha256=digests.sha256,
        blake3=digests.blake3,
        crc32=civitai_crc32(digests.crc32).upper(),
        autov1=legacy.upper() if digests.size >= CIVITAI_AUTOV1_BYTES else None,
        autov2=digests.sha256[:_AUTOV2_DIGITS].upper(),
        webui_legacy=legacy,
        hf_lfs_oid=digests.sha256,
        hf_git_blob=digests.git_blob,
        autov3=None if body is None else body[:_AUTOV3_DIGITS].upper(),
        body_sha256=body,
        sshs_model_hash=body,
        sshs_legacy_hash=None if weights is None else weights.sshs_legacy,
        tensors=None if weights is None else tensor_set_digest(weights.records).value,
        reason=reason,
    )
