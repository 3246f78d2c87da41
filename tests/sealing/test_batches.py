"""Threads between batches: order, memory that is reused, and one end for all whatever fails."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from registry.sealing.batches import (
    RING_BUFFERS,
    Crew,
    Ring,
    fill,
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


@pytest.fixture(params=[1, 2, 3, 8], ids="{}-processors".format)
def crew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    monkeypatch.setattr("registry.sealing.batches._processors", lambda: request.param)
    with Crew() as made:
        yield made


def refuse_at(refused: int) -> Callable[[int], None]:
    def observer(number: int) -> None:
        if number == refused:
            raise FaultError

    return observer


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_source_that_fails_is_heard_after_what_it_gave(crew: Crew, count: int) -> None:
    taken: list[int] = []
    batches = crew.observed(numbers(count, fault=True), lambda _: None)
    for _ in range(count):
        taken.append(next(batches))  # noqa: PERF401 - extend() would drop them at the error
    with pytest.raises(FaultError):
        next(batches)
    assert taken == list(range(count))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_observer_that_fails_is_heard(crew: Crew, count: int) -> None:
    with pytest.raises(FaultError):
        list(crew.observed(numbers(count), lambda _: None, refuse_at(count - 1)))


def test_observer_fault_stops_an_endless_source(crew: Crew) -> None:
    with pytest.raises(FaultError):
        for _ in crew.observed(itertools.count(), refuse_at(20), lambda _: None):
            pass


def test_fault_of_an_inner_stream_ends_the_outer_one(crew: Crew) -> None:
    inner = crew.observed(itertools.count(), refuse_at(20))
    with pytest.raises(FaultError):
        list(crew.observed(inner, lambda _: None))
    assert list(inner) == []


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_caller_that_stops_early_closes_the_source(crew: Crew, taken: int) -> None:
    closed: list[bool] = []

    def forever() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with closing(crew.observed(forever(), lambda _: None)) as batches:
        for _ in range(taken):
            next(batches)
    assert len(closed) == (1 if taken else 0)


def test_threads_end_with_the_crew_though_a_stream_is_open(crew: Crew) -> None:
    stream = crew.observed(itertools.count(), lambda _: None)
    assert next(stream) == 0
    with crew:
        next(stream)


def test_a_source_that_is_no_generator_is_left_open(crew: Crew) -> None:
    source = io.BytesIO(b"a\nb\n")
    assert list(crew.observed(source, lambda _: None)) == [b"a\n", b"b\n"]
    assert not source.closed


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_order_is_kept_and_every_observer_has_seen_all(crew: Crew, count: int) -> None:
    seen: list[list[int]] = [[], [], []]
    observers = [each.append for each in seen]
    assert list(crew.observed(numbers(count), *observers)) == list(range(count))
    assert seen == [list(range(count))] * 3


def test_an_observer_is_never_called_twice_at_a_time(crew: Crew) -> None:
    inside, worst = [0], [0]

    def observer(_number: int) -> None:
        inside[0] += 1
        worst[0] = max(worst[0], inside[0])
        os.sched_yield()
        inside[0] -= 1

    list(crew.observed(numbers(500), observer))
    assert worst == [1]


def test_streams_one_after_the_other_share_a_crew(crew: Crew) -> None:
    for count in (3, 0, 7):
        seen: list[int] = []
        assert list(crew.observed(numbers(count), seen.append)) == list(range(count))
        assert seen == list(range(count))


def test_reused_memory_never_changes_under_a_taker(crew: Crew) -> None:
    data = b"".join(bytes([i % 251]) * 64 for i in range(2000))
    inner, outer, kept = bytearray(), bytearray(), bytearray()
    previous = memoryview(b"")
    stream = crew.observed(read_batches(io.BytesIO(data), 64), inner.extend)
    for batch in crew.observed(stream, outer.extend):
        kept += previous  # one batch late: the rule allows it
        previous = batch
    kept += previous
    assert bytes(kept) == data
    assert bytes(inner) == data
    assert bytes(outer) == data


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
