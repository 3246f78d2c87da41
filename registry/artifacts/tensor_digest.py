r"""The canonical tensor digest: names what the weights are, not how a file stores them.

Every save of a trainer writes other bytes (facts/formats.md section 0.3: metadata in random order);
this digest stays the same when the same tensors are saved again, in another order, with other metadata,
in one file or in several. It changes with any name, dtype, shape or content.

    digest = blake3("loraseal/tensors/v1\n" + the records of all tensors, sorted as bytes)
    record = len(name) as u32 + name in UTF-8 + len(dtype) as u8 + dtype + rank as u8
             + each dimension as u64 + blake3(content)                     integers little-endian
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from blake3 import blake3

from registry.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats.safetensors import SafetensorsHeader, TensorInfo

DOMAIN = b"loraseal/tensors/v1\n"
SCALAR_BYTES = 16


class TensorHasher:
    """Digests the tensors of one file while its body passes by, once and in order.

    Tensors of at most 16 bytes (alpha and the like) are kept as well, in `scalars`.
    """

    def __init__(self, header: SafetensorsHeader) -> None:
        self._tensors = iter(header.tensors)
        self._current: TensorInfo | None = None
        self._hasher = blake3()
        self._missing = 0
        self._records: list[bytes] = []
        self._scalars: list[tuple[int, bytes]] = []
        self._next()

    def update(self, body: memoryview) -> None:
        """Take the next bytes of the body (what follows the header).

        Raises:
            ValueError: more bytes than the header has tensors for.
        """
        while body:
            if self._current is None:
                raise ValueError(f"{len(body)} bytes after the last tensor")
            part = body[: self._missing]
            self._hasher.update(part)
            if self._current.end - self._current.start <= SCALAR_BYTES:
                self._keep(self._current, part)
            self._missing -= len(part)
            body = body[len(part) :]
            self._finish_if_whole()

    def records(self) -> tuple[bytes, ...]:
        """Return one record for each tensor, in file order.

        Raises:
            ValueError: the body has not wholly passed by.
        """
        if self._current is not None:
            raise ValueError(f"{self._missing} bytes are missing")
        return tuple(self._records)

    def scalars(self) -> tuple[tuple[int, bytes], ...]:
        """Return (offset in the body, bytes) of every tensor of at most 16 bytes."""
        return tuple(self._scalars)

    def _next(self) -> None:
        self._current = next(self._tensors, None)
        if self._current is not None:
            self._missing = self._current.end - self._current.start
            self._hasher = blake3()
            self._finish_if_whole()

    def _finish_if_whole(self) -> None:
        if self._current is not None and not self._missing:
            self._records.append(tensor_record(self._current, self._hasher.digest()))
            self._next()

    def _keep(self, tensor: TensorInfo, part: memoryview) -> None:
        # A scalar may lie across two batches; its second part continues the last entry.
        if self._scalars and self._scalars[-1][0] == tensor.start:
            self._scalars[-1] = (tensor.start, self._scalars[-1][1] + bytes(part))
        else:
            self._scalars.append((tensor.start, bytes(part)))


def tensor_record(tensor: TensorInfo, content: bytes) -> bytes:
    """Return the record of one tensor; `content` is the blake3 digest (32 bytes) of its bytes."""
    name, dtype = tensor.name.encode(), tensor.dtype.encode()
    head = struct.pack("<I", len(name)) + name + struct.pack("<B", len(dtype)) + dtype
    shape = struct.pack(f"<B{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return b"".join((head, shape, content))


def tensor_set_digest(records: Iterable[bytes]) -> Digest:
    """Return the canonical digest of all tensors in `records`, of one file or of several."""
    hasher = blake3(DOMAIN)
    for record in sorted(records):
        hasher.update(record)
    return Digest("blake3", hasher.hexdigest())
