"""Watching in a process of its own: to be stopped, to live under other limits, or with other mounts.

`python -m tests.daemon.watching_process run ROOT COUNT [polled|lost]` prints `ready` after the first look, then
a line of JSON once COUNT files are found (and the folder is polled, or it was said that events were
lost). Each PATH=VALUE before `run` is written to /proc/sys first: under `unshare -Ur` that limits this process only.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path

from daemon.scan import WatchRules
from daemon.watcher import Look, Watcher


class Kept(logging.Handler):
    """Keeps the words of every log record."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


def run(root: Path, count: int, awaited: str) -> dict[str, object]:
    """Watch until all is found; return what was."""
    kept = Kept()
    logging.getLogger().addHandler(kept)
    stop, ready = threading.Event(), threading.Event()
    found: set[str] = set()
    looks: list[Look] = []
    rules = WatchRules(settle_seconds=0.1, settle_set_seconds=0.1)
    watcher = Watcher(root, rules, lambda seen: found.add(str(seen.path)), scan_seconds=3600)

    def on_look(look: Look) -> None:
        looks.append(look)
        if not ready.is_set():
            ready.set()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        lost = any(words.startswith("events were lost") for words in kept.words)
        said = {"polled": bool(look.polled), "lost": lost, "": True}
        if len(found) >= count and said[awaited]:
            stop.set()
            watcher.nudge()

    watcher.run(stop, on_look=on_look)
    return {"found": len(found), "polled": looks[-1].polled, "log": kept.words, "looks": len(looks)}


def main() -> None:
    arguments = sys.argv[1:]
    while arguments[0] != "run":
        path, _, value = arguments.pop(0).partition("=")
        Path("/proc/sys", path).write_text(value)
    root, count, *rest = arguments[1:]
    sys.stdout.write(json.dumps(run(Path(root), int(count), "".join(rest))) + "\n")


if __name__ == "__main__":
    main()
