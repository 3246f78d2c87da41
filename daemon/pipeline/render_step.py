"""Render: make the public rendition of a released artifact from its sealed payload, as an artifact of its own.

It is sealed, audited and decided like any other; nothing is taken over from the verdicts on the original.
The original stays in the vault, and the header that it had is kept in the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.custody.opening import payload_in_memory, signed_intake
from daemon.custody.records import Taken, record_rendition
from daemon.engine import Job
from daemon.jobs import AUDIT
from daemon.pipeline.derived import drop_extra, filed_under, named_after, root_of
from daemon.pipeline.intake_step import without_names
from registry.artifacts.inspection import inspect_glimpses
from registry.artifacts.intake import resume, take_in_opened
from registry.artifacts.notes import PayloadForm
from registry.artifacts.scrubbing.header import Profile, ScrubRules
from registry.artifacts.scrubbing.public import public_files
from registry.errors import FormatError
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import get_artifact
from registry.provenance.headers import NewHeader, keep_header
from registry.provenance.renditions import OrderState, fail_order, fill_order, find_order
from registry.provenance.show import artifact_name
from registry.provenance.states import ArtifactState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from registry.artifacts.notes import IntakeResult
    from registry.artifacts.scrubbing.files import OriginalHeader
    from registry.provenance.artifacts import Artifact
    from registry.provenance.renditions import RenditionOrder

_NOTHING_TO_DO = (
    "its header tells nothing that a public rendition would leave out: route the original instead"
)


def render(shop: Workshop, artifact_id: str) -> str:
    """Make the public rendition that was ordered of an artifact, and enqueue its audit.

    A header that cannot be scrubbed ends the order with a reason; a full disk or a busy ledger raises,
    and the order is taken up again.
    """
    with shop.ledger.reading() as reader:
        order = find_order(reader, artifact_id, Rendition.PUBLIC)
        artifact = get_artifact(reader, artifact_id)
    if order is None:
        return "nothing to do"
    if order.state is not OrderState.ORDERED:
        # Perhaps a run was killed after it had recorded the rendition: what it left goes now.
        shop.custody.vault.forget(_filed(artifact_id))
        return "nothing to do"
    if objection := _objection(artifact):
        return _fail(shop, order, objection)
    try:
        result = _made(shop, artifact_id)
    except FormatError as error:
        return _fail(shop, order, without_names(str(error)))
    if result.artifact_id == artifact_id:
        drop_extra(shop, _filed(order.artifact_id), result)
        return _fail(shop, order, _NOTHING_TO_DO)
    return _record(shop, order, result)


def _objection(artifact: Artifact) -> str:
    if artifact.rendition is Rendition.MARKED:
        # Its public form would bear the mark, and say nothing of it.
        return "the artifact is one recipient's marked copy"
    if artifact.state is not ArtifactState.RELEASED:
        return f"the artifact is {artifact.state.value}, no longer released"
    return ""


def rules_of(shop: Workshop) -> ScrubRules:
    """Return the rules of the settings for public headers."""
    public = shop.settings.public
    return ScrubRules(
        profile=Profile(public.profile),
        keep=public.keep,
        drop=public.drop,
        licence=public.licence,
        owner=public.owner,
    )


def _made(shop: Workshop, artifact_id: str) -> IntakeResult:
    custody, mark = shop.custody, _filed(artifact_id)
    done = resume(custody.vault, [custody.keyring.vault], mark)
    if done is not None:
        return done
    with custody.ledger.reading() as reader:
        manifest = signed_intake(custody, reader, artifact_id).predicate.manifest
    with payload_in_memory(custody, artifact_id) as payload:
        form = PayloadForm(payload.form)
        public = public_files(payload.descriptor, form, manifest, rules_of(shop))
        _keep(shop, public.originals)
        recipients = [custody.keyring.vault.recipient()]
        return take_in_opened(public.files, custody.vault, recipients, mark)


def _keep(shop: Workshop, originals: tuple[OriginalHeader, ...]) -> None:
    with shop.ledger.transaction() as tx:
        for one in originals:
            keep_header(tx, NewHeader(one.header, one.file_sha256, one.body_sha256), shop.clock())


def _record(shop: Workshop, order: RenditionOrder, result: IntakeResult) -> str:
    now = shop.clock()
    inspection = inspect_glimpses(result.glimpses)
    with shop.ledger.transaction() as tx:
        name = named_after(artifact_name(tx, order.artifact_id) or "adapter", order.rendition.value)
        root = root_of(shop, tx, order.artifact_id)
        taken = Taken(result, inspection, name, root, order.rendition)
        noted = record_rendition(shop.custody, tx, order.artifact_id, taken, now)
        fill_order(tx, order, noted.id, now)
        if noted.is_new:
            shop.jobs.enqueue_in(tx.session, Job(AUDIT, noted.id))
    drop_extra(shop, _filed(order.artifact_id), result)
    return "made" if noted.is_new else "known"


def _fail(shop: Workshop, order: RenditionOrder, reason: str) -> str:
    with shop.ledger.transaction() as tx:
        fail_order(tx, order, reason, shop.clock())
    shop.custody.vault.forget(_filed(order.artifact_id))
    return "impossible"


def _filed(artifact_id: str) -> str:
    return filed_under("public", artifact_id)
