"""The hashes of one file's weights by plain reads, for who asks whether a header's claims are true.

Intake has them from its one pass (`digesting`); here the file may be read again, so that the order of
the names, in which one trainer hashes, is no obstacle.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

from registry.artifacts.claims import BodyHashes
from registry.artifacts.digesting import read_head
from registry.artifacts.windows import Window, legacy_window_start, stands_by_name
from registry.errors import FormatError
from registry.limits import READ_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from registry.artifacts.reading import Source
    from registry.formats.safetensors import SafetensorsHeader

_BY_NAME_KEY = "modelspec.hash_sha256"
# (first byte, last + 1) to the bytes of a file between them, in pieces.
ReadRange: TypeAlias = "Callable[[int, int], Iterable[bytes | memoryview]]"


def hash_body(source: Source) -> BodyHashes | None:
    """Return the hashes of the weights in `source`; None if it is no sound safetensors file.

    The body is read once; tensor by tensor once more where the header claims a hash that may be by name.

    Raises:
        SourceBusyError: somebody wants to write.
        SourceChangedError: it shrank meanwhile.
    """
    try:
        header = read_head(source).header
    except FormatError:
        return None
    return hash_weights(header, lambda start, end: _range(source, start, end))


def hash_weights(header: SafetensorsHeader, read: ReadRange) -> BodyHashes:
    """Return the hashes of the weights behind `header`; `read(start, end)` yields bytes of the file.

    They are read once; tensor by tensor once more where the header claims a hash that may be by name.
    """
    body, start = hashlib.sha256(), legacy_window_start(header)
    window = None if start is None else Window(start)
    for batch in read(header.header_bytes, header.total_bytes):
        body.update(batch)
        if window is not None:
            window.update(memoryview(batch))
    found = body.hexdigest()
    return BodyHashes(
        sha256=found,
        by_name=_by_name(header, read, found),
        legacy=None if window is None else window.short(),
    )


def _by_name(header: SafetensorsHeader, read: ReadRange, body: str) -> str | None:
    if stands_by_name(header):
        return body
    if _BY_NAME_KEY not in dict(header.metadata):
        return None
    hasher, base = hashlib.sha256(), header.header_bytes
    for tensor in sorted(header.tensors, key=lambda tensor: tensor.name):
        for batch in read(base + tensor.start, base + tensor.end):
            hasher.update(batch)
    return hasher.hexdigest()


def _range(source: Source, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        batch = source.read_at(start, min(READ_BATCH_BYTES, end - start))
        if not batch:
            # Shorter than when it was opened; the check says so with the right words.
            source.check_unchanged()
            return
        yield batch
        start += len(batch)
