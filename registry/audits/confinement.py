"""What the audit processes give up before they touch a byte of a payload.

Two rings: the worker (which has imported torch and only forks) loses network, files and privileges;
each child adds a ring of its own, so that it can neither start processes nor reach the worker. Every
step is best effort, because kernels and containers differ, and says what it achieved: the report of
an audit names it. Memory is bounded by the parent, which watches the resident size: RLIMIT_AS breaks
torch, which reserves address space that it never uses.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from registry.audits import landlock, seccomp

_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_OPEN_FILES = 256
_GRACE_SECONDS = 5
_PACKAGE = Path(__file__).resolve().parents[1]
_SYSTEM = ("/usr", "/lib", "/lib64", "/proc", "/sys", "/dev", "/etc/ld.so.cache", "/etc/localtime")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the processes may still open: extra folders of code, and the accelerator's devices."""

    code: tuple[str, ...] = ()
    accelerator: bool = False


def confine_worker(reach: Reach) -> dict[str, str]:
    """Take network, files, privileges from this process; return a word for each.

    Call it with all heavy modules imported and while the process has one thread: a user namespace
    can only be made by a process without threads.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _die_first()
    network = _leave_network(libc)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    privileges = _drop_capabilities(libc)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return {"network": network, "privileges": privileges, "files": _restrict_files(reach)}


def confine_child(reach: Reach, *, worker: int, cpu_seconds: int) -> dict[str, str]:
    """Add the child's own ring after the fork; return a word for each step.

    Raises:
        ProcessLookupError: `worker`, which forked this process, is gone already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # A killed worker must not leave a child behind that still holds plaintext.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker:
        raise ProcessLookupError("the worker is gone")
    # The soft limit sends SIGXCPU, which tells a child that computed too long from one that was killed.
    _limit(resource.RLIMIT_CPU, cpu_seconds, grace=_GRACE_SECONDS)
    # A Landlock domain of its own: the child may not trace the worker that forked it.
    files = _restrict_files(reach)
    return {"child files": files, "system calls": seccomp.deny_system_calls()}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process that works alone may use: seconds, bytes of address space, bytes of one file."""

    cpu_seconds: int
    memory_bytes: int
    file_bytes: int


def confine_alone(bounds: Bounds, *, parent: int) -> dict[str, str]:
    """Take everything from this process but its open files; return a word for each step.

    For a process that was started for one job, has imported all it needs, opens nothing any more,
    and uses no torch: so its address space can be bounded, and Landlock leaves it no path at all.

    Raises:
        ProcessLookupError: `parent`, which started this process, is gone already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent is gone")
    _die_first()
    network = _leave_network(libc)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    privileges = _drop_capabilities(libc)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    files = landlock.restrict_files(landlock.Paths(readable=()))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_FSIZE, bounds.file_bytes)
    _limit(resource.RLIMIT_AS, bounds.memory_bytes)
    _limit(resource.RLIMIT_CPU, bounds.cpu_seconds, grace=_GRACE_SECONDS)
    calls = seccomp.deny_system_calls()
    return {"network": network, "privileges": privileges, "files": files, "system calls": calls}


def _restrict_files(reach: Reach) -> str:
    readable = [*_SYSTEM, sys.prefix, sys.base_prefix, str(_PACKAGE), *reach.code]
    # Names of importable modules may be listed, their folders' other content may not be read.
    return landlock.restrict_files(
        landlock.Paths(
            readable=tuple(readable),
            listable=tuple(path for path in sys.path if path),
            writable=("/dev",) if reach.accelerator else ("/dev/null",),
        )
    )


def _limit(kind: int, value: int, *, grace: int = 0) -> None:
    _, hard = resource.getrlimit(kind)
    most = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    resource.setrlimit(kind, (min(value, most), most))


def _die_first() -> None:
    # When memory runs out the kernel must choose the audit, not the daemon or the trainer.
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return


def _leave_network(libc: ctypes.CDLL) -> str:
    if libc.unshare(_NEW_USER | _NEW_NET | _NEW_IPC) == 0:
        return "own empty namespace"
    reason = os.strerror(ctypes.get_errno())
    return f"no namespace ({reason}); sockets are denied in the child"


def _drop_capabilities(libc: ctypes.CDLL) -> str:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    nothing = bytes(24)
    if libc.capset(header, nothing) == 0:
        return "none"
    return f"kept ({os.strerror(ctypes.get_errno())})"
