"""A trainer that writes badly: does one step at a time as it is told, and says so; may be killed.

Run by `bench.hostile_writers` as a process of its own, from its path, so that it imports next to nothing:

    python -I -S bench/hostile_writer.py

One line of JSON on stdin is a list of steps; for each step done it answers one line: `.` or an error.
"""

from __future__ import annotations

import json
import mmap
import os
import sys

_MODES = {
    "new": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "update": os.O_RDWR,
    "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


class Writer:
    """One open file at most, perhaps mapped; content comes from files outside of the watched folder."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._mapping: mmap.mmap | None = None

    def open(self, path: str, mode: str) -> None:
        """Open `path`; what was open is closed first."""
        self.close()
        self._descriptor = os.open(path, _MODES[mode] | os.O_CLOEXEC, 0o644)

    def write(self, source: str, start: int, end: int) -> None:
        """Write bytes `start` to `end` of `source` to the same place."""
        position = start
        for piece in self._pieces(source, start, end):
            position += os.pwrite(self._descriptor, piece, position)

    def map(self, source: str, start: int, end: int) -> None:
        """As `write`, through a shared mapping, which stays until `close`."""
        if self._mapping is None:
            self._mapping = mmap.mmap(self._descriptor, 0)
        for piece in self._pieces(source, start, end):
            self._mapping[start:end] = piece

    def resize(self, size: int) -> None:
        """Set the size of the open file; what is new of it is never written."""
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """End the mapping and close the file."""
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def rename(self, path: str, to: str) -> None:
        """Rename, over what may be there."""
        os.rename(path, to)  # noqa: PTH104 - pathlib is slow to import

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        os.symlink(target, path)  # noqa: PTH211

    def link(self, target: str, path: str) -> None:
        """Give a file another name."""
        os.link(target, path)

    def _pieces(self, source: str, start: int, end: int) -> list[bytes]:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return [os.pread(descriptor, end - start, start)]
        finally:
            os.close(descriptor)


def main() -> None:
    writer = Writer()
    for line in sys.stdin:
        for name, *arguments in json.loads(line):
            try:
                getattr(writer, name)(*arguments)
                answer = ".\n"
            except OSError as error:
                answer = f"{name}: {error.strerror}\n"
            sys.stdout.write(answer)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
