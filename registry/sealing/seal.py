"""Seal and open age v1 files; re-wrap the header of one for another recipient.

age proves that a file was not changed by someone who cannot open it. It does not prove who sealed it:
every recipient can make another file that opens for all of them. So judge what `open_sealed` yields by
a signed digest of the plaintext, never by the fact that it opened.
"""

from __future__ import annotations

import errno
import hmac
import io
import os
import secrets
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import CannotDecryptError, ContentMismatchError, FormatError, UsageError
from registry.formats.age_armor import is_armor_start
from registry.formats.age_header import Header, dump_header, is_mac_line, mac_input, parse_header
from registry.limits import AGE_HEADER_BYTES
from registry.sealing.armor import dearmored
from registry.sealing.batches import Crew, Sink, closing_source, fill, write_all
from registry.sealing.file_key import FileKey
from registry.sealing.identities import SCRYPT, Identity, Recipient, check_scrypt_alone
from registry.sealing.stream import (
    PAYLOAD_NONCE_BYTES,
    TAG_BYTES,
    open_batches,
    seal_batches,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

_FIRST_LINE_BYTES = 128
_COPY_BYTES = 1024 * 1024
_CANNOT_COPY_IN_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_OTHER_IDENTITY = "give the identity (or passphrase) that belongs to a recipient of this file"


@dataclass(frozen=True, slots=True)
class SealedPayload:
    """What was written: the header bytes, and how many payload bytes followed (nonce + chunks)."""

    header: bytes
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A sealed file whose header is verified and whose payload is still to be read.

    `batches` yields the plaintext in order, in memory that is reused: use each batch before taking
    the second next one. It must be exhausted: an error at the end takes back all that came before.
    """

    header_bytes: bytes
    file_key: FileKey
    batches: Generator[memoryview, None, None] = field(repr=False)


def seal(
    batches: Iterable[bytes | memoryview],
    sink: Sink,
    recipients: Sequence[Recipient],
    *,
    payload_observer: Callable[[memoryview], object] = lambda _piece: None,
    crew: Crew | None = None,
) -> SealedPayload:
    """Write the age file of all `batches` to `sink`; one fresh file key, wrapped to `recipients`.

    To hash what goes in, give `crew.observed(…)` as `batches`, and the same crew here; if they reuse
    their buffers, they need `RING_BUFFERS` of them (see `batches`). `payload_observer` sees nonce and
    chunks, in order, and all of them before this returns. On any error `batches` is closed, and what is
    in `sink` is to be thrown away. `sink` is neither flushed nor closed.

    Raises:
        UsageError: no recipient, or recipients of more than one class.
        OSError: what reading or writing raised, such as a full disk.
    """
    file_key, nonce = FileKey.generate(), secrets.token_bytes(PAYLOAD_NONCE_BYTES)
    header = wrap_header(file_key, recipients)
    write_all(sink, header)
    payload_bytes = 0
    with ExitStack() as stack:
        crew = crew or stack.enter_context(Crew())
        ready = stack.enter_context(closing_source(batches))
        payload = _payload(nonce, seal_batches(ready, file_key.payload_key(nonce)))
        for piece in stack.enter_context(closing(crew.observed(payload, payload_observer))):
            write_all(sink, piece)
            payload_bytes += len(piece)
    return SealedPayload(header, payload_bytes)


def open_sealed(source: BinaryIO, identities: Sequence[Identity]) -> Opened:
    """Return the opened file: header verified, plaintext to be taken from `batches`.

    `source` is binary or armored; it is read and decrypted as batches are taken, to its end. To hash
    what comes out, wrap `batches` in `Crew.observed`.

    Raises:
        FormatError: the header, the armor or a stanza is malformed.
        CannotDecryptError: no stanza is for any of `identities`.
        ContentMismatchError: the header MAC is wrong; from `batches`: the payload is not intact.
    """
    first = source.readline(_FIRST_LINE_BYTES)
    if is_armor_start(first):
        source, first = dearmored(source, first), b""
    header_bytes = _read_header_bytes(source, first)
    file_key = unwrap_file_key(header_bytes, identities)
    nonce = memoryview(bytearray(PAYLOAD_NONCE_BYTES))
    if fill(source, nonce) != PAYLOAD_NONCE_BYTES:
        raise FormatError("sealed file ends before its payload", hint="ask for the file again")
    return Opened(header_bytes, file_key, open_batches(source, file_key.payload_key(bytes(nonce))))


def seal_bytes(data: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Return the age file of `data`, for small things: all of it is in memory.

    Raises:
        UsageError: no recipient, or recipients of more than one class.
    """
    file_key, nonce = FileKey.generate(), secrets.token_bytes(PAYLOAD_NONCE_BYTES)
    chunks = map(bytes, seal_batches([data], file_key.payload_key(nonce)))
    return b"".join([wrap_header(file_key, recipients), nonce, *chunks])


def open_bytes(data: bytes, identities: Sequence[Identity], *, max_bytes: int) -> bytes:
    """Return the plaintext of the age file `data`, binary or armored, once all of it is verified.

    Raises:
        FormatError: malformed, or more than `max_bytes` of plaintext.
        CannotDecryptError: no stanza is for any of `identities`.
        ContentMismatchError: header MAC or payload is not intact.
    """
    plain = bytearray()
    for batch in open_sealed(io.BytesIO(data), identities).batches:
        plain += batch
        if len(plain) > max_bytes:
            raise FormatError(f"sealed content is longer than {max_bytes} bytes")
    return bytes(plain)


def read_header(source: BinaryIO) -> tuple[Header, bytes]:
    """Read the header of a binary age file; `source` is then at the payload nonce.

    The MAC is not verified: that takes the file key.

    Raises:
        FormatError: the header is malformed or too long.
    """
    header_bytes = _read_header_bytes(source, b"")
    return parse_header(header_bytes), header_bytes


def unwrap_file_key(header_bytes: bytes, identities: Sequence[Identity]) -> FileKey:
    """Return the file key of a header, its MAC verified.

    Raises:
        FormatError: the header or a stanza is malformed.
        CannotDecryptError: no stanza is for any of `identities`.
        ContentMismatchError: the header MAC is wrong.
    """
    return _unwrap(parse_header(header_bytes), identities)


def wrap_header(file_key: FileKey, recipients: Sequence[Recipient]) -> bytes:
    """Return a header with `file_key` wrapped to each of `recipients`, and its MAC.

    What guards a payload is the weakest header ever issued for its file key: the caller records the
    classes and re-seals instead of crossing them. Dropping a recipient revokes nothing.

    Raises:
        UsageError: no recipient, recipients of more than one class, or more than one passphrase.
    """
    classes = sorted({recipient.key_class for recipient in recipients})
    if not classes:
        raise UsageError("no recipient to seal for", hint="give at least one 'age1…' recipient")
    if len(classes) > 1 or (classes == [SCRYPT] and len(recipients) > 1):
        raise UsageError(
            f"one sealed file cannot be for {len(recipients)} recipients of class"
            f" {' and '.join(classes)}: the weakest would open it for all",
            hint="seal once for each class, and each passphrase by itself",
        )
    stanzas = tuple(recipient.wrap(file_key.secret) for recipient in recipients)
    return dump_header(Header(stanzas, file_key.header_mac(mac_input(stanzas))))


def receipt_mac(file_key: FileKey, message: bytes) -> bytes:
    """Return the HMAC that proves to the sealer that the file key was unwrapped."""
    return file_key.receipt_mac(message)


def rewrap(sealed: Path, sink: BinaryIO, header_bytes: bytes) -> int:
    """Write `header_bytes` and the payload of `sealed`, byte for byte, to `sink`; return its size.

    `header_bytes` comes from `wrap_header` with the file key of `sealed`. The payload is copied inside
    the kernel where it can. `sink` must be a real file at its start; it is flushed, not closed.

    Raises:
        FormatError: `header_bytes` or the header of `sealed` is malformed, or no payload follows it.
        OSError: what reading or writing raised, such as a full disk.
    """
    parse_header(header_bytes)
    with sealed.open("rb") as source:
        _, old_header = read_header(source)
        payload_bytes = os.fstat(source.fileno()).st_size - len(old_header)
        if payload_bytes < PAYLOAD_NONCE_BYTES + TAG_BYTES:
            raise FormatError("sealed file ends before its payload", hint="take it from a backup")
        write_all(sink, header_bytes)
        sink.flush()
        return _copy_range(source.fileno(), sink.fileno(), len(old_header), payload_bytes)


def _copy_range(source: int, sink: int, offset: int, size: int) -> int:
    left = size
    while left:
        count = _copy_some(source, sink, offset, left)
        if not count:
            raise ContentMismatchError("sealed file became shorter while it was copied")
        offset, left = offset + count, left - count
    return size


def _copy_some(source: int, sink: int, offset: int, size: int) -> int:
    try:
        return os.copy_file_range(source, sink, size, offset)
    except OSError as error:
        if error.errno not in _CANNOT_COPY_IN_KERNEL:
            raise
    block = memoryview(os.pread(source, min(size, _COPY_BYTES), offset))
    count = len(block)
    while block:
        block = block[os.write(sink, block) :]
    return count


def _read_header_bytes(source: BinaryIO, begun: bytes) -> bytes:
    """Read on to the end of the MAC line, the file or the limit; whether it parses is for later."""
    lines, left = [begun], AGE_HEADER_BYTES
    while left > 0:
        line = source.readline(left)
        lines.append(line)
        left -= len(line)
        if not line.endswith(b"\n") or is_mac_line(line):
            break
    return b"".join(lines)


def _payload(nonce: bytes, chunks: Iterator[memoryview]) -> Iterator[memoryview]:
    yield memoryview(nonce)
    yield from chunks


def _unwrap(header: Header, identities: Sequence[Identity]) -> FileKey:
    check_scrypt_alone(header.stanzas)
    for identity in identities:
        secret = identity.unwrap(header.stanzas)
        if secret is None:
            continue
        file_key = FileKey(secret)
        if not hmac.compare_digest(file_key.header_mac(mac_input(header.stanzas)), header.mac):
            raise ContentMismatchError(
                "header MAC is wrong: the header of the sealed file was altered",
                hint="ask for the file again",
            )
        return file_key
    raise CannotDecryptError(_no_match(header, len(identities)), hint=_OTHER_IDENTITY)


def _no_match(header: Header, tried: int) -> str:
    kinds = sorted({stanza.kind for stanza in header.stanzas})
    shown = ", ".join(kind[:32] for kind in kinds[:4])
    return (
        f"none of {tried} identities opens this file; it is sealed to"
        f" {len(header.stanzas)} recipient(s) of type {shown}"
    )
