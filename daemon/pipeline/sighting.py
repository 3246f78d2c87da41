"""Sighting: the watcher saw a candidate settle; it is written down once and its intake enqueued."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from daemon.engine import Job
from daemon.jobs import INTAKE, repeat_ordinal
from registry.provenance.candidates import (
    NewCandidate,
    get_candidate,
    move_candidate,
    note_candidate,
)
from registry.provenance.events import NewEvent, note_event
from registry.provenance.moves import Move
from registry.provenance.states import CandidateState

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.pipeline.workshop import Workshop
    from daemon.scan import Candidate
    from registry.provenance.ledger import Transaction

_AGAIN = (CandidateState.GONE, CandidateState.UNREADABLE)
_UNREADABLE_NAME = (
    "its name is not UTF-8, so neither a person nor a statement can name it: rename it"
)


def note_sighting(shop: Workshop, seen: Candidate) -> str:
    """Record `seen` and enqueue its intake in one transaction; the same state again does nothing.

    Unless it was gone, or not to be read: that has nothing to do with the file, so it is tried again. A
    name that is no text is recorded in its escaped form and refused at once.
    """
    new = NewCandidate(
        path=_printable(seen.path),
        layout=seen.layout,
        files=tuple((_printable(name), _printable(path)) for name, path in seen.files),
        signature=seen.signature,
    )
    with shop.ledger.transaction() as tx:
        noted = note_candidate(tx, new, shop.clock())
        if noted.is_new and _is_text(seen):
            shop.jobs.enqueue_in(tx.session, Job(INTAKE, noted.id))
        elif noted.is_new:
            _refuse(shop, tx, noted.id)
        elif get_candidate(tx, noted.id).state in _AGAIN:
            _take_up(shop, tx, noted.id)
    return noted.id


def _take_up(shop: Workshop, tx: Transaction, candidate_id: str) -> None:
    now = shop.clock()
    move_candidate(tx, candidate_id, Move(_AGAIN, CandidateState.NOTED, now))
    note_event(tx, NewEvent("candidate seen again", now))
    shop.jobs.enqueue_in(tx.session, Job(INTAKE, candidate_id, repeat_ordinal(now)))


def _refuse(shop: Workshop, tx: Transaction, candidate_id: str) -> None:
    now, state = shop.clock(), CandidateState.REFUSED
    move = Move((CandidateState.NOTED,), state, now, _UNREADABLE_NAME)
    move_candidate(tx, candidate_id, move)
    note_event(tx, NewEvent(f"candidate {state.value}", now, detail=_UNREADABLE_NAME))


def _is_text(seen: Candidate) -> bool:
    paths = (str(path) for path in (seen.path, *(path for _, path in seen.files)))
    return all(path == _printable(path) for path in paths)


def _printable(path: str | Path) -> str:
    r"""Return `path` with each byte that is no UTF-8 as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
