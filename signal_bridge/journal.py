"""An append-only journal of one channel: one JSON object a line, each on disk before it counts.

It is what a channel knows after a kill. A torn last line (killed while writing) is cut off; a bad line
before the last is damage and is refused. Addresses and file names never stand in it, only keyed tags.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from registry.durable import fsync_directory, write_whole
from registry.errors import FormatError
from registry.limits import CHANNEL_JOURNAL_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from signal_bridge.channel import Address

Field: TypeAlias = "str | int | None"
_KEY_BYTES = 32
# More than one longest line, so that a batch without a line end is damage.
_READ_BYTES = 8 * CHANNEL_JOURNAL_LINE_BYTES


@dataclass(frozen=True, slots=True)
class Entry:
    """Line `seq` (from 1) of the journal: what happened, and its fields."""

    seq: int
    kind: str
    fields: Mapping[str, Field]

    def text(self, name: str) -> str:
        """Return a field that holds text.

        Raises:
            FormatError: it is absent or holds something else.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise FormatError(f"journal line {self.seq} ({self.kind}) has no text {name!r}")
        return value

    def integer(self, name: str) -> int:
        """Return a field that holds an integer.

        Raises:
            FormatError: it is absent or holds something else.
        """
        value = self.fields.get(name)
        if not isinstance(value, int):
            raise FormatError(f"journal line {self.seq} ({self.kind}) has no integer {name!r}")
        return value


class Journal:
    """The journal in `state` (made 0700 if absent), shared by threads and by processes."""

    def __init__(self, state: Path) -> None:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = state / "journal.jsonl"
        self._entries: list[Entry] = []
        self._offset = 0
        self._lock = threading.RLock()
        self._key = _tag_key(state, fresh=not self._path.exists())

    def tag(self, address: Address) -> str:
        """Return a name for `address` that tells nothing without this journal's key."""
        return hmac.new(self._key, address.value.encode(), hashlib.sha256).hexdigest()[:32]

    def tag_name(self, name: str) -> str:
        """Return what stands for a file's `name`, which tells who or what an adapter was made of."""
        message = b"name\0" + name.encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]

    def append(self, kind: str, **fields: Field) -> Entry:
        """Record what happened; it is on disk when this returns.

        Raises:
            OSError: it is not on disk (disk full); the journal is as it was.
            FormatError: the journal is damaged.
        """
        line = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n"
        if len(line) > CHANNEL_JOURNAL_LINE_BYTES:
            raise ValueError(f"journal line of {len(line)} bytes")
        with self._lock, self._opened() as descriptor:
            self._catch_up(descriptor)
            self._write(descriptor, line)
            self._take(line)
            return self._entries[-1]

    def entries(self, after: int = 0) -> tuple[Entry, ...]:
        """Return every entry whose `seq` is larger than `after`, oldest first.

        Raises:
            FormatError: the journal is damaged.
        """
        with self._lock:
            if self._path.exists() and self._path.stat().st_size != self._offset:
                with self._opened() as descriptor:
                    self._catch_up(descriptor)
            return tuple(self._entries[after:])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        fresh = not self._path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            # Other processes (the command line beside the daemon) append here too.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if fresh:
                fsync_directory(self._path.parent)
            yield descriptor
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, line: bytes) -> None:
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._offset)
            raise

    def _catch_up(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < self._offset:
            raise FormatError(
                f"journal has {size} bytes, fewer than the {self._offset} read before",
                hint=f"put {self._path.name} back from a backup, or accept that parcels may be sent twice",
            )
        while self._offset < size:
            data = os.pread(descriptor, _READ_BYTES, self._offset)
            end = data.rfind(b"\n") + 1
            if not end and (len(data) >= _READ_BYTES or self._offset + len(data) < size):
                raise FormatError(f"journal line {len(self._entries) + 1} is too long")
            if not end:
                # Killed in the middle of a write: that line never counted.
                os.ftruncate(descriptor, self._offset)
                return
            self._take(data[:end])

    def _take(self, lines: bytes) -> None:
        for line in lines.splitlines():
            self._entries.append(_parse(line, len(self._entries) + 1))
        self._offset += len(lines)


def _parse(line: bytes, seq: int) -> Entry:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"journal line {seq} is not JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise FormatError(f"journal line {seq} names no kind")
    fields = {name: item for name, item in value.items() if name != "kind"}
    if not all(item is None or isinstance(item, str | int) for item in fields.values()):
        raise FormatError(f"journal line {seq} holds something other than text and integers")
    return Entry(seq, value["kind"], MappingProxyType(fields))


def _tag_key(state: Path, *, fresh: bool) -> bytes:
    path = state / "tag.key"
    if not path.exists():
        if not fresh:
            raise FormatError(
                "the journal's tag key is gone, so nothing in the journal can be matched",
                hint=f"put {path.name} back from a backup",
            )
        write_whole(path, [secrets.token_bytes(_KEY_BYTES)])
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise FormatError(f"tag key has {len(key)} bytes instead of {_KEY_BYTES}")
    return key
