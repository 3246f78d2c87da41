"""Mark: make the copies of a released artifact that bear one recipient's mark each.

A copy is an artifact of its own: sealed, audited and decided by itself, and sent to its recipient only. The
seed of a mark is derived from the registry's key and stands nowhere; the copy's signed intake, which is in the
log before anything is delivered, commits to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from daemon.custody.marks import mark_statement
from daemon.custody.opening import payload_in_memory, signed_intake
from daemon.custody.records import Taken, record_rendition
from daemon.engine import Job
from daemon.jobs import AUDIT, MARK
from daemon.pipeline.audit_step import audit_limits
from daemon.pipeline.derived import drop_extra, filed_under, named_after, root_of
from daemon.pipeline.intake_step import without_names
from registry.artifacts.inspection import inspect_glimpses
from registry.artifacts.intake import resume, take_in_opened
from registry.artifacts.notes import PayloadForm
from registry.artifacts.scrubbing.public import whole_files
from registry.audits.marking import ChildDiedError, make_marked
from registry.errors import ContentMismatchError, FormatError
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import get_artifact
from registry.provenance.marks import (
    count_mark_death,
    fail_mark,
    fill_mark,
    mark_seed,
    marks_ordered_of,
)
from registry.provenance.show import artifact_name
from registry.provenance.states import ArtifactState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from registry.artifacts.notes import IntakeResult
    from registry.provenance.marks import MarkOrder


def mark_copies(shop: Workshop, artifact_id: str) -> str:
    """Make every marked copy that was ordered of an artifact, and enqueue their audits.

    An adapter that cannot carry a mark ends the order with the reason: it is never sent without.
    """
    with shop.ledger.reading() as reader:
        orders = marks_ordered_of(reader, artifact_id)
        state = get_artifact(reader, artifact_id).state
    if not orders:
        return "nothing to do"
    return ", ".join(_fill(shop, order, state) for order in orders)


def _fill(shop: Workshop, order: MarkOrder, state: ArtifactState) -> str:
    if state is not ArtifactState.RELEASED:
        return _fail(shop, order, _no_longer(state))
    try:
        result = _made(shop, order)
    except (FormatError, ContentMismatchError) as error:
        return _fail(shop, order, without_names(str(error)))
    except ChildDiedError as error:
        return _count_death(shop, order, str(error))
    return _record(shop, order, result)


def _made(shop: Workshop, order: MarkOrder) -> IntakeResult:
    custody, filed = shop.custody, _filed(order)
    done = resume(custody.vault, [custody.keyring.vault], filed)
    if done is not None:
        return done
    with custody.ledger.reading() as reader:
        manifest = signed_intake(custody, reader, order.source_id).predicate.manifest
        seed = mark_seed(reader, order.source_id, order.recipient_id)
    with payload_in_memory(custody, order.source_id) as payload:
        form = PayloadForm(payload.form)
        bounds = audit_limits(shop.settings.audit)
        copy = make_marked(shop.audits, payload.descriptor, (form, payload.name), seed, bounds)
    try:
        files = whole_files(copy.descriptor, form, manifest)
        return take_in_opened(files, custody.vault, [custody.keyring.vault.recipient()], filed)
    finally:
        os.close(copy.descriptor)


def _record(shop: Workshop, order: MarkOrder, result: IntakeResult) -> str:
    now = shop.clock()
    inspection = inspect_glimpses(result.glimpses)
    with shop.ledger.transaction() as tx:
        source = get_artifact(tx, order.source_id)
        if source.state is not ArtifactState.RELEASED:
            fail_mark(tx, order, _no_longer(source.state), now)
            return _dropped(shop, order, result)
        # The word must not say for whom: names are read on other people's screens too.
        name = named_after(artifact_name(tx, order.source_id) or "adapter", result.artifact_id[:8])
        seed = mark_seed(tx, order.source_id, order.recipient_id)
        made, form = result.artifact_id, source.rendition
        mark = mark_statement(shop.custody.keyring, seed, order, made, form)
        root = root_of(shop, tx, order.source_id)
        taken = Taken(result, inspection, name, root, Rendition.MARKED, mark=mark)
        noted = record_rendition(shop.custody, tx, order.source_id, taken, now)
        fill_mark(tx, order, noted.id, now)
        if noted.is_new:
            shop.jobs.enqueue_in(tx.session, Job(AUDIT, noted.id))
    drop_extra(shop, _filed(order), result)
    return "made" if noted.is_new else "known"


def _no_longer(state: ArtifactState) -> str:
    return f"the artifact is {state.value}, no longer released"


def _dropped(shop: Workshop, order: MarkOrder, result: IntakeResult) -> str:
    """Forget a copy that was sealed while its source was withdrawn."""
    drop_extra(shop, _filed(order), result)
    return "impossible"


def _count_death(shop: Workshop, order: MarkOrder, reason: str) -> str:
    """Try again some times: a payload that kills the process every time must not do so for ever."""
    now = shop.clock()
    with shop.ledger.transaction() as tx:
        deaths = count_mark_death(tx, order, now)
        if deaths < shop.settings.audit.deaths_allowed:
            shop.jobs.enqueue_in(tx.session, Job(MARK, order.source_id, ordinal=deaths + 1))
            return f"death {deaths}"
    return _fail(shop, order, f"killed the process that marks it {deaths} times: {reason}")


def _fail(shop: Workshop, order: MarkOrder, reason: str) -> str:
    with shop.ledger.transaction() as tx:
        fail_mark(tx, order, reason, shop.clock())
    shop.custody.vault.forget(_filed(order))
    return "impossible"


def _filed(order: MarkOrder) -> str:
    return filed_under("mark", order.source_id, order.recipient_id)
