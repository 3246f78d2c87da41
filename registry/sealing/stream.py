"""The payload of an age v1 file: STREAM over ChaCha20-Poly1305 in 64 KiB chunks (C2SP age.md, "Payload").

A chunk's nonce is an 11-byte big-endian counter and one byte that is 1 on the last chunk only; so no
chunk can be dropped, moved, repeated or cut off unseen. Batches follow the rule of `batches`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from registry.errors import ContentMismatchError
from registry.sealing.batches import Ring, read_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
PAYLOAD_NONCE_BYTES = 16
BATCH_CHUNKS = 8
BATCH_BYTES = BATCH_CHUNKS * CHUNK_BYTES
_SEALED_BATCH_BYTES = BATCH_CHUNKS * SEALED_CHUNK_BYTES
_DAMAGED = "ask for the file again: it was cut off or altered on its way, or on disk"


def sealed_size(plain_bytes: int) -> int:
    """Return the bytes of the payload, nonce included, that seals `plain_bytes`."""
    chunks = max(1, -(-plain_bytes // CHUNK_BYTES))
    return PAYLOAD_NONCE_BYTES + plain_bytes + chunks * TAG_BYTES


def seal_batches(batches: Iterable[bytes | memoryview], key: bytes) -> Iterator[memoryview]:
    """Yield the sealed chunks of `batches`, which may be of any sizes, in reused buffers.

    `key` must come from a fresh file key or a fresh nonce: counters start at 0.
    """
    cipher, ring, counter = ChaCha20Poly1305(key), Ring(_SEALED_BATCH_BYTES), 0
    out, filled = ring.take(), 0
    for chunk, last in _mark_last(_chunks(batches)):
        size = len(chunk) + TAG_BYTES
        cipher.encrypt_into(_nonce(counter, last=last), chunk, None, out[filled : filled + size])
        counter, filled = counter + 1, filled + size
        if last or filled == len(out):
            yield out[:filled]
            out, filled = ring.take(), 0


def open_batches(source: BinaryIO, key: bytes) -> Generator[memoryview, None, None]:
    """Yield the plaintext of the payload that `source` holds after its nonce, to its end.

    Every byte yielded is authentic and in its place, but only exhaustion without an error proves that
    nothing is missing: keep nothing of it until then.

    Raises:
        ContentMismatchError: a chunk was altered or moved, the end is missing, or data follows it.
    """
    cipher, ring, counter = ChaCha20Poly1305(key), Ring(BATCH_BYTES), 0
    for batch, last in _mark_last(_sealed_batches(source)):
        opened = _open_batch(cipher, batch, ring.take(), first=counter, at_end=last)
        if len(opened.plain):
            yield opened.plain
        if opened.fault is not None:
            raise ContentMismatchError(opened.fault, hint=_DAMAGED)
        counter += BATCH_CHUNKS


@dataclass(frozen=True, slots=True)
class _OpenedBatch:
    """What of a batch is authentic, and what was wrong behind that."""

    plain: memoryview
    fault: str | None


def _open_batch(
    cipher: ChaCha20Poly1305, sealed: memoryview, out: memoryview, *, first: int, at_end: bool
) -> _OpenedBatch:
    filled, counter, fault = 0, first, None
    for start in range(0, max(1, len(sealed)), SEALED_CHUNK_BYTES):
        chunk = sealed[start : start + SEALED_CHUNK_BYTES]
        last = at_end and start + SEALED_CHUNK_BYTES >= len(sealed)
        size = max(0, len(chunk) - TAG_BYTES)
        into = out[filled : filled + size]
        if size == 0 and (counter or len(chunk) < TAG_BYTES):
            fault = "payload is cut off, or ends in an empty chunk"
        elif _open_chunk(cipher, chunk, into, _nonce(counter, last=last)):
            filled, counter = filled + size, counter + 1
            continue
        elif size == CHUNK_BYTES and _open_chunk(
            cipher, chunk, into, _nonce(counter, last=not last)
        ):
            # Authentic, so it is released as in other implementations; but it is not the end.
            filled += size
            fault = "payload is cut off at a chunk's edge" if last else "data follows the payload"
        else:
            fault = f"payload chunk {counter} is not authentic: its bytes are not those that were sealed"
        break
    return _OpenedBatch(out[:filled], fault)


def _open_chunk(cipher: ChaCha20Poly1305, chunk: memoryview, out: memoryview, nonce: bytes) -> bool:
    try:
        cipher.decrypt_into(nonce, chunk, None, out)
    except InvalidTag:
        return False
    return True


def _chunks(batches: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """Cut `batches` at every 64 KiB, whatever their sizes; nothing is copied where they align."""
    partial = bytearray()
    for batch in batches:
        view = memoryview(batch).cast("B")
        if partial:
            missing = CHUNK_BYTES - len(partial)
            partial += view[:missing]
            view = view[missing:]
            if len(partial) < CHUNK_BYTES:
                continue
            yield memoryview(bytes(partial))
            partial.clear()
        whole = len(view) - len(view) % CHUNK_BYTES
        for start in range(0, whole, CHUNK_BYTES):
            yield view[start : start + CHUNK_BYTES]
        partial += view[whole:]
    if partial:
        yield memoryview(bytes(partial))


def _sealed_batches(source: BinaryIO) -> Iterator[memoryview]:
    return read_batches(source, _SEALED_BATCH_BYTES)


def _mark_last(views: Iterable[memoryview]) -> Iterator[tuple[memoryview, bool]]:
    """Yield each view and whether it is the last; one empty view if there are none."""
    held: memoryview | None = None
    for view in views:
        if held is not None:
            yield held, False
        held = view
    yield (memoryview(b"") if held is None else held), True


def _nonce(counter: int, *, last: bool) -> bytes:
    return counter.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
