"""Batches of bytes and what is done with them side by side, with every queue and all memory bounded.

A batch is a view of a buffer that its producer fills again later. The one rule: **a producer that
reuses buffers cycles through at least `RING_BUFFERS` of them** (`Ring` does). Then no batch changes
under an observer, and whoever takes batches from an iterator may use each until it takes the second
next one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Generic, Protocol, Self, TypeVar

T = TypeVar("T")

_WAITING = 4
# One is being made, _WAITING are seen by nobody yet, one is still in its taker's hands.
RING_BUFFERS = 1 + _WAITING + 1


class Ring:
    """`RING_BUFFERS` buffers of `size` bytes, handed out in turn; made when first taken.

    A sealed column of 32 bytes needs one of them: making all would cost more than opening it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._views: list[memoryview] = []
        self._next = 0

    def take(self) -> memoryview:
        """Return the buffer that was handed out longest ago."""
        if len(self._views) < RING_BUFFERS:
            self._views.append(memoryview(bytearray(self._size)))
            return self._views[-1]
        view = self._views[self._next]
        self._next = (self._next + 1) % RING_BUFFERS
        return view


def read_batches(source: BinaryIO, size: int) -> Iterator[memoryview]:
    """Yield all of `source` in batches of `size` bytes, the last one shorter, none empty.

    Raises:
        OSError: what reading raised.
    """
    ring = Ring(size)
    while filled := fill(source, view := ring.take()):
        yield view[:filled]
        if filled < size:
            return


def fill(source: BinaryIO, view: memoryview) -> int:
    """Read into `view` until it is full or `source` ends; return how many bytes were read."""
    filled = 0
    while filled < len(view):
        count = _readinto(source, view[filled:])
        if not count:
            break
        filled += count
    return filled


def _readinto(source: BinaryIO, view: memoryview) -> int:
    readinto: Callable[[memoryview], int | None] | None = getattr(source, "readinto", None)
    if readinto is not None:
        return readinto(view) or 0
    data = source.read(len(view))
    view[: len(data)] = data
    return len(data)


class Sink(Protocol):
    """What can be written to: a file, a socket's file, an `ArmoredSink`."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write `data` or a first part of it; return how many bytes were taken."""
        ...


def write_all(sink: Sink, data: bytes | memoryview) -> None:
    """Write all of `data`: an unbuffered file may take less than it is given.

    Raises:
        OSError: what writing raised; a disk that is full, for one.
    """
    view = memoryview(data)
    while view:
        written = sink.write(view)
        if written is None:
            raise BlockingIOError("the sink takes nothing now: it must be a blocking file")
        view = view[written:]


@dataclass(slots=True, eq=False)
class _Lane(Generic[T]):
    """One observer, the batches that it has yet to see, and the thread that is at the first of them."""

    observer: Callable[[T], object]
    waiting: deque[T] = field(default_factory=deque)
    worker: int | None = None


class Crew:
    """Everyone who works on one stream of batches: its taker, and a thread for each processor to spare.

    Observers run beside the taker; whoever is free does what is furthest behind, and where the taker
    would have to wait for an observer it does some of that work itself. So all processors are busy
    whatever each observer costs, and no thread fights for one (bench/intake.py). Use it with `with`:
    the threads end there, whatever is left to do.
    """

    def __init__(self) -> None:
        self._lanes: list[_Lane[Any]] = []
        # Reentrant, since that knows its owner: a taker that is interrupted (Ctrl-C) in the midst of
        # a step cannot give back what a helper holds.
        self._changed = threading.Condition(threading.RLock())
        self._left = False
        self._fault: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._left = True
        if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            # An interrupt can strike between taking a lock and noting that it is taken. So nobody is
            # waited for: the threads are daemons, and what they have of batches is thrown away.
            return
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def observed(
        self, batches: Iterable[T], *observers: Callable[[T], object]
    ) -> Generator[T, None, None]:
        """Yield `batches` in order while each of `observers` is given every batch, in order too.

        An observer is never called twice at a time. Once the iterator is exhausted the observers have
        seen everything. What one of them raises is raised here, at the latest at the end. When the
        taker stops early (`close()`, or an error that ends its loop), `batches` is closed.
        """
        lanes = [_Lane(observer) for observer in observers]
        self._join(lanes)
        try:
            with closing_source(batches) as iterator:
                for batch in iterator:
                    self._put(lanes, batch)
                    yield batch
            with self._changed:
                self._help_until(lanes, 0)
        finally:
            self._drop(lanes)

    def _join(self, lanes: list[_Lane[T]]) -> None:
        with self._changed:
            self._lanes += lanes
        while len(self._threads) < min(len(self._lanes), _processors() - 1):
            thread = threading.Thread(target=self._work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _drop(self, lanes: list[_Lane[T]]) -> None:
        with self._changed:
            for lane in lanes:
                # A lane of this very thread is one whose step was interrupted: it never ends.
                while lane.worker not in (None, threading.get_ident()):
                    self._changed.wait()
                self._lanes.remove(lane)

    def _put(self, lanes: list[_Lane[T]], batch: T) -> None:
        """Hand `batch` to every lane; return once none of them has too many before it."""
        with self._changed:
            for lane in lanes:
                lane.waiting.append(batch)
            self._changed.notify_all()
            self._help_until(lanes, _WAITING - 1)

    def _help_until(self, lanes: list[_Lane[T]], waiting: int) -> None:
        while self._fault is None and any(len(lane.waiting) > waiting for lane in lanes):
            self._step()
        if self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        with self._changed:
            while not self._left and self._fault is None:
                self._step()

    def _step(self) -> None:
        """Do one batch of one lane, or wait until something changes; the lock is held around it."""
        free = [lane for lane in self._lanes if lane.waiting and lane.worker is None]
        if not free:
            self._changed.wait()
            return
        lane = max(free, key=lambda each: len(each.waiting))
        lane.worker = threading.get_ident()
        self._changed.release()
        try:
            lane.observer(lane.waiting[0])
        except BaseException as fault:  # carried to the taker and raised there
            self._fault = fault
        finally:
            self._changed.acquire()
            lane.waiting.popleft()
            lane.worker = None
            self._changed.notify_all()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def closing_source(batches: Iterable[T]) -> Iterator[Iterator[T]]:
    """Give the iterator of `batches`, and close it if it is a generator, however its loop ends."""
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        if isinstance(iterator, Generator):
            iterator.close()
