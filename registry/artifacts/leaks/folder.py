"""What all the files of an adapter folder tell: by their names, and by what stands in them.

The one module here with I/O. Files are opened once, without following links, and read plainly; pickles and
weights are not opened. Everything has a bound, and where one ends the reading, a finding says so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.leaks.kinds import make_leak
from registry.artifacts.leaks.leak import Leak, sort_leaks
from registry.artifacts.leaks.side_files import SIDE_FILE_BYTES, is_scanned, scan_side_file
from registry.artifacts.leaks.side_names import leaks_of_files, shown_name
from registry.artifacts.reading import open_source
from registry.errors import LorasealError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WEIGHTS_SUFFIX, _CAPTIONS_SUFFIX = ".safetensors", "_te.safetensors"


@dataclass(frozen=True, slots=True)
class FolderBounds:
    """How much of a folder is looked at: levels of folders, names, and bytes of all files together."""

    levels: int = 6
    names: int = 5_000
    total_bytes: int = 64 * 1024 * 1024


def scan_folder(path: Path, *, bounds: FolderBounds | None = None) -> tuple[Leak, ...]:
    """Return what the names and the contents of the files below `path` tell, worst first.

    The headers of weights are not read here: `registry.artifacts.inspection` does that.

    Raises:
        OSError: `path` cannot be listed.
    """
    limits = bounds or FolderBounds()
    names: list[str] = []
    leaks: list[Leak] = []
    for name, is_read in _walk(path, limits):
        if is_read:
            names.append(name)
        else:
            leaks.append(make_leak(shown_name(name), "not-scanned"))
    beside = [name for name in names if not _is_weights(name)]
    leaks.extend(leaks_of_files(beside))
    left = limits.total_bytes
    for name in names:
        if is_scanned(name):
            found, used = _scan_file(path / name, name, left)
            leaks.extend(found)
            left -= used
    return sort_leaks(dict.fromkeys(leaks))


def _is_weights(name: str) -> bool:
    # An adapter may be called as caches of training images are; those lie in folders of their own.
    return (
        name.endswith(_WEIGHTS_SUFFIX) and "/" not in name and not name.endswith(_CAPTIONS_SUFFIX)
    )


def _walk(root: Path, limits: FolderBounds) -> Iterator[tuple[str, bool]]:
    """Yield relative names of files and True, and False with what is not gone into."""
    waiting = [("", 1)]
    seen = 0
    while waiting:
        folder, level = waiting.pop()
        for entry_name, is_folder, is_file in _listing(root / folder, is_root=not folder):
            name = f"{folder}/{entry_name}" if folder else entry_name
            seen += 1
            if seen > limits.names:
                yield "*", False
                return
            if is_folder and level < limits.levels:
                waiting.append((name, level + 1))
            else:
                yield name, is_file


def _listing(folder: Path, *, is_root: bool) -> list[tuple[str, bool, bool]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (e.name, e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False))
                for e in entries
            )
    except OSError:
        if is_root:
            raise
        return [("*", False, False)]


def _scan_file(path: Path, name: str, left: int) -> tuple[tuple[Leak, ...], int]:
    """Return the leaks in a file, and how many bytes of it were read."""
    if left <= 0:
        return (make_leak(shown_name(name), "not-scanned"),), 0
    try:
        with open_source(path) as source:
            data = source.read_at(0, min(source.size, SIDE_FILE_BYTES, left))
            return scan_side_file(name, data, size=source.size), len(data)
    except LorasealError:
        # Unreadable, still written, or a link: not knowing is a finding, and no reason to stop.
        return (make_leak(shown_name(name), "not-scanned"),), 0
