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
from registry.artifacts.reading import Stamp
from registry.artifacts.removal import WORDS, remove_exactly
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
    said = f"{found.files} files, {found.size} bytes; {found.left} left, changed meanwhile"
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
    wanted = watch.delete_intermediates
    return [(one, group) for one, group in old if wanted != SEALED or _is_sealed(shop, one)]


def _rests(group: Group, now_ns: int) -> bool:
    changed = max(max(file.mtime_ns, file.ctime_ns) for file in group.files)
    return now_ns - changed >= REST_SECONDS * NS_PER_SECOND


def _is_sealed(shop: Workshop, candidate: Candidate) -> bool:
    """Return whether this very state of the files is in the vault."""
    with shop.ledger.reading() as reader:
        row = find_candidate(reader, str(candidate.path), candidate.signature)
        if row is None or row.state is not CandidateState.TAKEN or row.artifact_id is None:
            return False
        payload = find_payload(reader, row.artifact_id)
    return payload is not None and shop.custody.vault.holds(Digest("blake3", payload.digest))


def _remove(root: Path, file: FoundFile, found: Pruned) -> None:
    try:
        stamp = Stamp.of((root / file.path).lstat())
        seen = (stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        if seen != (file.size, file.mtime_ns, file.ctime_ns):
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
