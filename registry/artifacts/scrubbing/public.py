"""The public rendition of an artifact: its files with scrubbed headers, straight from the opened payload."""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.notes import PayloadForm
from registry.artifacts.scrubbing.configs import scrub_config
from registry.artifacts.scrubbing.files import OriginalHeader
from registry.artifacts.scrubbing.header import scrub_header
from registry.artifacts.scrubbing.rewriting import Extent, RewrittenFile
from registry.errors import FormatError
from registry.formats.containers import MAGIC_BYTES
from registry.formats.safetensors import header_length, parse_header
from registry.limits import ADAPTER_CONFIG_BYTES, READ_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.scrubbing.header import ScrubRules
    from registry.formats.manifest import Manifest

WEIGHTS_SUFFIX = ".safetensors"
CONFIG_NAME = "adapter_config.json"
# OneTrainer: textual inversions saved with the adapter, under their own names.
EMBEDDED_TOKENS = "bundle_emb."


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """The files to take in under (path inside, content), and the headers that they had before."""

    files: tuple[tuple[str, RewrittenFile], ...]
    originals: tuple[OriginalHeader, ...]


def public_files(
    descriptor: int, form: PayloadForm, manifest: Manifest, rules: ScrubRules
) -> PublicFiles:
    """Return the files of an opened payload as they may be published.

    `descriptor` is sealed memory, which must stay open while they are read; `manifest` is the signed
    one. Weights keep their body; an adapter_config.json keeps what says how they are computed with; what
    else is there (a tokenizer) stays as it is.

    Raises:
        FormatError: the payload is not what the manifest says, or a header or config is malformed.
    """
    extents = dict(_extents(descriptor, form, manifest))
    files, originals = [], []
    names: list[str] = []
    for entry in manifest.entries:
        extent = extents.get(entry.path)
        if extent is None or extent.size != entry.size:
            raise FormatError("the payload does not hold the files of its manifest")
        if entry.path.endswith(WEIGHTS_SUFFIX):
            original, file = _scrubbed(entry.path, extent, entry.sha256, rules)
            originals.append(original)
            names += _tensor_names(original)
            files.append((entry.path, file))
    # A config names modules: it is held against the names of all tensors.
    files += [
        (entry.path, _side_file(entry.path, extents[entry.path], names))
        for entry in manifest.entries
        if not entry.path.endswith(WEIGHTS_SUFFIX)
    ]
    return PublicFiles(tuple(files), tuple(originals))


def whole_files(
    descriptor: int, form: PayloadForm, manifest: Manifest
) -> tuple[tuple[str, RewrittenFile], ...]:
    """Return the files of an opened payload as they are, with the sizes that `manifest` says.

    Raises:
        FormatError: the payload does not hold the files of the manifest.
    """
    extents = dict(_extents(descriptor, form, manifest))
    sizes = {entry.path: entry.size for entry in manifest.entries}
    if {path: extent.size for path, extent in extents.items()} != sizes:
        raise FormatError("the payload does not hold the files of its manifest")
    return tuple((path, RewrittenFile(path, b"", extents[path], 0)) for path in sizes)


def _tensor_names(original: OriginalHeader) -> list[str]:
    """Return the names of the tensors.

    Raises:
        FormatError: one holds an embedded token, which the weights' header has to name.
    """
    names = [tensor.name for tensor in parse_header(original.header, file_size=None).tensors]
    if any(name.startswith(EMBEDDED_TOKENS) for name in names):
        raise FormatError(
            "tensors are named after embedded tokens, which no public form can leave out",
            hint="save the adapter without its embeddings",
        )
    return names


def _extents(
    descriptor: int, form: PayloadForm, manifest: Manifest
) -> Iterator[tuple[str, Extent]]:
    if form is PayloadForm.RAW:
        yield manifest.entries[0].path, Extent(descriptor, 0, os.fstat(descriptor).st_size)
        return
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    yield member.name, Extent(descriptor, member.offset_data, member.size)
        except tarfile.TarError as error:
            raise FormatError("the payload is not a sound tar") from error


def _scrubbed(
    path: str, extent: Extent, file_sha256: str, rules: ScrubRules
) -> tuple[OriginalHeader, RewrittenFile]:
    prefix = extent.read_at(0, MAGIC_BYTES)
    length = header_length(prefix, file_size=extent.size)
    old = extent.read_at(0, length)
    body_sha256 = _body_digest(extent, length)
    scrubbed = scrub_header(parse_header(old, file_size=extent.size), body_sha256, rules)
    original = OriginalHeader(old, file_sha256, body_sha256)
    return original, RewrittenFile(path, scrubbed.data, extent, length)


def _body_digest(extent: Extent, start: int) -> str:
    hasher = hashlib.sha256()
    while batch := extent.read_at(start, READ_BATCH_BYTES):
        hasher.update(batch)
        start += len(batch)
    return hasher.hexdigest()


def _side_file(path: str, extent: Extent, tensors: list[str]) -> RewrittenFile:
    if path.rpartition("/")[2] != CONFIG_NAME or extent.size > ADAPTER_CONFIG_BYTES:
        return RewrittenFile(path, b"", extent, 0)
    data, _ = scrub_config(extent.read_at(0, extent.size), tensors)
    return RewrittenFile(path, data, extent, extent.size)
