"""Decide: the policy judges the signed verdicts; what it releases is planned for its recipients."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from daemon.custody.copies import note_repeat
from daemon.custody.decisions import decide_by_policy
from daemon.engine import Job
from daemon.jobs import DELIVER, MARK, RENDER
from daemon.routes import marks_wished, wants_public, wishes_for
from registry.formats.findings import Outcome
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import get_artifact
from registry.provenance.deliveries import NewDelivery, plan_delivery
from registry.provenance.marks import order_mark
from registry.provenance.renditions import order_rendition
from registry.provenance.states import ArtifactState

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.engine import Outbox
    from daemon.pipeline.workshop import Workshop
    from daemon.settings import Settings
    from registry.provenance.ledger import Transaction


def decide_artifact(shop: Workshop, artifact_id: str) -> str:
    """Decide an audited artifact and, when it is released, plan its deliveries and enqueue them."""
    with shop.ledger.transaction() as tx:
        if get_artifact(tx, artifact_id).state is not ArtifactState.AUDITED:
            return "nothing to do"
        decision = decide_by_policy(shop.custody, tx, artifact_id, shop.policy, shop.clock())
        if decision.outcome is Outcome.RELEASED:
            plan_routes(shop, tx, artifact_id)
    return decision.outcome.value


def plan_routes(shop: Workshop, tx: Transaction, artifact_id: str) -> int:
    """Plan what the routes wish for a released artifact; return how many were new."""
    return plan_routes_in(shop.settings, shop.jobs, tx, artifact_id, shop.clock())


def plan_routes_in(
    settings: Settings, jobs: Outbox, tx: Transaction, artifact_id: str, now: datetime
) -> int:
    """Plan and enqueue without a whole workshop: a command line releases too.

    Where a route wants the public rendition, that is ordered: it is made, audited and decided by itself.
    """
    if wants_public(settings, tx, artifact_id):
        order_public(jobs, tx, artifact_id, now)
    order_marks(settings, jobs, tx, artifact_id, now)
    planned = 0
    for wish in wishes_for(settings, tx, artifact_id):
        new = NewDelivery(
            id=secrets.token_hex(16),
            artifact_id=artifact_id,
            recipient_id=wish.recipient_id,
            channel=wish.channel,
        )
        noted = plan_delivery(tx, new, now)
        if noted.is_new:
            note_repeat(tx, new, now)
            jobs.enqueue_in(tx.session, Job(DELIVER, noted.id))
            planned += 1
    return planned


def order_marks(
    settings: Settings, jobs: Outbox, tx: Transaction, artifact_id: str, now: datetime
) -> int:
    """Order a marked copy for each recipient of a route that wants one; return how many are to be made."""
    recipients = marks_wished(settings, tx, artifact_id)
    ordered = sum(order_mark(tx, artifact_id, recipient, now) for recipient in recipients)
    if ordered:
        jobs.enqueue_in(tx.session, Job(MARK, artifact_id))
    return ordered


def order_public(jobs: Outbox, tx: Transaction, artifact_id: str, now: datetime) -> bool:
    """Order the public rendition of a released artifact; return whether it is still to be made."""
    if not order_rendition(tx, artifact_id, Rendition.PUBLIC, now):
        return False
    jobs.enqueue_in(tx.session, Job(RENDER, artifact_id))
    return True
