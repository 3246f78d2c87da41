"""Reconcile: whatever our tables say is unfinished has an active job, or gets one.

The engine's rows hold progress only; a job that broke (full disk, a bug) leaves none. At start and
every minute this looks, so that nothing waits for ever. What breaks again and again waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.engine import DELAYED, Job
from daemon.jobs import AUDIT, DEADLINE, DECIDE, DELIVER, INTAKE, MARK, RENDER, repeat_ordinal
from registry.provenance.artifacts import artifacts_in
from registry.provenance.candidates import candidates_in
from registry.provenance.deliveries import deliveries_in, overdue_deliveries
from registry.provenance.marks import sources_of_open_marks
from registry.provenance.renditions import open_orders
from registry.provenance.states import ArtifactState, CandidateState, DeliveryState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from daemon.pipeline.workshop import Workshop
    from registry.provenance.ledger import Reader


def reconcile(shop: Workshop) -> int:
    """Enqueue a job for everything unfinished that has none; return how many were missing."""
    with shop.ledger.reading() as reader:
        if not _missing(shop, reader):
            return 0
    with shop.ledger.transaction() as tx:
        # Once more under the write lock, where steps can neither end nor begin: what was asked before
        # is outdated by now, and a second job for one candidate would seal into the same file.
        missing = _missing(shop, tx)
        for job in missing:
            ordinal = repeat_ordinal(shop.clock())
            shop.jobs.enqueue_in(tx.session, Job(job.name, job.argument, ordinal=ordinal))
    return len(missing)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What has a way to go by itself, as `job:id`: `moving` now, `later` when its time comes."""

    moving: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()


def unfinished(shop: Workshop) -> Unfinished:
    """Return which candidates, artifacts and deliveries still have a way to go by themselves.

    A job that runs or waits its turn counts too: one that a kill cut off after its work was recorded
    still has to clear up. A deadline that lies ahead does not: nothing is to be done until then.
    """
    with shop.ledger.reading() as reader:
        wanted = frozenset(_subject(job.id) for job in _wanted(reader, shop.clock()))
    active = shop.jobs.active_jobs().items()
    running = frozenset(_subject(job_id) for job_id, state in active if state != DELAYED)
    delayed = frozenset(_subject(job_id) for job_id, state in active if state == DELAYED) - running
    later = frozenset(item for item in wanted & delayed if not item.startswith(f"{DEADLINE}:"))
    return Unfinished((wanted - delayed) | running, later)


def _subject(job_id: str) -> str:
    return job_id.rpartition(":")[0]


def _missing(shop: Workshop, reader: Reader) -> list[Job]:
    wanted = list(_wanted(reader, shop.clock()))
    active = {_subject(job_id) for job_id in shop.jobs.active_jobs()} if wanted else set()
    return [job for job in wanted if _subject(job.id) not in active]


def _wanted(reader: Reader, now: datetime) -> Iterator[Job]:
    for candidate in candidates_in(reader, CandidateState.NOTED):
        yield Job(INTAKE, candidate.id)
    for order in open_orders(reader):
        yield Job(RENDER, order.artifact_id)
    for source_id in sources_of_open_marks(reader):
        yield Job(MARK, source_id)
    for artifact in artifacts_in(reader, ArtifactState.SEALED):
        yield Job(AUDIT, artifact.id)
    for artifact in artifacts_in(reader, ArtifactState.AUDITED):
        yield Job(DECIDE, artifact.id)
    for state in (DeliveryState.PLANNED, DeliveryState.PREPARED, DeliveryState.SENDING):
        for delivery in deliveries_in(reader, state):
            yield Job(DELIVER, delivery.id)
    for delivery in overdue_deliveries(reader, now):
        yield Job(DEADLINE, delivery.id)
