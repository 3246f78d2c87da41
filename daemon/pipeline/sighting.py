"""Sighting: the watcher saw a candidate settle; it is written down once and its intake enqueued."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.engine import Job
from daemon.jobs import INTAKE
from registry.provenance.candidates import NewCandidate, note_candidate

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from daemon.scan import Candidate


def note_sighting(shop: Workshop, seen: Candidate) -> str:
    """Record `seen` and enqueue its intake in one transaction; the same state again does nothing."""
    new = NewCandidate(
        path=str(seen.path),
        layout=seen.layout,
        files=tuple((name, str(path)) for name, path in seen.files),
        signature=seen.signature,
    )
    with shop.ledger.transaction() as tx:
        noted = note_candidate(tx, new, shop.clock())
        if noted.is_new:
            shop.jobs.enqueue_in(tx.session, Job(INTAKE, noted.id))
    return noted.id
