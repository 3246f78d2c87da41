"""Dangerous seams, and a daemon that kills itself at one of them: run through `program`."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seam:
    """The instant before or after one call of `owner:name` (a module, or a class of one)."""

    owner: str
    name: str
    after: bool = False
    call: int = 1

    @property
    def program(self) -> str:
        """Python code of a daemon that does not survive this instant."""
        return (
            "from tests.crash.kill_points import Seam, arm\n"
            f"arm({self!r})\n"
            "from daemon.cli import main; main()"
        )


def arm(seam: Seam) -> None:
    """Replace the function, in this process, by one that kills the process as the seam says."""
    owner = _find(seam.owner)
    original, calls = getattr(owner, seam.name), iter(range(1, seam.call + 1))

    def deadly(*args: Any, **kwargs: Any) -> Any:
        last = next(calls, None) == seam.call
        if last and not seam.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, seam.name, deadly)


def _find(owner: str) -> Any:
    module, _, attribute = owner.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
