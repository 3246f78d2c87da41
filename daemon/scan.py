"""One look at a watched folder: what is there, what of it is settled, and what of that is whole.

Events only say when to look; what counts is what a scan finds. Settled is judged by the files' own
times, not by a timer in memory, so that restarts starve nothing. Nothing is changed, locked or moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from daemon.layouts.found import WEIGHTS_SUFFIX, FoundFile, Group, Layout
from daemon.layouts.grouping import group_files
from daemon.layouts.names import (
    is_ignored_directory,
    is_interesting_file,
    is_mark,
    is_pickle,
)
from registry.artifacts.digesting import read_head
from registry.artifacts.reading import (
    SourceBusyError,
    SourceChangedError,
    SourceRefusedError,
    SourceVanishedError,
    open_source,
)
from registry.errors import FormatError, LorasealError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

NS_PER_SECOND = 1_000_000_000
MAX_DEPTH = 8
MAX_FILES = 100_000
# A writer that reserves space first fills it from the front; its end stays zero until it is done.
_TAIL_BYTES = 4096
# What SimpleTuner's second write brings.
_SPEC = "modelspec."


class Intermediates(StrEnum):
    """What to do with the saves that a trainer makes on its way."""

    NONE = "none"
    LAST = "last"
    EVERY = "every"


@dataclass(frozen=True, slots=True)
class WatchRules:
    """When a file counts as done, and which files count at all.

    Quiet for `settle_seconds` since its own last change; what is written in several steps (a set of files,
    or diffusers weights, whose header SimpleTuner writes anew) for `settle_set_seconds`, unless the
    trainer's own mark says that it is whole. `convert`: pickles of any name are candidates too. `keep_last` counts intermediate saves of each run, and
    only finished ones, if `intermediates` is `LAST`. A file that looks unfinished, and is quiet for `broken_after_seconds`, is handed on all the
    same: intake then refuses it with a reason that a person sees.
    """

    settle_seconds: float = 2.0
    settle_set_seconds: float = 10.0
    broken_after_seconds: float = 60.0
    intermediates: Intermediates = Intermediates.NONE
    keep_last: int = 1
    convert: bool = False


class Readiness(StrEnum):
    """How far a group of files is."""

    SETTLING = "settling"
    UNFINISHED = "unfinished"
    READY = "ready"
    PASSED_OVER = "passed over"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Files to take in: `path` is the file or PEFT directory, `files` are (name inside it, path).

    `signature` changes when any of the files does. It holds neither path nor device: a remount or a
    restart gives the same one.
    """

    path: Path
    root: Path
    layout: str
    files: tuple[tuple[str, Path], ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A candidate and its readiness; `reason` says what it waits for, `due_ns` when to look again.

    `has_final` is false for a save of a trainer that never writes a result under a name of its own.
    """

    candidate: Candidate
    readiness: Readiness
    reason: str = ""
    due_ns: int | None = None
    has_final: bool = True


def scan(
    root: Path, now_ns: int, rules: WatchRules, *, known: Container[tuple[Path, str]] = ()
) -> tuple[Sighting, ...]:
    """Return what is in `root` now, in order of paths.

    `now_ns` is wall-clock time, as files have it. Groups in `known` (path, signature) are left out:
    they were handed on in this very state.

    Raises:
        OSError: `root` itself cannot be listed.
    """
    groups = group_files(find_files(root, pickles=rules.convert))
    look = _Look(root, now_ns, rules, known)
    finals = [group for group in groups if group.save is None]
    saves = [group for group in groups if group.save is not None]
    sightings = [*look.at(finals), *look.at_saves(saves)]
    return tuple(sorted(sightings, key=lambda seen: seen.candidate.path))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look: where, when, by which rules, and what was handed on before."""

    root: Path
    now_ns: int
    rules: WatchRules
    known: Container[tuple[Path, str]]

    def at(self, groups: Iterable[Group]) -> Iterator[Sighting]:
        """Judge each group that was not handed on in this state."""
        for group in groups:
            candidate = candidate_of(self.root, group)
            if (candidate.path, candidate.signature) not in self.known:
                yield _judge(candidate, group, self.now_ns, self.rules)

    def at_saves(self, groups: Iterable[Group]) -> Iterator[Sighting]:
        """Judge intermediate saves: none, all, or the last few of each run."""
        match self.rules.intermediates:
            case Intermediates.NONE:
                yield from (_passed_over(candidate_of(self.root, group), group) for group in groups)
            case Intermediates.EVERY:
                yield from self.at(groups)
            case Intermediates.LAST:
                for run in runs_of(groups):
                    yield from self._last_of(run)

    def _last_of(self, newest_first: list[Group]) -> Iterator[Sighting]:
        # A save that looks unfinished takes nobody's place: its writer may have died. One that only has to
        # be quiet a little longer does, or its elders would be taken for it.
        finished = 0
        for group in newest_first:
            candidate = candidate_of(self.root, group)
            if finished >= self.rules.keep_last:
                why = f"not among the last {self.rules.keep_last} intermediate saves"
                yield Sighting(candidate, Readiness.PASSED_OVER, why)
            elif (candidate.path, candidate.signature) in self.known:
                finished += 1
            else:
                seen = _judge(candidate, group, self.now_ns, self.rules)
                finished += seen.readiness is Readiness.SETTLING or _is_whole(seen)
                yield seen


def _is_whole(seen: Sighting) -> bool:
    return seen.readiness is Readiness.READY and not seen.reason


def silent_saves(root: Path) -> int:
    """Return how many saves there are of trainers that never write a result under a name of its own.

    Zero for a folder that cannot be listed: others say that.
    """
    try:
        groups = group_files(find_files(root))
    except (OSError, LorasealError):
        return 0
    return sum(group.save is not None and not group.save.has_final for group in groups)


def runs_of(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """Yield the intermediate saves of each run, newest first.

    By number where all count the same unit, else by their time: an epoch and a step do not compare.
    """
    runs: dict[object, list[Group]] = {}
    for group in groups:
        if group.save is not None:
            runs.setdefault(group.save.run, []).append(group)
    for saves in runs.values():
        units = {group.save.unit for group in saves if group.save is not None}
        yield sorted(saves, key=_number if len(units) == 1 else _written_ns, reverse=True)


def _number(group: Group) -> tuple[int, int]:
    return (group.save.number if group.save is not None else 0, _written_ns(group))


def _written_ns(group: Group) -> int:
    return max(file.mtime_ns for file in group.files)


def find_files(root: Path, *, pickles: bool = False) -> Iterator[FoundFile]:
    """Yield the files below `root` that can be part of an artifact, and marks; links are not followed.

    A link that is named as weights is yielded as what it is, so that intake refuses it aloud.

    A sub-folder that vanishes or may not be entered is left out; `root` itself raises `OSError`.
    """
    waiting: list[tuple[PurePosixPath, int]] = [(PurePosixPath(), 0)]
    found = 0
    while waiting:
        folder, depth = waiting.pop()
        entries = _entries(root, folder)
        beside = frozenset(entry.name for entry in entries)
        for entry in entries:
            path = folder / entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_mark(entry.name, directory=is_directory):
                yield from _mark(entry, path)
            if is_directory:
                ignored = is_ignored_directory(entry.name, parent=folder.name, beside=beside)
                if depth < MAX_DEPTH and not ignored:
                    waiting.append((path, depth + 1))
            elif (
                is_interesting_file(entry.name, pickles=pickles)
                and (file := _stat(entry, path)) is not None
            ):
                found += 1
                if found > MAX_FILES:
                    raise FormatError(
                        f"{str(root)!r} holds more than {MAX_FILES} weights files",
                        hint="watch the folder that one trainer writes to",
                    )
                yield file


def candidate_of(root: Path, group: Group) -> Candidate:
    """Return `group` as a candidate, under absolute paths."""
    inside = group.base if group.layout is Layout.PEFT else group.base.parent
    names = tuple(str(file.path.relative_to(inside)) for file in group.files)
    files = tuple((name, root / file.path) for name, file in zip(names, group.files, strict=True))
    return Candidate(root / group.base, root, group.layout, files, _signature(group, names))


def _entries(root: Path, folder: PurePosixPath) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            return list(entries)
    except OSError:
        if folder == PurePosixPath():
            raise
        return []


def _mark(entry: os.DirEntry[str], path: PurePosixPath) -> Iterator[FoundFile]:
    """Yield a mark as it is: its name and times are all that is ever read of it."""
    with contextlib.suppress(OSError):
        status = entry.stat(follow_symlinks=False)
        yield FoundFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _stat(entry: os.DirEntry[str], path: PurePosixPath) -> FoundFile | None:
    try:
        is_link = entry.is_symlink() and entry.name.endswith(WEIGHTS_SUFFIX)
        if not is_link and not entry.is_file(follow_symlinks=False):
            return None
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    return FoundFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _signature(group: Group, names: tuple[str, ...]) -> str:
    hasher = hashlib.sha256(b"loraseal/candidate/v1\n")
    for name, file in zip(names, group.files, strict=True):
        encoded = os.fsencode(name)
        numbers = f"{len(encoded)} {file.size} {file.mtime_ns} {file.ctime_ns}\n"
        hasher.update(numbers.encode() + encoded)
    return hasher.hexdigest()


def _passed_over(candidate: Candidate, group: Group) -> Sighting:
    has_final = group.save is None or group.save.has_final
    reason = "an intermediate save"
    if not has_final:
        reason += '; this trainer writes no other: set intermediates = "last" for its folder'
    return Sighting(candidate, Readiness.PASSED_OVER, reason, has_final=has_final)


def _judge(candidate: Candidate, group: Group, now_ns: int, rules: WatchRules) -> Sighting:
    changed_ns = max(_changed_ns(file, now_ns) for file in group.files)
    # A pickle does not say how long it is, so it has to be quiet for longer too.
    alone = group.layout is Layout.SINGLE and not is_pickle(group.base.name)
    several = not alone and not group.sealed_off
    seconds = rules.settle_set_seconds if several else rules.settle_seconds
    if now_ns - changed_ns < (wait_ns := int(seconds * NS_PER_SECOND)):
        late = " (its time lies in the future)" if changed_ns > now_ns else ""
        reason = f"quiet for less than {seconds:g} s{late}"
        return Sighting(candidate, Readiness.SETTLING, reason, changed_ns + wait_ns)
    reason = _unfinished(candidate, group)
    give_up_ns = changed_ns + int(rules.broken_after_seconds * NS_PER_SECOND)
    if reason and now_ns < give_up_ns:
        return Sighting(candidate, Readiness.UNFINISHED, reason, give_up_ns)
    return Sighting(candidate, Readiness.READY, reason)


def _changed_ns(file: FoundFile, now_ns: int) -> int:
    # mtime can be set to anything, also to the future by an unpacker; ctime is the system's own.
    return file.ctime_ns if file.mtime_ns > now_ns else max(file.mtime_ns, file.ctime_ns)


def _unfinished(candidate: Candidate, group: Group) -> str:
    """Return why the group looks as if its trainer were not done, or ""."""
    if group.missing is not None:
        return f"{group.missing!r} is not there yet"
    for name, path in candidate.files:
        if not name.endswith(WEIGHTS_SUFFIX):
            continue
        if reason := _fault(path, candidate.root, header_comes=group.header_comes):
            return reason
    return ""


def _fault(path: Path, root: Path, *, header_comes: bool) -> str:
    try:
        with open_source(path, root=root) as source:
            head = read_head(source)
            if header_comes and not any(key.startswith(_SPEC) for key, _ in head.header.metadata):
                return "its trainer writes it once more, with a header"
            tail = min(_TAIL_BYTES, head.header.body_bytes)
            if tail == _TAIL_BYTES and not any(source.read_at(source.size - tail, tail)):
                return "its end is all zeroes, as if space were reserved and not yet written"
    except SourceRefusedError:
        # A link, say: waiting does not help here either.
        return ""
    except (FormatError, SourceBusyError, SourceChangedError, SourceVanishedError) as error:
        return str(error)
    except LorasealError:
        # Unreadable for this user: waiting does not help, so intake says it aloud.
        return ""
    return ""
