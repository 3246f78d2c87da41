"""Batches of bytes between threads: run ahead, observe, and reuse memory, with every queue bounded.

A batch is a view of a buffer that its producer fills again later. The one rule: **a producer that
reuses buffers cycles through at least `RING_BUFFERS` of them** (`Ring` does). Then `ahead` and
`observed`, at most one of each in a chain, never see a batch change under them, and whoever takes
batches from an iterator may use each until it takes the second next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Generic, Protocol, TypeVar

T = TypeVar("T")

_AHEAD = 2
_OBSERVED = 2
# One is being made, _AHEAD wait, two are in their taker's hands, _OBSERVED wait and one is observed.
RING_BUFFERS = 1 + _AHEAD + 2 + _OBSERVED + 1


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


def ahead(batches: Iterable[T]) -> Generator[T, None, None]:
    """Yield `batches` in order while a thread of its own makes the next ones.

    What `batches` raises is raised here, after what it yielded before. When the caller stops early
    (`close()`, or an exception that ends its loop), the thread ends and `batches` is closed.
    """
    pipe: _Pipe[T] = _Pipe(_AHEAD)
    thread = threading.Thread(target=_produce, args=(batches, pipe), daemon=True)
    thread.start()
    try:
        yield from pipe.drain()
    finally:
        pipe.stop()
        thread.join()


def observed(batches: Iterable[T], observer: Callable[[T], object]) -> Generator[T, None, None]:
    """Yield `batches` in order while a thread gives each of them to `observer`, in order too.

    Once the iterator is exhausted `observer` has seen everything. What it raises is raised here, at
    the latest at the end. If the caller stops early, so does the observer, and `batches` is closed.
    """
    pipe: _Pipe[T] = _Pipe(_OBSERVED)
    thread = threading.Thread(target=_consume, args=(pipe, observer), daemon=True)
    thread.start()
    try:
        with _closing(batches) as iterator:
            for batch in iterator:
                if not pipe.put(batch):
                    break
                yield batch
        pipe.finish(None)
        thread.join()
        pipe.raise_fault()
    finally:
        pipe.stop()
        thread.join()


class _Pipe(Generic[T]):
    """A bounded queue between two threads, which either side can end."""

    def __init__(self, depth: int) -> None:
        self._items: deque[T] = deque()
        self._depth = depth
        self._changed = threading.Condition(threading.Lock())
        self._finished = False
        self._stopped = False
        self._fault: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room and add `item`; False if the other side has stopped."""
        with self._changed:
            while len(self._items) >= self._depth and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return False
            self._items.append(item)
            self._changed.notify()
            return True

    def finish(self, fault: BaseException | None) -> None:
        """Say that no more items come; `fault`, if any, is raised behind the last one."""
        with self._changed:
            self._finished = True
            self._fault = self._fault or fault
            self._changed.notify()

    def stop(self, fault: BaseException | None = None) -> None:
        """Say that no more items are wanted."""
        with self._changed:
            self._stopped = True
            self._fault = self._fault or fault
            self._changed.notify()

    def drain(self) -> Iterator[T]:
        """Yield items until the producer has finished or someone has stopped."""
        while True:
            with self._changed:
                while not self._items and not self._finished and not self._stopped:
                    self._changed.wait()
                if self._stopped or not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify()
            yield item
        self.raise_fault()

    def raise_fault(self) -> None:
        """Raise what the other side raised, if it did."""
        if self._fault is not None:
            raise self._fault


def _produce(batches: Iterable[T], pipe: _Pipe[T]) -> None:
    try:
        with _closing(batches) as iterator:
            for batch in iterator:
                if not pipe.put(batch):
                    return
    except BaseException as fault:  # carried to the other thread and raised there
        pipe.finish(fault)
    else:
        pipe.finish(None)


@contextmanager
def _closing(batches: Iterable[T]) -> Iterator[Iterator[T]]:
    """Close a generator in the thread that runs it, however its loop ends; leave others alone."""
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def _consume(pipe: _Pipe[T], observer: Callable[[T], object]) -> None:
    try:
        for batch in pipe.drain():
            observer(batch)
    except BaseException as fault:  # carried to the other thread and raised there
        pipe.stop(fault)
