"""Audit: the sealed payload is opened into memory and judged by a child; its verdicts are signed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from daemon.custody.opening import payload_in_memory
from daemon.custody.records import record_verdicts, set_aside
from daemon.engine import Job
from daemon.jobs import AUDIT, DECIDE, sources_of
from daemon.pipeline.lending import keep_details, lend, wanted_of
from registry.artifacts.notes import PayloadForm
from registry.audits.task import AuditLimits, AuditTask, ChildDeath, DeathCause
from registry.errors import BusyError
from registry.provenance.artifacts import count_audit_death, get_artifact, move_artifact
from registry.provenance.moves import Move
from registry.provenance.states import ArtifactState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from daemon.settings import AuditSettings
    from registry.audits.task import AuditRun


def audit_artifact(shop: Workshop, artifact_id: str) -> str:
    """Run the audits that the policy requires, record signed verdicts, enqueue the decision.

    A child that dies is counted in our own table; after `deaths_allowed` the artifact is set aside,
    so that one poisoned file cannot keep the machine busy for ever.
    """
    with shop.ledger.reading() as reader:
        artifact = get_artifact(reader, artifact_id)
    if artifact.state is not ArtifactState.SEALED:
        return "nothing to do"
    run = _run(shop, artifact_id)
    if run.death is not None:
        if run.death.cause is DeathCause.WORKER:
            # The worker went, not the child: a daemon that stops must not count against the artifact.
            raise BusyError("the audit worker ended; the audit is taken up again")
        return _count_death(shop, artifact_id, run.death)
    now = shop.clock()
    with shop.ledger.transaction() as tx:
        state = ArtifactState.AUDITED
        move_artifact(tx, artifact_id, Move(tuple(sources_of(state)), state, now))
        record_verdicts(shop.custody, tx, artifact_id, run.reports, now)
        shop.jobs.enqueue_in(tx.session, Job(DECIDE, artifact_id))
        keep_details(shop, tx, artifact_id, run.details, now)
    return run.verdict.value


def _run(shop: Workshop, artifact_id: str) -> AuditRun:
    with payload_in_memory(shop.custody, artifact_id) as payload, lend(shop, artifact_id) as lent:
        settings = shop.settings.audit
        task = AuditTask(
            payload=payload.descriptor,
            form=PayloadForm(payload.form),
            name=payload.name,
            rules=shop.policy.rules,
            lent=lent,
            wanted=wanted_of(shop, artifact_id),
            deterministic=settings.deterministic,
        )
        return shop.audits.audit(task, audit_limits(settings))


def audit_limits(settings: AuditSettings) -> AuditLimits:
    """Return the bounds that the settings put on one child."""
    return AuditLimits(
        wall_seconds=settings.wall_seconds,
        cpu_seconds=int(settings.wall_seconds * (os.cpu_count() or 1)),
        rss_bytes=settings.memory_bytes,
        threads=settings.threads,
        device_bytes=settings.gpu_memory_bytes,
    )


def _count_death(shop: Workshop, artifact_id: str, death: ChildDeath) -> str:
    now = shop.clock()
    with shop.ledger.transaction() as tx:
        deaths = count_audit_death(tx, artifact_id, now)
        if deaths >= shop.settings.audit.deaths_allowed:
            set_aside(tx, artifact_id, f"killed the audit child {deaths} times: {death.cause}", now)
        else:
            shop.jobs.enqueue_in(tx.session, Job(AUDIT, artifact_id, ordinal=deaths + 1))
    return f"death {deaths}"
