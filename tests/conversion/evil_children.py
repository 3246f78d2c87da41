"""Children that take the place of the caged one and misbehave; started by name through the cage."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import time
from pathlib import Path

from registry.audits.confinement import Bounds, confine_alone
from registry.conversion.child import _PRELOADED, Job
from registry.conversion.task import ChildReport
from registry.digest import Digest
from registry.formats.canonical import dump_canonical
from tests.weights_files import lora_bytes

_CONFINED = b'{"files":"none"}\n'
_REPORT = ChildReport("zip", 1, Digest("blake3", "0" * 64), 0, 0, 0, None, ())


def sleeps(_job: Job) -> None:
    while True:
        time.sleep(1)


def sleeps_with_pipe_closed(job: Job) -> None:
    os.write(job.words, _CONFINED)
    os.close(job.words)
    sleeps(job)


def exits(_job: Job) -> None:
    os._exit(3)


def crashes(job: Job) -> None:
    os.write(job.words, _CONFINED)
    os.kill(os.getpid(), signal.SIGSEGV)


def spins(job: Job) -> None:
    _confine(job)
    while True:
        pass


def swells(job: Job) -> None:
    _confine(job)
    held = []
    while True:
        held.append(bytes(16 * 1024 * 1024))


def floods(job: Job) -> None:
    _confine(job)
    while True:
        os.write(job.result, bytes(1024 * 1024))


def babbles(job: Job) -> None:
    os.write(job.words, _CONFINED)
    while True:
        os.write(job.words, b"x" * 65536)


def raves(job: Job) -> None:
    os.write(job.words, _CONFINED + b"{}\n")


def boasts(job: Job) -> None:
    """Says that it is done, and wrote nothing."""
    os.write(job.words, _CONFINED + _REPORT.to_bytes() + b"\n")


def swaps(job: Job) -> None:
    """Writes a sound file with other tensors than it says."""
    os.write(job.result, lora_bytes())
    os.write(job.words, _CONFINED + _REPORT.to_bytes() + b"\n")


def fails_after_done(job: Job) -> None:
    os.write(job.words, _CONFINED + _REPORT.to_bytes() + b"\n")
    os._exit(1)


def tries(job: Job) -> None:
    """Says which ways out are open, in the place of a reason."""
    confined = _confine(job)
    open_ways = [name for name, way in _WAYS.items() if _succeeds(way, job)]
    line = {"refused": f"open: {','.join(open_ways)}", "reason": "scan", "hint": str(confined)}
    os.write(job.words, dump_canonical({**line}) + b"\n")


def _confine(job: Job) -> dict[str, str]:
    for name in _PRELOADED:
        importlib.import_module(name)
    confined = confine_alone(
        Bounds(job.cpu_seconds, job.memory_bytes, job.output_bytes), parent=job.parent
    )
    os.write(job.words, dump_canonical({**confined}) + b"\n")
    return confined


def _succeeds(way, job: Job) -> bool:
    with contextlib.suppress(OSError, MemoryError, ImportError, ValueError):
        way(job)
        return True
    return False


def _grow_the_result(job: Job) -> None:
    os.ftruncate(job.result, job.output_bytes + 1)


def _alter_the_pickle(job: Job) -> None:
    os.pwrite(job.payload, b"x", 0)


def _raise_limits(job: Job) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes * 2, job.memory_bytes * 2))


def _trace_parent(job: Job) -> None:
    if ctypes.CDLL(None).ptrace(16, job.parent, 0, 0) != 0:
        raise PermissionError


_WAYS = {
    "read a world-readable file": lambda job: Path("/etc/passwd").read_bytes(),
    "read its own code": lambda job: Path(__file__).read_bytes(),
    "read the parent's memory": lambda job: Path(f"/proc/{job.parent}/mem").read_bytes(),
    "list a folder": lambda job: list(Path("/").iterdir()),
    "write a file": lambda job: Path("/dev/shm/loraseal-escape").write_bytes(b"x"),  # noqa: S108 - it must not be possible
    "internet socket": lambda job: socket.socket(socket.AF_INET),
    "unix socket": lambda job: socket.socket(socket.AF_UNIX),
    "socket pair": lambda job: socket.socketpair(),
    "fork": lambda job: os._exit(0) if os.fork() == 0 else None,
    "program": lambda job: os.posix_spawn("/bin/true", ["true"], {}),
    "signal to parent": lambda job: os.kill(job.parent, 0),
    "other memory": lambda job: os.memfd_create("x"),
    "import": lambda job: __import__("xml.dom.minidom"),
    "raise limits": _raise_limits,
    "trace parent": _trace_parent,
    "grow the result": _grow_the_result,
    "alter the pickle": _alter_the_pickle,
}
