"""Scrub and restore files: a new header before the same body, written beside and never in place.

The trainer's file is only read. What is written appears once it is complete, and only if its body is
the one that was hashed; a restored file only if it has the sha256 that it had before.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from registry.artifacts.digesting import FilePass, WeightsHead, read_head
from registry.artifacts.reading import Source, open_source
from registry.artifacts.scrubbing.header import ScrubbedHeader, scrub_header
from registry.durable import (
    pending_file,
    refuse_existing,
    storage_errors,
    temporary_beside,
    write_all,
)
from registry.errors import ContentMismatchError, FormatError, UsageError
from registry.formats.safetensors import parse_header
from registry.sealing.batches import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registry.artifacts.scrubbing.header import ScrubRules

_MAGIC = b"loraseal/original-header/v1\n"
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class OriginalHeader:
    """The header that a file had, and the digests (sha256, hex) of the file and of its body."""

    header: bytes = field(repr=False)
    file_sha256: str
    body_sha256: str

    def to_bytes(self) -> bytes:
        """Return the plaintext of a kept original, which is always sealed: magic, two digests, header."""
        digests = bytes.fromhex(self.file_sha256 + self.body_sha256)
        return _MAGIC + digests + self.header

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the original that `to_bytes` wrote.

        Raises:
            FormatError: it is something else, or its header is not sound.
        """
        if not data.startswith(_MAGIC):
            raise FormatError(
                "this is no original header", hint="give what --original FILE had written"
            )
        digests = data[len(_MAGIC) :][: 2 * _SHA256_BYTES]
        header = data[len(_MAGIC) + 2 * _SHA256_BYTES :]
        parse_header(header, file_size=None)
        return cls(header, digests[:_SHA256_BYTES].hex(), digests[_SHA256_BYTES:].hex())


@dataclass(frozen=True, slots=True)
class ScrubPlan:
    """What a scrub would write; `size` counts the bytes of the new file."""

    original: OriginalHeader
    scrubbed: ScrubbedHeader
    size: int


def plan_scrub(path: Path, rules: ScrubRules) -> ScrubPlan:
    """Return what a scrub of the file `path` would change; it is read once.

    Raises:
        UsageError: the rules name a key that the header does not have.
        FormatError: not sound safetensors, or a kept config is malformed.
        SourceVanishedError, SourceUnreadableError, SourceRefusedError, SourceChangedError,
            SourceBusyError: see `registry.artifacts.reading`.
    """
    with open_source(path) as source:
        return _plan(source, rules)


def scrub_file(
    path: Path, output: Path, rules: ScrubRules, keep: Callable[[OriginalHeader], object]
) -> ScrubPlan:
    """Write `path` to `output` with a scrubbed header and return what changed.

    `keep` is given the original header once it is known, and before anything has the name `output`: if
    it raises, nothing was written, so that no original is lost.

    Raises:
        UsageError: `output` exists.
        FormatError and the errors of reading: as `plan_scrub`; storage errors as `registry.durable`.
    """
    _check_output(path, output)
    with open_source(path) as source:
        plan = _plan(source, rules)
        keep(plan.original)
        _write(source, len(plan.original.header), plan.scrubbed.data, output, None)
    return plan


def file_digests(path: Path) -> tuple[str, str]:
    """Return the sha256 in hex of the safetensors file `path` and of its body, from one read.

    Raises:
        FormatError and the errors of reading: as `plan_scrub`.
    """
    with open_source(path) as source:
        return _digests(source, read_head(source))


def restore_file(path: Path, output: Path, original: OriginalHeader) -> int:
    """Write `path` to `output` under the header that it had; return the number of bytes.

    Raises:
        UsageError: `output` exists.
        ContentMismatchError: the body is another one, or the header does not belong to it.
        FormatError and the errors of reading: as `plan_scrub`; storage errors as `registry.durable`.
    """
    _check_output(path, output)
    with open_source(path) as source:
        head = read_head(source)
        old = parse_header(original.header, file_size=None)
        if old.body_bytes != head.header.body_bytes:
            raise ContentMismatchError(
                "the original header describes other weights than this file has",
                hint="give the scrubbed file that it belongs to",
            )
        return _write(source, len(head.header_bytes), original.header, output, original.file_sha256)


def _plan(source: Source, rules: ScrubRules) -> ScrubPlan:
    head = read_head(source)
    file_sha256, body_sha256 = _digests(source, head)
    _check_keys(rules, {key for key, _ in head.header.metadata})
    scrubbed = scrub_header(head.header, body_sha256, rules)
    original = OriginalHeader(head.header_bytes, file_sha256, body_sha256)
    return ScrubPlan(original, scrubbed, len(scrubbed.data) + head.header.body_bytes)


def _check_keys(rules: ScrubRules, there: set[str]) -> None:
    # A misspelt --drop would hand on what was to go.
    for key in (*rules.keep, *rules.drop):
        if key not in there:
            near = difflib.get_close_matches(key, there, n=1)
            hint = (
                f"did you mean {near[0]!a}?"
                if near
                else "see --dry-run for the keys that are there"
            )
            raise UsageError(f"the header has no key {key!a}", hint=hint)


def _digests(source: Source, head: WeightsHead) -> tuple[str, str]:
    work = FilePass(source, head)
    with Crew() as crew:
        for _batch in work.batches(crew):
            pass
    done = work.digests()
    return done.sha256, done.weights.body_sha256 if done.weights is not None else ""


def _write(source: Source, skip: int, header: bytes, output: Path, expected: str | None) -> int:
    """Write `header` and what `source` has after its first `skip` bytes; return the number of bytes."""
    hasher, written = hashlib.sha256(header), len(header)
    with pending_file(temporary_beside(output)) as pending:
        with storage_errors(output):
            write_all(pending.stream, header)
        for batch in _after(source, skip):
            hasher.update(batch)
            write_all(pending.stream, batch)
            written += len(batch)
        if expected is not None and hasher.hexdigest() != expected:
            raise ContentMismatchError(
                "the restored file does not have the sha256 that the original had",
                hint="these are other weights, or the kept header was changed: nothing was written",
            )
        # Checked again: somebody may have made the file meanwhile.
        refuse_existing(output)
        pending.commit(output)
    return written


def _after(source: Source, skip: int) -> Iterator[memoryview]:
    for batch in source.batches():
        yield batch[min(skip, len(batch)) :]
        skip = max(0, skip - len(batch))


def _check_output(path: Path, output: Path) -> None:
    refuse_existing(output)
    with storage_errors(output):
        if output.is_dir():
            raise UsageError(f"output {str(output)!r} is a folder", hint="name a file in it")
    if output.resolve() == path.resolve():
        raise UsageError(f"output {str(output)!r} is the file that is read", hint="name another")
