"""Threads between batches: order, memory that is reused, and one end for all whatever fails."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from registry.sealing.batches import (
    RING_BUFFERS,
    Ring,
    ahead,
    fill,
    observed,
    read_batches,
    write_all,
)


class FaultError(Exception):
    pass


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def numbers(count: int, *, fault: bool = False) -> Iterator[int]:
    yield from range(count)
    if fault:
        raise FaultError


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_source_that_fails_is_heard_after_what_it_gave(count: int) -> None:
    taken: list[int] = []
    batches = ahead(numbers(count, fault=True))
    for _ in range(count):
        taken.append(next(batches))  # noqa: PERF401 - extend() would drop them at the error
    with pytest.raises(FaultError):
        next(batches)
    assert taken == list(range(count))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_observer_that_fails_is_heard(count: int) -> None:
    def refuse(number: int) -> None:
        if number == count - 1:
            raise FaultError

    with pytest.raises(FaultError):
        list(observed(numbers(count), refuse))


def test_observer_fault_stops_an_endless_source() -> None:
    def forever() -> Iterator[int]:
        while True:
            yield 1

    def refuse(_number: int) -> None:
        raise FaultError

    with pytest.raises(FaultError):
        for _ in observed(ahead(forever()), refuse):
            pass


def test_source_that_fails_ends_the_observer() -> None:
    with pytest.raises(FaultError):
        list(observed(numbers(5, fault=True), lambda _: None))


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_caller_that_stops_early_closes_the_source_in_its_thread(taken: int) -> None:
    closed_in: list[str] = []

    def forever() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed_in.append(threading.current_thread().name)

    with closing(ahead(forever())) as batches:
        for _ in range(taken):
            next(batches)
    assert len(closed_in) == (1 if taken else 0)
    assert threading.current_thread().name not in closed_in


def test_a_source_that_is_no_generator_is_left_open() -> None:
    source = io.BytesIO(b"a\nb\n")
    assert list(ahead(source)) == [b"a\n", b"b\n"]
    assert not source.closed


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_order_is_kept_and_the_observer_has_seen_all(count: int) -> None:
    seen: list[int] = []
    assert list(observed(ahead(numbers(count)), seen.append)) == list(range(count))
    assert seen == list(range(count))


def test_reused_memory_never_changes_under_a_taker() -> None:
    data = b"".join(bytes([i % 251]) * 64 for i in range(2000))
    seen, kept = bytearray(), bytearray()
    previous = memoryview(b"")
    for batch in observed(ahead(read_batches(io.BytesIO(data), 64)), seen.extend):
        kept += previous  # one batch late: the rule allows it
        previous = batch
    kept += previous
    assert bytes(kept) == data
    assert bytes(seen) == data


def test_ring_hands_out_all_its_buffers_in_turn() -> None:
    ring = Ring(8)
    first = [ring.take() for _ in range(RING_BUFFERS)]
    assert len({id(view) for view in first}) == RING_BUFFERS
    assert ring.take() is first[0]


class Trickle(io.RawIOBase):
    """Gives and takes at most three bytes at a time, as a pipe may."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.data = bytearray(data)

    def readinto(self, view: memoryview) -> int:  # type: ignore[override]
        count = min(3, len(view), len(self.data))
        view[:count] = self.data[:count]
        del self.data[:count]
        return count

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self.data += bytes(data[:3])
        return min(3, len(data))


class OnlyRead:
    """Has no `readinto`."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self.inner.read(min(size, 3))


class Unready:
    def write(self, _data: bytes | memoryview, /) -> None:
        return None


@pytest.mark.parametrize("kind", [Trickle, OnlyRead, io.BytesIO])
def test_short_reads_are_joined(kind: type) -> None:
    data = bytes(range(100))
    view = memoryview(bytearray(64))
    source = kind(data)
    assert fill(source, view) == 64
    assert bytes(view) == data[:64]
    assert fill(source, view) == 36


def test_short_writes_are_repeated() -> None:
    sink = Trickle()
    write_all(sink, bytes(range(100)))
    assert bytes(sink.data) == bytes(range(100))


def test_sink_that_takes_nothing_is_an_error_and_not_a_loop() -> None:
    with pytest.raises(BlockingIOError):
        write_all(Unready(), b"x")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128])
def test_batches_are_full_but_the_last_and_never_empty(size: int) -> None:
    sizes = [len(batch) for batch in read_batches(io.BytesIO(bytes(size)), 64)]
    assert sizes == [64] * (size // 64) + ([size % 64] if size % 64 else [])
