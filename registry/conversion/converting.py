"""Conversion of one torch pickle to safetensors: open, hand to the cage, check what came back.

What comes out is bit for bit what went in: the caged process digests every tensor in its storage, and
this process digests every tensor of the file that it got, which it reads with the strict parser.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.artifacts.digesting import read_head
from registry.artifacts.tensor_digest import TensorHasher, tensor_set_digest
from registry.audits.sealed_memory import open_memory, seal_memory
from registry.conversion.cage import run_in_cage
from registry.conversion.memory_source import MemorySource
from registry.conversion.refusals import SAVE_AGAIN, PickleRefusedError, Reason
from registry.conversion.scanning import scanner_version
from registry.conversion.task import ConversionLimits
from registry.conversion.writing import METADATA
from registry.errors import FormatError
from registry.formats.safetensors import dump_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.reading import OpenFile
    from registry.conversion.cage import CageOutcome

PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
CONVERTED_SUFFIX = ".safetensors"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was converted, and how: facts for the ledger and for people, no names from paths.

    Digests are sha256 in hex of the whole files; `tensors_digest` is the canonical one of both.
    `form` is "zip" or "legacy". `unwrapped` is the key that the weights stood under, `dropped` the
    bookkeeping beside them that is not in the result; `shared` and `gathered` count tensors that lay
    in one storage with others, or not in order. `confinement` says what the caged process had given up.
    """

    original_sha256: str
    original_bytes: int
    converted_sha256: str
    converted_bytes: int
    tensors_digest: str
    tensors: int
    form: str
    unwrapped: str | None
    dropped: tuple[str, ...]
    shared: int
    gathered: int
    scanner: str
    confinement: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Converted:
    """A conversion and its result: `content` is sealed memory, open until `convert` is left."""

    facts: Conversion
    content: MemorySource


def converted_name(name: str) -> str:
    """Return the path that the result of `name` has inside an artifact: STEM.safetensors."""
    return str(PurePosixPath(name).with_suffix(CONVERTED_SUFFIX))


def is_pickle_name(name: str) -> bool:
    """Return whether `name` ends as torch's files do; says nothing about the content."""
    return name.lower().endswith(PICKLE_SUFFIXES)


@contextlib.contextmanager
def convert(source: OpenFile, limits: ConversionLimits | None = None) -> Iterator[Converted]:
    """Yield the safetensors form of the torch pickle in `source`; its memory is freed afterwards.

    No plaintext reaches a disk. The pickle is never loaded, here or elsewhere.

    Raises:
        PickleRefusedError: it is not a flat mapping of tensors, is not clean, is too large, or kept
            the caged process from finishing; `reason` says which.
        SourceChangedError, SourceBusyError: the file changed while it was read.
        LorasealError: picklescan is not installed, or no process can be started.
    """
    limits = limits or ConversionLimits()
    scanner = scanner_version()
    if source.size > limits.input_bytes:
        raise PickleRefusedError(
            Reason.LIMIT,
            f"file has {source.size} bytes, more than {limits.input_bytes}",
            hint=SAVE_AGAIN,
        )
    with contextlib.ExitStack() as stack:
        digest, payload = _take(source)
        try:
            result = open_memory()
            stack.callback(os.close, result)
            outcome = run_in_cage(payload, result, limits)
        finally:
            os.close(payload)
        content = MemorySource(converted_name(source.path.name), result)
        facts = _check(content, outcome, (digest, source.size), scanner)
        log.info("pickle converted", extra={"tensors": facts.tensors, "form": facts.form})
        yield Converted(facts, content)


def _take(source: OpenFile) -> tuple[str, int]:
    """Return the sha256 of the file, and its content in sealed memory."""
    hasher = hashlib.sha256()

    def seen() -> Iterator[memoryview]:
        for batch in source.batches():
            hasher.update(batch)
            yield batch

    payload = seal_memory(seen())
    return hasher.hexdigest(), payload


def _check(
    content: MemorySource, outcome: CageOutcome, original: tuple[str, int], scanner: str
) -> Conversion:
    """Return the facts, once the result is a canonical file with the very tensors of the pickle."""
    report = outcome.report
    try:
        head = read_head(content)
    except FormatError as error:
        raise _mismatch(f"the result is no safetensors file: {error}") from error
    if head.header_bytes != dump_header(head.header.tensors, METADATA):
        raise _mismatch("the header of the result is not canonical")
    hasher, tensors = hashlib.sha256(), TensorHasher(head.header)
    skip = head.header.header_bytes
    for batch in content.batches():
        hasher.update(batch)
        tensors.update(batch[skip:])
        skip = max(0, skip - len(batch))
    digest = tensor_set_digest(tensors.records())
    expected = (report.digest, report.tensors, report.size)
    if (digest, len(head.header.tensors), content.size) != expected:
        raise _mismatch("the tensors of the result are not those of the pickle")
    return Conversion(
        original_sha256=original[0],
        original_bytes=original[1],
        converted_sha256=hasher.hexdigest(),
        converted_bytes=content.size,
        tensors_digest=digest.value,
        tensors=report.tensors,
        form=report.form,
        unwrapped=report.unwrapped,
        dropped=report.dropped,
        shared=report.shared,
        gathered=report.gathered,
        scanner=f"picklescan {scanner}",
        confinement=outcome.confinement,
    )


def _mismatch(what: str) -> PickleRefusedError:
    return PickleRefusedError(
        Reason.MISMATCH, what, hint="this is a fault of LoRASeal: report it with the kind of file"
    )
