"""Pruning: a trainer's intermediate saves are deleted where the owner's settings say so, and nowhere else.

Never a result, never the newest save of a run (its trainer may go on from it), never what changed since it was
looked at, and with `sealed` only what lies in the vault. Training state beside a save stays. The ledger is
told before and after, without paths; what an unlink promises is said there too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daemon.layouts.grouping import group_files
from daemon.mounts import file_system_of
from daemon.scan import NS_PER_SECOND, Candidate, candidate_of, find_files, runs_of
from registry.artifacts.byproducts.removal import WORDS, remove_exactly
from registry.artifacts.reading import Stamp
from registry.digest import Digest
from registry.errors import LorasealError
from registry.provenance.artifacts import find_payload
from registry.provenance.candidates import find_candidate
from registry.provenance.events import NewEvent, note_event
from registry.provenance.states import CandidateState

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.layouts.found import FoundFile, Group
    from daemon.pipeline.workshop import Workshop
    from daemon.settings import WatchSettings

log = logging.getLogger(__name__)

NEVER, SEALED = "never", "sealed"
# Younger than this a save may still be read by its trainer, or be the one that it resumes from.
REST_SECONDS = 60.0


@dataclass
class Pruned:
    """How many files of how many bytes went, and how many were left because they had changed."""

    files: int = 0
    size: int = 0
    left: int = 0
    doomed: list[tuple[Candidate, Group]] = field(default_factory=list)


def prune(shop: Workshop, watch: WatchSettings) -> Pruned:
    """Delete what the owner wants deleted in one watched folder; do nothing unless the settings say so.

    Raises:
        OSError: the folder cannot be listed.
        BusyError: the ledger is busy; nothing was deleted that it was not told of.
    """
    found = Pruned()
    if watch.delete_intermediates == NEVER:
        return found
    found.doomed = doomed(shop, watch)
    if not found.doomed:
        return found
    root = watch.path.absolute()
    _tell(shop, root, "trainer files to be deleted", _count(found.doomed))
    for _, group in found.doomed:
        for file in group.files:
            _remove(root, file, found)
    said = (
        f"{found.files} files, {found.size} bytes; {found.left} left: changed, or linked elsewhere"
    )
    _tell(shop, root, "trainer files deleted", said)
    log.info("intermediate saves deleted", extra={"files": found.files, "left": found.left})
    return found


def doomed(shop: Workshop, watch: WatchSettings) -> list[tuple[Candidate, Group]]:
    """Return the saves that `prune` would delete now, oldest first; nothing is changed.

    Raises:
        OSError: the folder cannot be listed.
    """
    root = watch.path.absolute()
    now_ns = int(shop.clock().timestamp() * NS_PER_SECOND)
    groups = [group for group in group_files(find_files(root)) if group.save is not None]
    old = [
        (candidate_of(root, group), group)
        for run in runs_of(groups)
        for group in reversed(run[1:])
        if group.missing is None and _rests(group, now_ns)
    ]
    return [(one, group) for one, group in old if _may_go(shop, watch, one, group)]


def _may_go(shop: Workshop, watch: WatchSettings, candidate: Candidate, group: Group) -> bool:
    """Say whether a save is in the vault, or is none that the settings want.

    What the settings do want and the vault does not hold stays, whatever its place in its run; and so does
    all that a trainer leaves that writes no result of its own.
    """
    if _is_sealed(shop, candidate):
        return True
    unwanted = watch.intermediates == "none" and group.save is not None and group.save.has_final
    return watch.delete_intermediates != SEALED and unwanted


def _rests(group: Group, now_ns: int) -> bool:
    changed = max(max(file.mtime_ns, file.ctime_ns) for file in group.files)
    return now_ns - changed >= REST_SECONDS * NS_PER_SECOND


def _is_sealed(shop: Workshop, candidate: Candidate) -> bool:
    """Return whether this very state of the files is in the vault, whole as it is read now."""
    with shop.ledger.reading() as reader:
        row = find_candidate(reader, str(candidate.path), candidate.signature)
        if row is None or row.state is not CandidateState.TAKEN or row.artifact_id is None:
            return False
        payload = find_payload(reader, row.artifact_id)
    if payload is None:
        return False
    try:
        shop.custody.vault.check(Digest("blake3", payload.digest))
    except LorasealError:
        return False
    return True


def _remove(root: Path, file: FoundFile, found: Pruned) -> None:
    try:
        status = (root / file.path).lstat()
        stamp = Stamp.of(status)
        seen = (stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        # A file with other names would only lose one of them, and look deleted.
        if seen != (file.size, file.mtime_ns, file.ctime_ns) or status.st_nlink > 1:
            found.left += 1
            return
        remove_exactly(root, file.path, stamp)
    except (OSError, LorasealError):
        found.left += 1
        return
    found.files += 1
    found.size += file.size


def _count(groups: list[tuple[Candidate, Group]]) -> str:
    files = [file for _, group in groups for file in group.files]
    return f"{len(groups)} saves, {len(files)} files, {sum(file.size for file in files)} bytes"


def _tell(shop: Workshop, root: Path, kind: str, said: str) -> None:
    system = file_system_of(root) or "an unknown file system"
    with shop.ledger.transaction() as tx:
        note_event(tx, NewEvent(kind, shop.clock(), detail=f"{said}; on {system}: {WORDS}"))
