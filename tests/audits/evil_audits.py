"""Audits that misbehave, each in one way. Installed by `test_runner.py` as a plug-in distribution."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.limits import AUDIT_RESULT_BYTES

RULES = (
    "crash", "exits", "spins", "sleeps", "swells", "raves", "babbles", "poses", "softens", "boasts",
    "raises", "escapes", "fine", "lacks",
)  # fmt: skip


def _report(rule, verdict=Verdict.PASS, **more):
    return AuditReport(rule, "1", verdict, Coverage(1, 1, "things"), "said so", **more)


def _shout(data):
    """Write to every descriptor, one of which is the pipe to the parent."""
    for descriptor in range(3, 64):
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            continue


class _Audit:
    version = "1"
    privacy = False


class Crash(_Audit):
    rule = "crash"

    def run(self, subject):
        ctypes.string_at(0)


class Exits(_Audit):
    rule = "exits"

    def run(self, subject):
        os._exit(0)


class Spins(_Audit):
    rule = "spins"

    def run(self, subject):
        while True:
            pass


class Sleeps(_Audit):
    rule = "sleeps"

    def run(self, subject):
        threading.Event().wait()


class Swells(_Audit):
    rule = "swells"

    def run(self, subject):
        kept = []
        while True:
            kept.append(b"\1" * 2**24)


class Raves(_Audit):
    rule = "raves"

    def run(self, subject):
        _shout(b'{"done":true}\n{"report":1e999}\n')
        os._exit(0)


class Babbles(_Audit):
    rule = "babbles"

    def run(self, subject):
        _shout(b"x" * (2 * AUDIT_RESULT_BYTES))
        threading.Event().wait()


class Poses(_Audit):
    rule = "poses"

    def run(self, subject):
        return _report("fine")


class Softens(_Audit):
    rule = "softens"

    def run(self, subject):
        return _report("softens", findings=(Finding("softens", Verdict.FAIL, "bad", "none"),))


class Boasts(_Audit):
    rule = "boasts"

    def run(self, subject):
        report = _report("boasts", supplier="the registry itself", privacy=True)
        return AuditReport(
            "boasts", "99", report.verdict, report.coverage, "said so",
            supplier=report.supplier, privacy=True,
        )  # fmt: skip


class Raises(_Audit):
    rule = "raises"

    def run(self, subject):
        raise ValueError("secret words of the payload")


class Lacks(_Audit):
    rule = "lacks"

    def run(self, subject):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


class Fine(_Audit):
    rule = "fine"

    def run(self, subject):
        return _report("fine")


class Escapes(_Audit):
    """Tries every way out and reports which one was open."""

    rule = "escapes"

    def run(self, subject):
        secret = Path(__file__).parent / "secret.txt"
        libc = ctypes.CDLL(None)
        ways = {
            "socket": socket.socket,
            "unix socket": lambda: socket.socket(socket.AF_UNIX),
            "read a secret": secret.read_bytes,
            "read the environment of the parent": lambda: _read_environ(os.getppid()),
            "write a file": lambda: (Path.cwd() / "dev/shm/loraseal-escape").write_bytes(b"x"),
            "overwrite a file": lambda: os.open(secret, os.O_WRONLY),
            "make a memory file": lambda: os.memfd_create("x"),
            "fork": _fork,
            "run a program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),  # noqa: S606 - must be refused
            "signal the worker": lambda: os.kill(os.getppid(), signal.SIGTERM),
            "trace the worker": lambda: _checked(libc.ptrace(16, os.getppid(), 0, 0)),
            "take a new namespace": lambda: _checked(libc.unshare(0x10000000)),
        }
        open_ways = [name for name, way in ways.items() if _is_open(way)]
        return _report("escapes", metrics=(("open", ", ".join(open_ways)),))


def _fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _read_environ(pid):
    data = Path(f"/proc/{pid}/environ").read_bytes()
    if not data:
        raise OSError


def _checked(result):
    if result != 0:
        raise OSError


def _is_open(way):
    try:
        way()
    except OSError:
        return False
    return True
