"""Rows against the signed statements that they copy, for `fsck`.

Custody never believes a row, so a changed one releases and redirects nothing; but people read rows, in
`ls`, `show` and `trace`, and must not be told what nobody signed. Whoever calls this has verified the
statements' signatures. What was erased cannot be compared and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from registry.digest import sha256_of
from registry.errors import NotFoundError
from registry.formats.predicates.delivery import Delivery as DeliveryStatement
from registry.formats.predicates.enrolment import Enrolment
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.release import Release
from registry.formats.predicates.revocation import Revocation
from registry.formats.predicates.verdict import VerdictStatement
from registry.provenance.artifacts import artifact_ids
from registry.provenance.deliveries import deliveries_of, get_delivery, read_preparation
from registry.provenance.parcels import receipts_of
from registry.provenance.recipients import list_recipients
from registry.provenance.show import show_artifact
from registry.provenance.statements import get_statement, statements_of, statements_of_kind
from registry.provenance.states import ArtifactState, DeliveryState
from registry.provenance.verdicts import audits_of, find_decision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.digest import Digest
    from registry.formats.predicates.predicate import Predicate
    from registry.provenance.deliveries import Delivery
    from registry.provenance.ledger import Reader
    from registry.provenance.recipients import Recipient
    from registry.provenance.verdicts import AuditRecord
    from registry.provenance.views import ArtifactDetail

P = TypeVar("P", bound="Predicate")

_DECIDED = (ArtifactState.RELEASED, ArtifactState.HELD, ArtifactState.REJECTED)
# A delivery in one of these was made, so a signed statement of it must be there.
_MADE = frozenset(
    {
        DeliveryState.PREPARED,
        DeliveryState.SENDING,
        DeliveryState.SENT,
        DeliveryState.ACKNOWLEDGED,
        DeliveryState.UNCONFIRMED,
    }
)


@dataclass(frozen=True, slots=True)
class Compared:
    """How many rows were compared, and what each one says that its statement does not."""

    rows: int
    faults: tuple[str, ...]


def compare_rows(reader: Reader) -> Compared:
    """Compare every artifact, audit, decision, delivery and recipient with its statement."""
    revoked = _revoked(reader)
    faults: list[str] = []
    rows = 0
    for artifact_id in artifact_ids(reader):
        for row, said in _artifact_rows(reader, artifact_id, revoked):
            rows += 1
            faults += (f"{row}: {fault}" for fault in said)
    faults += _lost_deliveries(reader)
    for recipient in list_recipients(reader):
        rows += 1
        name = f"recipient {recipient.id[:12]}"
        faults += (f"{name}: {fault}" for fault in _recipient(reader, recipient))
    return Compared(rows, tuple(faults))


def _artifact_rows(
    reader: Reader, artifact_id: str, revoked: frozenset[str]
) -> Iterator[tuple[str, list[str]]]:
    detail, name = show_artifact(reader, artifact_id), f"artifact {artifact_id[:12]}"
    if detail.statements and not statements_of(reader, artifact_id):
        return  # erased: only the commitments are left
    yield name, list(_artifact(reader, detail, revoked))
    for audit in audits_of(reader, artifact_id):
        yield f"{name}, audit {audit.rule}", list(_audit(reader, artifact_id, audit))
    for delivery in deliveries_of(reader, artifact_id):
        yield f"delivery {delivery.id[:12]}", list(_delivery(reader, delivery))


def _artifact(reader: Reader, detail: ArtifactDetail, revoked: frozenset[str]) -> Iterator[str]:
    summary = detail.summary
    intakes = [
        parse_predicate(row.envelope.payload, Intake)
        for row in statements_of(reader, summary.id)
        if row.kind == Intake.TYPE
    ]
    if not intakes:
        yield "no signed intake of it is there"
        return
    intake = intakes[-1]
    signed = {(entry.path, entry.size, entry.sha256) for entry in intake.manifest.entries}
    yield from _differences(
        ("id", summary.id, intake.artifact_id),
        ("files", {(file.path, file.size, file.sha256) for file in detail.files}, signed),
        ("payload", detail.payload_digest, intake.payload_digest.value),
        ("rendition", summary.rendition, intake.rendition.value),
        ("kind", summary.kind, intake.kind or "unknown"),
        ("dialect", summary.dialect, intake.dialect),
        ("method", summary.method, intake.method),
        ("family", summary.family, intake.family),
        ("sha256", _hashes(detail, "sha256"), {entry.sha256 for entry in intake.manifest.entries}),
        ("tensors", _hashes(detail, "tensors"), _known(intake.tensors_digest)),
        ("host", detail.host, intake.host),
    )
    yield from _decision(reader, summary.id, ArtifactState(summary.state), revoked)


def _decision(
    reader: Reader, artifact_id: str, state: ArtifactState, revoked: frozenset[str]
) -> Iterator[str]:
    decision, signed_as = find_decision(reader, artifact_id), state.value
    if decision is not None:
        release = _signed(reader, decision.statement_digest, Release)
        if release is None:
            yield "its decision has no signed statement"
            return
        yield from _differences(
            ("decision on", artifact_id, release.artifact_id),
            ("outcome", decision.outcome, release.outcome),
            ("decided by", decision.decided_by, release.decided_by),
            ("policy", decision.policy_digest, release.policy_digest),
            ("verdicts", sorted(decision.relied_on), sorted(release.verdict_digests)),
            ("privacy audited", decision.privacy_audited, release.privacy_audited),
            ("status id", decision.status_id, release.status_id),
        )
        signed_as = release.outcome.value
    elif state in _DECIDED:
        signed_as = "not decided"
    if artifact_id in revoked or (decision is not None and decision.status_id in revoked):
        signed_as = ArtifactState.REVOKED.value
    elif state is ArtifactState.REVOKED:
        signed_as = "not revoked"
    yield from _differences(("state", state.value, signed_as))


def _hashes(detail: ArtifactDetail, algorithm: str) -> set[str]:
    return {item.value for item in detail.hashes if item.algorithm == algorithm}


def _known(digest: Digest | None) -> set[str]:
    return set() if digest is None else {digest.value}


def _audit(reader: Reader, artifact_id: str, audit: AuditRecord) -> Iterator[str]:
    verdict = _signed(reader, audit.statement_digest, VerdictStatement)
    if verdict is None:
        yield "no signed verdict of it is there"
        return
    yield from _differences(
        ("artifact", artifact_id, verdict.artifact_id),
        ("rule", audit.rule, verdict.rule),
        ("version", audit.version, verdict.version),
        ("verdict", audit.verdict, verdict.verdict),
        ("privacy", audit.privacy, verdict.privacy),
    )


def _delivery(reader: Reader, delivery: Delivery) -> Iterator[str]:
    digest = delivery.statement_digest
    signed = None if digest is None else _signed(reader, digest, DeliveryStatement)
    if signed is None:
        if digest is not None or delivery.state in _MADE:
            yield f"it is {delivery.state.value}, and no signed delivery of it is there"
        return
    made = read_preparation(reader, delivery.id)
    if delivery.state is DeliveryState.ACKNOWLEDGED and not receipts_of(reader, delivery.id):
        yield "it is acknowledged, and no receipt of it is there"
    yield from _differences(
        ("id", delivery.id, signed.delivery_id),
        ("artifact", delivery.artifact_id, signed.artifact_id),
        ("payload", delivery.payload_digest, signed.payload_digest.value),
        ("header", delivery.header_digest, signed.header_digest),
        ("status id", delivery.status_id, signed.status_id),
        ("nonce", delivery.nonce, signed.nonce),
    )
    if made is not None:
        yield from _differences(
            ("header", sha256_of(made.header).value, signed.header_digest),
            ("bundle", sha256_of(made.bundle).value, delivery.bundle_digest),
        )


def _lost_deliveries(reader: Reader) -> Iterator[str]:
    """Name signed deliveries that have no row: `show` would not say who has the artifact."""
    for stored in statements_of_kind(reader, DeliveryStatement.TYPE):
        signed = parse_predicate(stored.envelope.payload, DeliveryStatement)
        try:
            get_delivery(reader, signed.delivery_id)
        except NotFoundError:
            yield f"delivery {signed.delivery_id[:12]}: it was signed, and no row of it is there"


def _recipient(reader: Reader, recipient: Recipient) -> Iterator[str]:
    signed = _signed(reader, recipient.enrolment_digest, Enrolment)
    if signed is None:
        yield "no signed enrolment is there"
        return
    yield from _differences(
        ("id", recipient.id, signed.recipient_id),
        ("age recipient", recipient.age_recipient, signed.age_recipient),
        ("signing key", recipient.signing_key, signed.signing_key),
        ("status id", recipient.status_id, signed.status_id),
        (
            "pins",
            {(item.channel, item.pin) for item in recipient.addresses if item.pin},
            {(item.channel, item.pin) for item in signed.channel_pins},
        ),
    )


def _signed(reader: Reader, digest: str, kind: type[P]) -> P | None:
    try:
        return parse_predicate(get_statement(reader, digest).envelope.payload, kind)
    except NotFoundError:
        return None


def _revoked(reader: Reader) -> frozenset[str]:
    """Return every artifact id and status id that a signed revocation names."""
    said = (
        parse_predicate(row.envelope.payload, Revocation)
        for row in statements_of_kind(reader, Revocation.TYPE)
    )
    return frozenset(
        name for each in said for name in (each.artifact_id, each.status_id) if name is not None
    )


def _differences(*compared: tuple[str, object, object]) -> Iterator[str]:
    """Yield which of (what, row, statement) differ; not the values, some of which are personal."""
    for what, row, statement in compared:
        if row != statement:
            yield f"the row's {what} is not what was signed"
