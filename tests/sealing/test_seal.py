"""Sealing and opening: what was altered, cut, extended or made for others is refused."""

from __future__ import annotations

import errno
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CannotDecryptError, ContentMismatchError, FormatError, UsageError
from registry.formats.age_header import Header, Stanza, dump_header, parse_header
from registry.limits import AGE_HEADER_BYTES
from registry.sealing.armor import ArmoredSink
from registry.sealing.batches import Crew, read_batches
from registry.sealing.file_key import FileKey
from registry.sealing.identities import (
    Recipient,
    ScryptIdentity,
    ScryptRecipient,
    X25519Identity,
)
from registry.sealing.seal import (
    open_bytes,
    open_sealed,
    read_header,
    receipt_mac,
    rewrap,
    seal,
    seal_bytes,
    unwrap_file_key,
    wrap_header,
)
from registry.sealing.stream import CHUNK_BYTES, SEALED_CHUNK_BYTES, sealed_size
from tests.mutants import mutants

ME, YOU = X25519Identity.generate(), X25519Identity.generate()
EDGES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10 * CHUNK_BYTES, 700_001)
SMALL = seal_bytes(b"a small secret", [ME.recipient()])
LARGE = seal_bytes(bytes(3 * CHUNK_BYTES), [ME.recipient()])


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def open_all(sealed: bytes) -> bytes:
    return b"".join(map(bytes, open_sealed(io.BytesIO(sealed), [ME]).batches))


class FullDisk(io.RawIOBase):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return len(data)


@pytest.mark.parametrize("room", [0, 150, 300, 400_000, 1_000_000])
def test_full_disk_is_heard_and_all_threads_end(room: int) -> None:
    plain = io.BytesIO(bytes(4_000_000))
    with pytest.raises(OSError, match="No space left"):
        seal(
            read_batches(plain, 100_000),
            FullDisk(room),
            [ME.recipient()],
            payload_observer=lambda _: None,
        )


@pytest.mark.parametrize("given_before", [0, 1, 40])
def test_source_that_fails_is_heard(given_before: int) -> None:
    def failing() -> Iterator[bytes]:
        for _ in range(given_before):
            yield bytes(100_000)
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        seal(failing(), io.BytesIO(), [ME.recipient()], payload_observer=lambda _: None)


def test_observer_that_fails_is_heard() -> None:
    def refuse(_piece: memoryview) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        seal([bytes(5_000_000)], io.BytesIO(), [ME.recipient()], payload_observer=refuse)


@pytest.mark.parametrize(
    "recipients",
    [
        [],
        [ME.recipient(), ScryptRecipient(b"x", log_n=1)],
        [ScryptRecipient(b"x", log_n=1), ScryptRecipient(b"y", log_n=1)],
    ],
)
def test_no_recipient_and_mixed_classes_are_refused_before_anything_is_read(
    recipients: list[Recipient],
) -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError
        yield b""

    sink = io.BytesIO()
    with pytest.raises(UsageError):
        seal(untouched(), sink, recipients)
    assert sink.getvalue() == b""


@pytest.mark.parametrize("sealed", [SMALL, seal_bytes(b"", [ME.recipient()])])
def test_file_cut_at_any_byte_is_refused(sealed: bytes) -> None:
    for length in range(len(sealed)):
        with pytest.raises((FormatError, ContentMismatchError)):
            open_all(sealed[:length])


@pytest.mark.parametrize("cut", [1, 16, 17, SEALED_CHUNK_BYTES - 1, SEALED_CHUNK_BYTES])
def test_large_file_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ContentMismatchError):
        open_all(LARGE[:-cut])


def test_chunks_in_another_order_are_refused() -> None:
    start = len(LARGE) - 3 * SEALED_CHUNK_BYTES
    chunks = [LARGE[start + i * SEALED_CHUNK_BYTES :][:SEALED_CHUNK_BYTES] for i in range(3)]
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (2,), (0, 2), (1, 2)):
        with pytest.raises(ContentMismatchError):
            open_all(LARGE[:start] + b"".join(chunks[i] for i in order))


@pytest.mark.parametrize("tail", [b"x", bytes(16), bytes(SEALED_CHUNK_BYTES), SMALL])
def test_trailing_data_is_refused(tail: bytes) -> None:
    for sealed in (SMALL, LARGE):
        with pytest.raises(ContentMismatchError):
            open_all(sealed + tail)


def test_every_flipped_bit_is_refused() -> None:
    for position in range(len(SMALL)):
        for bit in range(8):
            damaged = bytearray(SMALL)
            damaged[position] ^= 1 << bit
            with pytest.raises((FormatError, ContentMismatchError, CannotDecryptError)):
                open_all(bytes(damaged))


@given(mutants(SMALL))
@settings(max_examples=400)
def test_damaged_file_is_refused_with_our_errors_only(sealed: bytes) -> None:
    with pytest.raises((FormatError, ContentMismatchError, CannotDecryptError)):
        open_all(sealed)


def test_stanza_dropped_or_added_breaks_the_mac() -> None:
    sealed = seal_bytes(b"x", [ME.recipient(), YOU.recipient()])
    header, header_bytes = read_header(io.BytesIO(sealed))
    grease = Stanza("grease", (), b"")
    for stanzas in (header.stanzas[:1], header.stanzas[::-1], (*header.stanzas, grease)):
        other = dump_header(Header(stanzas, header.mac))
        with pytest.raises(ContentMismatchError, match="header MAC"):
            open_all(other + sealed[len(header_bytes) :])


def test_someone_elses_file_says_who_could_open_it() -> None:
    sealed = seal_bytes(b"x", [YOU.recipient()])
    with pytest.raises(CannotDecryptError, match="X25519") as caught:
        open_all(sealed)
    assert caught.value.exit_code == 12
    assert caught.value.hint
    with pytest.raises(CannotDecryptError):
        open_bytes(sealed, [], max_bytes=10)


@pytest.mark.parametrize("line", [b"-> a\n", b"-> ab\n"])
def test_header_without_end_is_not_read_without_end(line: bytes) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readline(self, size: int | None = -1, /) -> bytes:  # type: ignore[override]
            text = (b"age-encryption.org/v1\n" if not self.given else line)[: size or 0]
            self.given += len(text)
            return text

    source = Endless()
    with pytest.raises(FormatError):
        read_header(source)  # type: ignore[arg-type] # readline is all that is called
    assert source.given <= AGE_HEADER_BYTES


def test_armor_without_line_ends_is_not_read_without_end() -> None:
    with pytest.raises(FormatError, match="longer"):
        open_bytes(b"-----BEGIN AGE ENCRYPTED FILE-----\n" + b"A" * 200_000, [ME], max_bytes=1)


def test_content_longer_than_allowed_is_refused() -> None:
    with pytest.raises(FormatError, match="longer than 13"):
        open_bytes(SMALL, [ME], max_bytes=13)
    assert open_bytes(SMALL, [ME], max_bytes=14) == b"a small secret"


def test_authentic_beginning_is_given_before_the_end_fails() -> None:
    taken = bytearray()
    batches = open_sealed(io.BytesIO(LARGE[:-1]), [ME]).batches
    with pytest.raises(ContentMismatchError):  # noqa: PT012 - what came before the error counts
        for batch in batches:
            taken += batch
    assert bytes(taken) == bytes(2 * CHUNK_BYTES)


def test_opening_that_is_given_up_ends_its_threads() -> None:
    with Crew() as crew:
        taken = crew.observed(open_sealed(io.BytesIO(LARGE), [ME]).batches, lambda _: None)
        next(taken)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("batch", [1000, 65536, 100_000, 524_288])
def test_what_was_sealed_is_opened_whatever_the_batches(size: int, batch: int) -> None:
    plain, sink, seen = content(size), io.BytesIO(), bytearray()
    result = seal(
        read_batches(io.BytesIO(plain), batch),
        sink,
        [YOU.recipient(), ME.recipient()],
        payload_observer=seen.extend,
    )
    sealed = sink.getvalue()
    assert sealed == result.header + bytes(seen)
    assert result.payload_bytes == len(seen) == sealed_size(size)
    assert open_all(sealed) == plain


@given(st.lists(st.binary(max_size=100), max_size=6), st.integers(1, 30_000))
@settings(max_examples=40)
def test_batches_of_any_sizes_are_joined(parts: list[bytes], times: int) -> None:
    batches = [part * times for part in parts]
    sink = io.BytesIO()
    seal(iter(batches), sink, [ME.recipient()])
    assert open_bytes(sink.getvalue(), [ME], max_bytes=10**8) == b"".join(batches)


def test_two_files_of_one_content_share_nothing() -> None:
    first, second = (seal_bytes(bytes(1000), [ME.recipient()]) for _ in range(2))
    assert first[-1000:] != second[-1000:]


def test_passphrase_opens_and_armor_is_read() -> None:
    sink = io.BytesIO()
    armored = ArmoredSink(sink)
    seal([content(200_000)], armored, [ScryptRecipient(b"phrase", log_n=1)])
    armored.finish()
    text = sink.getvalue()
    assert text.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert open_bytes(text, [ScryptIdentity(b"phrase")], max_bytes=10**6) == content(200_000)
    with pytest.raises(CannotDecryptError):
        open_bytes(text, [ScryptIdentity(b"other")], max_bytes=10**6)
    with pytest.raises(FormatError, match="armor"):
        open_bytes(text[:-40], [ScryptIdentity(b"phrase")], max_bytes=10**6)


def test_rewrapped_file_opens_for_the_new_recipient_only(tmp_path: Path) -> None:
    plain = content(300_000)
    old, new = tmp_path / "old.age", tmp_path / "new.age"
    old.write_bytes(seal_bytes(plain, [ME.recipient()]))
    with old.open("rb") as source:
        _, header = read_header(source)
    file_key = unwrap_file_key(header, [YOU, ME])
    with new.open("wb") as sink:
        size = rewrap(old, sink, wrap_header(file_key, [YOU.recipient()]))
    sealed = new.read_bytes()
    assert size == sealed_size(len(plain))
    assert sealed[-size:] == old.read_bytes()[-size:]
    assert open_bytes(sealed, [YOU], max_bytes=10**6) == plain
    with pytest.raises(CannotDecryptError):
        open_bytes(sealed, [ME], max_bytes=10**6)


def test_rewrap_without_the_kernels_help_copies_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.copy_file_range", refuse)
    old, new = tmp_path / "old.age", tmp_path / "new.age"
    old.write_bytes(LARGE)
    header = wrap_header(unwrap_file_key(_header_of(LARGE), [ME]), [YOU.recipient()])
    with new.open("wb") as sink:
        rewrap(old, sink, header)
    assert open_bytes(new.read_bytes(), [YOU], max_bytes=10**6) == bytes(3 * CHUNK_BYTES)


def test_rewrap_of_a_full_disk_or_broken_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, old = _header_of(SMALL), tmp_path / "old.age"
    old.write_bytes(header + bytes(31))
    with (tmp_path / "new").open("wb") as sink, pytest.raises(FormatError, match="payload"):
        rewrap(old, sink, header)
    old.write_bytes(SMALL)
    with (tmp_path / "new").open("wb") as sink, pytest.raises(FormatError):
        rewrap(old, sink, header[:-1])
    monkeypatch.setattr("os.copy_file_range", lambda *_: 0)
    with (tmp_path / "new").open("wb") as sink, pytest.raises(ContentMismatchError):
        rewrap(old, sink, header)

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.copy_file_range", full)
    with (tmp_path / "new").open("wb") as sink, pytest.raises(OSError, match="No space"):
        rewrap(old, sink, header)


def test_header_is_read_alone_and_leaves_the_payload() -> None:
    source = io.BytesIO(SMALL)
    header, header_bytes = read_header(source)
    assert parse_header(header_bytes) == header
    assert header_bytes + source.read() == SMALL


def test_receipt_mac_needs_the_file_key_and_binds_the_message() -> None:
    file_key = unwrap_file_key(_header_of(SMALL), [ME])
    opened = open_sealed(io.BytesIO(SMALL), [ME])
    assert opened.header_bytes == _header_of(SMALL)
    assert receipt_mac(file_key, b"m") == receipt_mac(opened.file_key, b"m")
    assert receipt_mac(file_key, b"n") != receipt_mac(file_key, b"m")
    assert receipt_mac(FileKey.generate(), b"m") != receipt_mac(file_key, b"m")
    opened.batches.close()


def _header_of(sealed: bytes) -> bytes:
    return read_header(io.BytesIO(sealed))[1]
