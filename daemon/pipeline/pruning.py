"""Pruning: a trainer's intermediate saves are deleted where the owner's settings say so, and nowhere else.

Never a result, never the newest save of a run (its trainer may go on from it), never what is no adapter or
changed since it was looked at. `sealed`: only what lies in the vault byte for byte, by the signed intake and
not by a row. Training state beside a save stays. The ledger is told before and after, without paths; what an
unlink promises is said there too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from daemon.custody.opening import signed_intake
from daemon.layouts.found import WEIGHTS_SUFFIX, Layout
from daemon.layouts.grouping import group_files
from daemon.layouts.names import TRAINER_STATE
from daemon.mounts import file_system_of
from daemon.scan import NS_PER_SECOND, candidate_of, find_files, runs_of
from registry.artifacts.byproducts.removal import WORDS, remove_exactly
from registry.artifacts.classifying.kinds import ADAPTER
from registry.artifacts.inspection import inspect_path
from registry.artifacts.reading import Stamp, open_source
from registry.digest import Digest
from registry.errors import LorasealError
from registry.provenance.candidates import find_candidate
from registry.provenance.events import NewEvent, note_event

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.layouts.found import FoundFile, Group
    from daemon.pipeline.workshop import Workshop
    from daemon.settings import WatchSettings
    from registry.formats.predicates.intake import Intake

log = logging.getLogger(__name__)

NEVER, SEALED = "never", "sealed"
# Younger than this a save may still be read by its trainer, or be the one that it resumes from.
REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Doomed:
    """A save that is to go, with the stamp of each of its files; `artifact_id` if it is in the vault."""

    group: Group
    stamps: tuple[Stamp, ...]
    artifact_id: str | None = None


@dataclass
class Pruned:
    """How many files of how many bytes went, and how many were left because they had changed."""

    files: int = 0
    size: int = 0
    left: int = 0


def prune(shop: Workshop, watch: WatchSettings) -> Pruned:
    """Delete what the owner wants deleted in one watched folder; do nothing unless the settings say so.

    Raises:
        OSError: the folder cannot be listed.
        BusyError: the ledger is busy; nothing was deleted that it was not told of.
    """
    found, root = Pruned(), watch.path.absolute()
    for one in doomed(shop, watch):
        said = f"{len(one.group.files)} files, {_size(one)} bytes"
        _tell(shop, root, ("trainer files to be deleted", said), one.artifact_id)
        for file, stamp in zip(one.group.files, one.stamps, strict=True):
            _remove(root, file, stamp, found)
    if found.files or found.left:
        said = f"{found.files} files, {found.size} bytes; {found.left} left, changed meanwhile"
        _tell(shop, root, ("trainer files deleted", said), None)
        log.info("intermediate saves deleted", extra={"files": found.files, "left": found.left})
    return found


def doomed(shop: Workshop, watch: WatchSettings) -> list[Doomed]:
    """Return the saves that `prune` would delete now, oldest of each run first; nothing is changed.

    Raises:
        OSError: the folder cannot be listed.
    """
    if watch.delete_intermediates == NEVER:
        return []
    now_ns = int(shop.clock().timestamp() * NS_PER_SECOND)
    root, pickles = watch.path.absolute(), watch.convert
    groups = [group for group in group_files(find_files(root, pickles=pickles)) if group.save]
    found = []
    for run in runs_of(groups):
        # By number and by time: a run that begins anew counts from one again.
        newest = {id(run[0]), id(max(run, key=_written_ns))}
        newest |= {id(group) for group in run if _is_best(root, group, run)}
        if watch.intermediates == "last":
            # Else what is kept of the last N would go, and older ones be taken in their place.
            newest |= {id(group) for group in run[: watch.keep_last]}
        for group in reversed(run):
            if id(group) in newest or group.missing is not None or not _rests(group, now_ns):
                continue
            with suppress(OSError, LorasealError):
                found += _if_it_may_go(shop, watch, group)
    return found


def _is_best(root: Path, group: Group, run: list[Group]) -> bool:
    """Return whether the Trainer means to load this checkpoint at its end, or what it means cannot be read."""
    if group.layout is not Layout.PEFT:
        return False
    states = [root / each.base / TRAINER_STATE for each in run]
    there = [path for path in states if path.is_file() and not path.is_symlink()]
    if not there:
        return False
    newest = max(there, key=lambda path: path.lstat().st_mtime_ns)
    try:
        said = json.loads(newest.read_bytes())["best_model_checkpoint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True
    return isinstance(said, str) and PurePosixPath(said).name == group.base.name


def _if_it_may_go(shop: Workshop, watch: WatchSettings, group: Group) -> list[Doomed]:
    """Return the save if it is in the vault, or is none that the settings want; else nothing.

    What the settings do want and the vault does not hold stays, whatever its place in its run; and so does
    all that a trainer leaves that writes no result of its own.
    """
    root = watch.path.absolute()
    stamps = tuple(_stamp(root, file) for file in group.files)
    if None in stamps:
        return []
    known = tuple(stamp for stamp in stamps if stamp is not None)
    intake = _intake_of(shop, watch, group)
    if intake is not None and _is_in_vault(shop, intake, root, group):
        return [Doomed(group, known, intake.artifact_id)]
    unwanted = watch.intermediates == "none" and group.save is not None and group.save.has_final
    if watch.delete_intermediates == SEALED or not unwanted:
        return []
    return [Doomed(group, known)] if _are_adapters(root, group) else []


def _stamp(root: Path, file: FoundFile) -> Stamp | None:
    """Return what tells this state of the file; None if it is another by now, or has other names."""
    status = (root / file.path).lstat()
    seen = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    # A file with other names would only lose one of them, and look deleted.
    if seen != (file.size, file.mtime_ns, file.ctime_ns) or status.st_nlink > 1:
        return None
    return Stamp.of(status)


def _rests(group: Group, now_ns: int) -> bool:
    changed = max(max(file.mtime_ns, file.ctime_ns) for file in group.files)
    return now_ns - changed >= REST_SECONDS * NS_PER_SECOND


def _written_ns(group: Group) -> int:
    return max(file.mtime_ns for file in group.files)


def _intake_of(shop: Workshop, watch: WatchSettings, group: Group) -> Intake | None:
    """Return the signed intake that a row names for this very state of the files, None if there is none."""
    candidate = candidate_of(watch.path.absolute(), group)
    with shop.ledger.reading() as reader:
        row = find_candidate(reader, str(candidate.path), candidate.signature)
        if row is None or row.artifact_id is None:
            return None
        return signed_intake(shop.custody, reader, row.artifact_id).predicate


def _is_in_vault(shop: Workshop, intake: Intake, root: Path, group: Group) -> bool:
    """Return whether every file is, byte for byte, one that was signed, and the vault's copy is whole.

    Who writes the database can point a row at another artifact, and would have the file deleted.
    """
    signed = {entry.sha256 for entry in intake.manifest.entries}
    signed |= {digest for _, digest in intake.trainer_facts}
    if not all(_digest(root / file.path, root) in signed for file in group.files):
        return False
    shop.custody.vault.check(Digest("blake3", intake.payload_digest.value))
    return True


def _digest(path: Path, root: Path) -> str:
    hasher = hashlib.sha256()
    with open_source(path, root=root) as source:
        for batch in source.batches():
            hasher.update(batch)
    return hasher.hexdigest()


def _are_adapters(root: Path, group: Group) -> bool:
    weights = [root / file.path for file in group.files if file.path.name.endswith(WEIGHTS_SUFFIX)]
    return bool(weights) and all(inspect_path(path).kind == ADAPTER for path in weights)


def _remove(root: Path, file: FoundFile, stamp: Stamp, found: Pruned) -> None:
    try:
        remove_exactly(root, file.path, stamp)
    except (OSError, LorasealError):
        found.left += 1
        return
    found.files += 1
    found.size += file.size


def _size(one: Doomed) -> int:
    return sum(file.size for file in one.group.files)


def _tell(shop: Workshop, root: Path, said: tuple[str, str], artifact_id: str | None) -> None:
    kind, words = said
    system = file_system_of(root) or "an unknown file system"
    detail = f"{words}; on {system}: {WORDS}"
    with shop.ledger.transaction() as tx:
        note_event(tx, NewEvent(kind, shop.clock(), artifact_id, detail=detail))
