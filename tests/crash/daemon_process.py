"""A real daemon in a process of its own, and what it leaves behind when it is killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 300
# A worker that is still importing torch hears of its daemon's end only after that.
ORPHAN_SECONDS = 60
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with its number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return process `pid`; None when it has ended, reaped or not."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text("utf-8")
        except OSError:
            return None
        state, *fields = text.rpartition(")")[2].split()
        return None if state in "ZX" else cls(pid, fields[18])

    def runs(self) -> bool:
        return Process.of(self.pid) == self


class Daemon:
    """`loraseal up` on one settings file, from the checkout; its stderr is appended to `log`."""

    def __init__(
        self, settings: Path, log: Path, *options: str, program: str | None = None
    ) -> None:
        code = program or "from daemon.cli import main; main()"
        command = [sys.executable, "-c", code, "up", "--quiet", "--config", str(settings), *options]
        with log.open("ab") as sink:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink)

    def kill(self) -> set[Process]:
        """SIGKILL the daemon and nothing else; return its children and theirs, who have to end too."""
        assert self._process.poll() is None, "the daemon ended by itself; see its log"
        # Stopped first, so that none is born between the look and the kill.
        self._process.send_signal(signal.SIGSTOP)
        family = set(_descendants(self._process.pid))
        self._process.kill()
        self._process.wait()
        return family

    def end(self, seconds: float = END_SECONDS) -> int:
        """Wait until the daemon ends by itself; return its status, negative for a deadly signal."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def wait_for_end(family: set[Process]) -> set[Process]:
    """Return those that still run after they had time to notice that their daemon is gone."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := {one for one in family if one.runs()}) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return left


def _descendants(pid: int) -> list[Process]:
    found: list[Process] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text("ascii").split():
                process = Process.of(int(child))
                found += [] if process is None else [process]
                found += _descendants(int(child))
    return found


def open_files_of(pid: int) -> set[str]:
    """Return what a process has open, for messages about one that does not end."""
    with contextlib.suppress(OSError):
        return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
