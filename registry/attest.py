"""Builds and signs what the registry says: statements, status lists, bundles (PROTOCOL section 3).

Pure but for randomness: keys, times and ids come in as arguments. Who may sign what is not judged here
but by whoever verifies (`registry.verify`); custody verifies the chain before it calls any of this.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.digest import sha256_of
from registry.errors import DeniedError
from registry.formats.bundle import Bundle, ConsistencyLink, LoggedStatement
from registry.formats.canonical import Json, dump_canonical
from registry.formats.checkpoint import Checkpoint, parse_note
from registry.formats.envelope import IN_TOTO_PAYLOAD_TYPE
from registry.formats.moments import to_text
from registry.formats.predicates.delivery import Attachments, Delivery
from registry.formats.predicates.intake import Rendition
from registry.formats.predicates.predicate import Predicate, statement_bytes
from registry.formats.predicates.release import DECIDED_BY_OPERATOR, DECIDED_BY_POLICY, Release
from registry.formats.predicates.verdict import VerdictStatement
from registry.formats.proofs import InclusionProof
from registry.formats.sealed_part import SealedPart
from registry.formats.sha256sums import sha256sums
from registry.formats.status_list import PAYLOAD_TYPE as STATUS_PAYLOAD_TYPE
from registry.formats.status_list import StatusList
from registry.sealing.identities import parse_recipient
from registry.sealing.oms import oms_bundle
from registry.sealing.seal import seal_bytes
from registry.sealing.signing import sign_envelope
from registry.sealing.sshsig import sign_sshsig
from registry.transparency.tlog import consistency_proof, inclusion_proof
from registry.verify.audience import audience_commitment

if TYPE_CHECKING:
    from datetime import datetime

    from registry.digest import Digest
    from registry.formats.envelope import Envelope
    from registry.formats.findings import AuditReport, Decision
    from registry.formats.keyset import Keyset
    from registry.formats.predicates.enrolment import Enrolment
    from registry.formats.predicates.intake import Intake
    from registry.formats.predicates.release import WaiverNote
    from registry.formats.predicates.revocation import Revocation
    from registry.sealing.signing import P256Key, SigningKey
    from registry.transparency.tlog import NodeReader
    from registry.verify.chain import ApprovedDelivery

_ID_BYTES = 16
_SALT_BYTES = 32
_NONCE_BYTES = 32


def new_id() -> str:
    """Return a random id of 32 hex digits, for a delivery, a recipient or a status."""
    return secrets.token_hex(_ID_BYTES)


def attest(predicate: Predicate, key: SigningKey) -> Envelope:
    """Return the statement of `predicate`, signed by `key`.

    Raises:
        FormatError: it would not be read back as the same thing.
    """
    return sign_envelope(IN_TOTO_PAYLOAD_TYPE, statement_bytes(predicate), [key])


def attest_intake(intake: Intake, host: SigningKey) -> Envelope:
    """Return what a host took in, signed by its host key."""
    return attest(intake, host)


def attest_enrolment(enrolment: Enrolment, operator: SigningKey) -> Envelope:
    """Return a recipient's keys as confirmed, signed by the operator."""
    return attest(enrolment, operator)


def attest_revocation(revocation: Revocation, operator: SigningKey) -> Envelope:
    """Return a withdrawal, signed by the operator."""
    return attest(revocation, operator)


def attest_verdict(
    report: AuditReport,
    artifact_id: str,
    auditor: SigningKey,
    now: datetime,
    *,
    rendition: str = Rendition.ORIGINAL,
) -> Envelope:
    """Return what one audit said of a rendition, signed by the auditor's host."""
    verdict = VerdictStatement(
        artifact_id=artifact_id,
        rendition=rendition,
        rule=report.rule,
        version=report.version,
        verdict=report.verdict,
        coverage=report.coverage,
        metrics_digest=report_digest(report),
        supplier=report.supplier,
        privacy=report.privacy,
        auditor_key_id=auditor.key_id,
        at=to_text(now),
    )
    return attest(verdict, auditor)


def report_digest(report: AuditReport) -> str:
    """Return the sha256 in hex of a report's findings and measured values, in canonical JSON."""
    findings: list[Json] = [
        {
            "rule": finding.rule,
            "verdict": finding.verdict.value,
            "message": finding.message,
            "advice": finding.advice,
            "place": finding.place,
        }
        for finding in report.findings
    ]
    metrics: list[Json] = [{"name": name, "value": value} for name, value in report.metrics]
    body: Json = {"summary": report.summary, "findings": findings, "metrics": metrics}
    return sha256_of(dump_canonical(body)).value


@dataclass(frozen=True, slots=True)
class ReleaseTerms:
    """What is decided, on which verdict statements, under which policy (sha256 in hex).

    `reason` is an operator's own words; None when the policy decided.
    """

    artifact_id: str
    policy_digest: str
    verdicts: tuple[Envelope, ...]
    decision: Decision
    status_id: str
    rendition: str = Rendition.ORIGINAL
    reason: str | None = None
    waivers: tuple[WaiverNote, ...] = ()
    labels: tuple[str, ...] = ()


def attest_release(terms: ReleaseTerms, key: SigningKey, now: datetime) -> Envelope:
    """Return the decision: signed by the statement key for the policy, or by an operator with a reason.

    An operator's reason may name people, so keep what it says short: recipients read it.
    """
    release = Release(
        artifact_id=terms.artifact_id,
        rendition=terms.rendition,
        policy_digest=terms.policy_digest,
        verdict_digests=tuple(item.statement_digest.value for item in terms.verdicts),
        outcome=terms.decision.outcome,
        decided_by=DECIDED_BY_POLICY if terms.reason is None else DECIDED_BY_OPERATOR,
        privacy_audited=terms.decision.privacy_audited,
        status_id=terms.status_id,
        at=to_text(now),
        reason=terms.reason,
        waivers=terms.waivers,
        labels=terms.labels,
    )
    return attest(release, key)


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """One delivery, wrapped already: `header` is the age header as it will be sent.

    Names and terms go into the sealed part only.
    """

    delivery_id: str
    status_id: str
    header: bytes
    payload_digest: Digest
    form: str
    key_class: str
    acknowledge_by: datetime
    recipient_name: str
    artifact_name: str
    licence: str = ""
    allowed_uses: tuple[str, ...] = ()
    sensitivity: str = ""
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class CustodyKeys:
    """The keys that custody signs deliveries with; without `oms` there is no OpenSSF signature."""

    statement: SigningKey
    oms: P256Key | None = None


@dataclass(frozen=True, slots=True)
class SignedDelivery:
    """A delivery statement with the parts of the bundle that it names by digest."""

    envelope: Envelope
    sealed_part: bytes
    sshsig: str
    oms: str | None


def attest_delivery(
    plan: DeliveryPlan,
    approved: ApprovedDelivery,
    keyset: Keyset,
    keys: CustodyKeys,
    now: datetime,
) -> SignedDelivery:
    """Return the signed delivery of what `approved` lets go, to the recipient that it enrols.

    Artifact, files, release and recipient come from the verified chain, never from the plan.

    Raises:
        DeniedError: the enrolled recipient is of another key class than the header.
        FormatError: the enrolled recipient cannot be sealed to.
    """
    manifest = approved.release.intake.predicate.manifest
    enrolment = approved.enrolment.predicate
    recipient = parse_recipient(enrolment.age_recipient)
    if recipient.key_class != plan.key_class:
        raise DeniedError(
            f"recipient has a key of class {recipient.key_class}, the header one of {plan.key_class}"
        )
    salt = secrets.token_hex(_SALT_BYTES)
    part = seal_bytes(_sealed_part(plan, enrolment, salt).to_bytes(), [recipient])
    sshsig = sign_sshsig(sha256sums(manifest), keys.statement)
    # The model's name in the OpenSSF signature stands in clear: the artifact's id tells nothing.
    name = approved.release.intake.predicate.artifact_id
    oms = None if keys.oms is None else oms_bundle(manifest, keys.oms, name).decode("utf-8")
    delivery = Delivery(
        registry=keyset.registry,
        delivery_id=plan.delivery_id,
        artifact_id=approved.release.release.predicate.artifact_id,
        rendition=approved.release.release.predicate.rendition,
        form=plan.form,
        files=manifest.entries,
        payload_digest=plan.payload_digest,
        header_digest=sha256_of(plan.header).value,
        audience=audience_commitment(salt, enrolment.age_recipient, enrolment.signing_key),
        key_class=plan.key_class,
        release_digest=approved.release.release.digest,
        created=to_text(now),
        acknowledge_by=to_text(plan.acknowledge_by),
        nonce=secrets.token_hex(_NONCE_BYTES),
        status_id=plan.status_id,
        log_origin=keyset.log_origin,
        statement_key_id=keys.statement.key_id,
        attachments=Attachments(
            sealed_part=sha256_of(part).value,
            sshsig=sha256_of(sshsig.encode("utf-8")).value,
            oms=None if oms is None else sha256_of(oms.encode("utf-8")).value,
        ),
        supersedes=plan.supersedes,
    )
    return SignedDelivery(attest(delivery, keys.statement), part, sshsig, oms)


def issue_status_list(status: StatusList, statement: SigningKey) -> Envelope:
    """Return the list, signed.

    Raises:
        ValueError: its entries are not sorted by status id.
        FormatError: it would not be read back.
    """
    payload = status.to_bytes()
    StatusList.parse(payload)
    return sign_envelope(STATUS_PAYLOAD_TYPE, payload, [statement])


@dataclass(frozen=True, slots=True)
class LogView:
    """The log at one size: its nodes, and the signed checkpoint (a note) for exactly that size."""

    nodes: NodeReader
    checkpoint: bytes

    @property
    def size(self) -> int:
        """The number of leaves that the checkpoint covers."""
        return Checkpoint.from_text(parse_note(self.checkpoint).text).size


def logged_statement(envelope: Envelope, salt: bytes, index: int, log: LogView) -> LoggedStatement:
    """Return the statement with the proof that leaf `index` of the log commits to it.

    Raises:
        ValueError: the checkpoint does not cover that leaf.
    """
    hashes = inclusion_proof(log.nodes, index, log.size)
    proof = InclusionProof(index, hashes, log.checkpoint)
    return LoggedStatement(envelope, salt, proof.to_text())


def consistency_link(old_checkpoint: str, log: LogView) -> ConsistencyLink | None:
    """Return the way from a checkpoint that a recipient last saw; None if the log is behind it."""
    old_size = Checkpoint.from_text(parse_note(old_checkpoint.encode("utf-8")).text).size
    if old_size > log.size:
        return None
    return ConsistencyLink(old_checkpoint, consistency_proof(log.nodes, old_size, log.size))


@dataclass(frozen=True, slots=True)
class BundleParts:
    """Everything that goes into a bundle; `verdicts` in the order of the release's digests."""

    keyset: Envelope
    intake: LoggedStatement
    verdicts: tuple[LoggedStatement, ...]
    release: LoggedStatement
    delivery: LoggedStatement
    signed: SignedDelivery
    status: Envelope
    consistency: tuple[ConsistencyLink, ...] = ()


def assemble_bundle(parts: BundleParts) -> Bundle:
    """Return the bundle; write `to_bytes()` to `NAME.loraseal`."""
    return Bundle(
        keyset=parts.keyset,
        intake=parts.intake,
        verdicts=parts.verdicts,
        release=parts.release,
        delivery=parts.delivery,
        status=parts.status,
        sealed_part=parts.signed.sealed_part,
        consistency=parts.consistency,
        sshsig=parts.signed.sshsig,
        oms=parts.signed.oms,
    )


def _sealed_part(plan: DeliveryPlan, enrolment: Enrolment, salt: str) -> SealedPart:
    return SealedPart(
        audience_salt=salt,
        recipient_id=enrolment.recipient_id,
        recipient_name=plan.recipient_name,
        age_recipient=enrolment.age_recipient,
        signing_key=enrolment.signing_key,
        artifact_name=plan.artifact_name,
        licence=plan.licence,
        allowed_uses=plan.allowed_uses,
        sensitivity=plan.sensitivity,
    )
