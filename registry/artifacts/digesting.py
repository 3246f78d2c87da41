"""One pass over one open file: every batch is read once, and all digests are made from that memory.

Each digest is an observer of its own; a `Crew` shares them out over the processors there are.
"""

from __future__ import annotations

import hashlib
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from registry.artifacts.reading import OpenFile, SourceChangedError
from registry.artifacts.tensor_digest import TensorHasher
from registry.artifacts.windows import WINDOW_START, Window, legacy_window_start
from registry.formats.containers import MAGIC_BYTES
from registry.formats.safetensors import SafetensorsHeader, header_length, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.sealing.batches import Crew

WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class WeightsHead:
    """The header of a safetensors file, parsed, and the bytes that it was parsed from (8 + N)."""

    header: SafetensorsHeader
    header_bytes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WeightsDigests:
    """What one pass yields of a safetensors file beyond its bytes.

    `body_sha256` is AutoV3 and `sshs_model_hash`; `records` make the canonical tensor digest; `scalars`
    are (offset in the file, bytes) of tensors of at most 16 bytes.
    """

    body_sha256: str
    records: tuple[bytes, ...] = field(repr=False)
    scalars: tuple[tuple[int, bytes], ...] = field(repr=False)
    sshs_legacy: str | None


@dataclass(frozen=True, slots=True)
class FileDigests:
    """What one pass yields of any file; hex, lower-case.

    `crc32` is the plain zlib value, not in Civitai's byte order. `autov1` is what web UIs make of any
    file: where it ends before the window, the digest of nothing.
    """

    size: int
    sha256: str
    blake3: str
    crc32: int
    autov1: str
    weights: WeightsDigests | None


def read_head(source: OpenFile) -> WeightsHead:
    """Return the header of the safetensors file `source`, checked against the file's size.

    Raises:
        FormatError: not a safetensors file, or cut off, or with something appended.
        SourceChangedError: it shrank meanwhile.
    """
    prefix = source.read_at(0, min(MAGIC_BYTES, source.size))
    needed = header_length(prefix, file_size=source.size)
    header_bytes = source.read_at(0, needed)
    if len(header_bytes) < needed:
        source.check_unchanged()
    return WeightsHead(parse_header(header_bytes, file_size=source.size), header_bytes)


class FilePass:
    """Reads a source once, in batches for someone else, and digests what passes.

    `head` is given for a safetensors file; `seen` is what was read of another file before. The pass
    fails unless the same bytes pass by. Take all of `batches()`, then ask for `digests()`.
    """

    def __init__(self, source: OpenFile, head: WeightsHead | None, *, seen: bytes = b"") -> None:
        self._source = source
        self._seen = seen if head is None else head.header_bytes
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3()
        self._crc32 = 0
        self._autov1 = Window(WINDOW_START)
        self._weights = None if head is None else _WeightsPass(head)
        self._whole = False

    def batches(self, crew: Crew) -> Iterator[memoryview]:
        """Yield the content, in memory that is used again (see `registry.sealing.batches`).

        Raises:
            SourceChangedError: the file changed; all that was yielded must be thrown away.
        """
        position = 0
        with closing(crew.observed(self._source.batches(), *self._observers())) as stream:
            for batch in stream:
                self._compare_seen(batch, position)
                position += len(batch)
                yield batch
        self._whole = True

    def digests(self) -> FileDigests:
        """Return the digests of the whole file.

        Raises:
            ValueError: `batches()` was not taken to its end.
        """
        if not self._whole:
            raise ValueError("the file has not wholly passed by")
        return FileDigests(
            size=self._source.size,
            sha256=self._sha256.hexdigest(),
            blake3=self._blake3.hexdigest(),
            crc32=self._crc32,
            autov1=self._autov1.short(),
            weights=None if self._weights is None else self._weights.digests(),
        )

    def _observers(self) -> Iterator[Callable[[memoryview], object]]:
        yield self._sha256.update
        if self._weights is not None:
            yield self._weights.observe_body
            yield self._weights.observe_tensors
        yield self._blake3.update
        yield self._observe_short

    def _compare_seen(self, batch: memoryview, position: int) -> None:
        # Read before the pass, and judged: it must be what is sealed.
        expected = self._seen[position : position + len(batch)]
        if batch[: len(expected)] != expected:
            raise SourceChangedError(
                f"{str(self._source.path)!r} was changed while it was read: its start is another",
                hint="wait until the trainer is done; it is taken again once it is quiet",
            )

    def _observe_short(self, batch: memoryview) -> None:
        self._crc32 = zlib.crc32(batch, self._crc32)
        self._autov1.update(batch)


class _WeightsPass:
    """The part of a pass that a safetensors file needs: two observers, each with a state of its own."""

    def __init__(self, head: WeightsHead) -> None:
        self._header_bytes = len(head.header_bytes)
        self._body = hashlib.sha256()
        self._body_skip = self._header_bytes
        self._tensors = TensorHasher(head.header)
        self._tensors_skip = self._header_bytes
        start = legacy_window_start(head.header)
        self._legacy = None if start is None else Window(start)

    def observe_body(self, batch: memoryview) -> None:
        """Digest what of `batch` is body."""
        self._body.update(batch[self._body_skip :])
        self._body_skip = max(0, self._body_skip - len(batch))

    def observe_tensors(self, batch: memoryview) -> None:
        """Digest what of `batch` is body, tensor by tensor."""
        body = batch[self._tensors_skip :]
        self._tensors_skip = max(0, self._tensors_skip - len(batch))
        if self._legacy is not None:
            self._legacy.update(body)
        self._tensors.update(body)

    def digests(self) -> WeightsDigests:
        """Return what there is at the end of the file."""
        scalars = tuple((self._header_bytes + at, data) for at, data in self._tensors.scalars())
        return WeightsDigests(
            body_sha256=self._body.hexdigest(),
            records=self._tensors.records(),
            scalars=scalars,
            sshs_legacy=None if self._legacy is None else self._legacy.short(),
        )
