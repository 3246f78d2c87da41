"""Listening to one child with a bound on everything: time, memory, and how much it says."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audits.control import WorkerGoneError, receive_message
from registry.audits.task import ChildDeath, DeathCause
from registry.limits import AUDIT_RESULT_BYTES

if TYPE_CHECKING:
    import socket

    from registry.audits.task import AuditLimits

_WATCH_MILLISECONDS = 20
_BURIAL_SECONDS = 15.0
_READ_BYTES = 64 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one child wrote, what ended it (None: it ended by itself with status 0), peak memory."""

    words: bytes
    death: ChildDeath | None = None
    peak_bytes: int = 0


@dataclass(slots=True)
class _Watch:
    """The state of one child while it is listened to. Times are of the monotonic clock."""

    limits: AuditLimits
    mapped_bytes: int
    deadline: float
    words: bytearray = field(default_factory=bytearray)
    pid: int | None = None
    handle: int | None = None
    status: int | None = None
    peak_bytes: int = 0
    death: ChildDeath | None = None

    def kill(self, cause: DeathCause, detail: str) -> None:
        """End the child, once; it gets a little time to be buried."""
        if self.death is not None:
            return
        self.death = ChildDeath(cause, detail)
        self.deadline = time.monotonic() + _BURIAL_SECONDS
        if self.handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)


def listen(channel: socket.socket, words: int, limits: AuditLimits, *, mapped_bytes: int) -> Heard:
    """Return what the child said on `words` until the worker on `channel` says that it has ended.

    A child over its limits is killed. If the worker itself fails, the death's cause is `WORKER` and
    the caller must start another one.
    """
    watch = _Watch(limits, mapped_bytes, time.monotonic() + limits.wall_seconds)
    try:
        _follow(channel, words, watch)
    except WorkerGoneError:
        watch.death = watch.death or ChildDeath(DeathCause.WORKER, "the audit worker died")
    finally:
        if watch.handle is not None:
            os.close(watch.handle)
    return Heard(bytes(watch.words), watch.death or _natural_death(watch), watch.peak_bytes)


def _follow(channel: socket.socket, words: int, watch: _Watch) -> None:
    poll = select.poll()
    poll.register(words, select.POLLIN)
    poll.register(channel, select.POLLIN)
    talking = True
    while talking or watch.status is None:
        ready = {descriptor for descriptor, _ in poll.poll(_WATCH_MILLISECONDS)}
        if words in ready and not _hear(words, watch):
            poll.unregister(words)
            talking = False
        if channel.fileno() in ready:
            _obey(channel, watch)
        if watch.status is None:
            _check_limits(watch)


def _hear(words: int, watch: _Watch) -> bool:
    """Read what is there; return False at the end."""
    batch = os.read(words, _READ_BYTES)
    if len(watch.words) + len(batch) > AUDIT_RESULT_BYTES:
        watch.kill(DeathCause.TALKATIVE, f"it wrote more than {AUDIT_RESULT_BYTES} bytes")
        return True  # drained and thrown away until it is dead
    watch.words += batch
    return bool(batch)


def _obey(channel: socket.socket, watch: _Watch) -> None:
    message, descriptors = receive_message(channel)
    if "started" in message:
        watch.pid = int(str(message["started"]))
        watch.handle = descriptors[0]
    elif "ended" in message:
        watch.status = int(str(message["ended"]))


def _check_limits(watch: _Watch) -> None:
    now = time.monotonic()
    if now > watch.deadline:
        if watch.death is not None or watch.handle is None:
            # It was killed, or never began, and the worker does not say that it ended.
            raise WorkerGoneError("the audit worker does not answer")
        watch.kill(DeathCause.TIMEOUT, f"it ran longer than {watch.limits.wall_seconds:g} s")
    resident = _resident_bytes(watch.pid)
    watch.peak_bytes = max(watch.peak_bytes, resident)
    # What is mapped (payload, base) counts as resident and is no sin of the audit's.
    if resident > watch.limits.rss_bytes + watch.mapped_bytes:
        mebibytes = watch.limits.rss_bytes // 1024**2
        watch.kill(DeathCause.MEMORY, f"it used more than {mebibytes} MiB beside the payload")


def _resident_bytes(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):  # it has just ended
        return 0


def _natural_death(watch: _Watch) -> ChildDeath | None:
    status = watch.status
    if status == 0:
        return None
    if status == -signal.SIGXCPU:
        detail = f"it used more than {watch.limits.cpu_seconds} s of CPU time"
        return ChildDeath(DeathCause.TIMEOUT, detail)
    if status is not None and status < 0:
        return ChildDeath(DeathCause.CRASH, f"it was ended by signal {-status}")
    return ChildDeath(DeathCause.CRASH, f"it ended with status {status}")
