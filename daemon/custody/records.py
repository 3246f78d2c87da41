"""What custody writes down as an artifact comes in, is audited and is decided: each fact signed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.holder import About, keep_statement, log_statement
from daemon.jobs import STATE_OF_OUTCOME, sources_of
from registry.attest import ReleaseTerms, attest_release, attest_verdict, new_id
from registry.errors import DeniedError
from registry.formats.findings import AuditReport, Decision, Outcome, Verdict
from registry.formats.keyset import KeyRole
from registry.formats.moments import to_text
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.release import (
    DECIDED_BY_OPERATOR,
    DECIDED_BY_POLICY,
    Release,
)
from registry.formats.predicates.verdict import VerdictStatement
from registry.policy import decide
from registry.provenance.artifacts import (
    NewArtifact,
    NewPayload,
    Traits,
    add_artifact,
    find_payload,
    move_artifact,
)
from registry.provenance.moves import Move
from registry.provenance.statements import statements_of
from registry.provenance.states import ArtifactState
from registry.provenance.verdicts import NewAudit, NewDecision, record_audit, record_decision
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from daemon.custody.holder import Custody
    from registry.artifacts.inspection import Inspection
    from registry.artifacts.notes import IntakeResult
    from registry.formats.envelope import Envelope
    from registry.policy import Policy
    from registry.provenance.candidates import Noted
    from registry.provenance.ledger import Reader, Transaction
    from registry.sealing.signing import SigningKey


def record_intake(
    custody: Custody,
    tx: Transaction,
    candidate_id: str,
    taken: tuple[IntakeResult, Inspection, str],
    now: datetime,
) -> Noted:
    """Record a sealed artifact and the host's signed intake; content that is known adds nothing.

    `taken` is what intake sealed, what its header shows, and the name that people know it by.
    """
    result, inspection, name = taken
    new = NewArtifact(
        manifest=result.manifest,
        name=name,
        candidate_id=candidate_id,
        payload=NewPayload(
            digest=result.payload_digest.value,
            form=result.payload_form.value,
            size=result.payload_bytes,
            key_classes=(custody.keyring.vault.recipient().key_class,),
        ),
        traits=traits_of(inspection),
        hashes=result.hashes,
        host=host_name(),
        taken_at=now,
        inspection=inspection.to_text(),
    )
    noted = add_artifact(tx, new)
    if noted.is_new:
        statement = Intake(
            artifact_id=noted.id,
            manifest=result.manifest,
            payload_digest=result.payload_digest,
            host=host_name(),
            taken_at=to_text(now),
            tensors_digest=result.tensors_digest,
            body_sha256=result.body_sha256,
            kind=inspection.kind,
            dialect=inspection.dialect,
            method=inspection.method,
            family=inspection.family,
        )
        log_statement(tx, statement, custody.keyring.host, About(artifact_id=noted.id))
    return noted


def record_verdicts(
    custody: Custody,
    tx: Transaction,
    artifact_id: str,
    reports: Sequence[AuditReport],
    now: datetime,
) -> None:
    """Record each report and the auditor's signed verdict on it."""
    for report in reports:
        envelope = attest_verdict(report, artifact_id, custody.keyring.auditor, now)
        keep_statement(tx, envelope, VerdictStatement.TYPE, now, About(artifact_id=artifact_id))
        digest = envelope.statement_digest.value
        record_audit(tx, NewAudit(artifact_id, report, digest, now))


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A verdict whose signature holds, with the envelope that carries it."""

    envelope: Envelope
    signed: Signed[VerdictStatement]


def signed_verdicts(
    custody: Custody, reader: Reader, artifact_id: str
) -> tuple[StoredVerdict, ...]:
    """Return the verdicts on an artifact that an auditor key has signed, in the log's order.

    Raises:
        SignatureError: a stored verdict is not rightly signed: someone planted it.
    """
    keyset = custody.keyring.keyset
    return tuple(
        StoredVerdict(
            row.envelope,
            verify_statement(row.envelope, VerdictStatement, keyset, (KeyRole.AUDITOR,)),
        )
        for row in statements_of(reader, artifact_id)
        if row.kind == VerdictStatement.TYPE
    )


def decide_by_policy(
    custody: Custody, tx: Transaction, artifact_id: str, policy: Policy, now: datetime
) -> Decision:
    """Decide an audited artifact from its signed verdicts, sign and record the decision.

    Rows are not asked: verdicts are read from their signed statements.
    """
    verdicts = signed_verdicts(custody, tx, artifact_id)
    decision = decide(policy, [_report_of(item.signed.predicate) for item in verdicts], now=now)
    relied_on = tuple(
        item.envelope for item in verdicts if item.signed.predicate.rule in decision.relied_on
    )
    terms = ReleaseTerms(artifact_id, policy.digest.value, relied_on, decision, new_id())
    _record_release(tx, terms, custody.keyring.statement, now)
    return decision


def decide_by_operator(
    custody: Custody,
    tx: Transaction,
    artifact_id: str,
    ruling: tuple[Outcome, str, Policy],
    signed_by: tuple[SigningKey, datetime],
) -> Decision:
    """Release or reject a held artifact by the operator's signature, with a reason.

    Raises:
        DeniedError: a verdict is `fail`: only a new artifact helps.
        LostRaceError: it is not held.
    """
    outcome, reason, policy = ruling
    operator, now = signed_by
    verdicts = signed_verdicts(custody, tx, artifact_id)
    said = [item.signed.predicate for item in verdicts]
    failed = [item.rule for item in said if item.verdict is Verdict.FAIL]
    if outcome is Outcome.RELEASED and failed:
        raise DeniedError(
            f"audit {failed[0]!r} failed: an operator may overrule doubt, not failure",
            hint="train or repair the adapter and let it be taken in anew",
        )
    privacy = any(item.privacy and item.verdict is Verdict.PASS for item in said)
    decision = Decision(outcome, (reason,), tuple(item.rule for item in said), privacy)
    envelopes = tuple(item.envelope for item in verdicts)
    terms = ReleaseTerms(
        artifact_id, policy.digest.value, envelopes, decision, new_id(), reason=reason
    )
    _record_release(tx, terms, operator, now)
    return decision


def _record_release(tx: Transaction, terms: ReleaseTerms, key: SigningKey, now: datetime) -> None:
    decision, state = terms.decision, STATE_OF_OUTCOME[terms.decision.outcome]
    move = Move(tuple(sources_of(state)), state, now, _short(decision))
    move_artifact(tx, terms.artifact_id, move)
    envelope = attest_release(terms, key, now)
    keep_statement(tx, envelope, Release.TYPE, now, About(artifact_id=terms.artifact_id))
    new = NewDecision(
        artifact_id=terms.artifact_id,
        decision=decision,
        relied_on=tuple(item.statement_digest.value for item in terms.verdicts),
        policy_digest=terms.policy_digest,
        decided_by=DECIDED_BY_POLICY if terms.reason is None else DECIDED_BY_OPERATOR,
        status_id=terms.status_id,
        statement_digest=envelope.statement_digest.value,
        at=now,
    )
    record_decision(tx, new)


def set_aside(tx: Transaction, artifact_id: str, reason: str, now: datetime) -> None:
    """Set an artifact aside that keeps killing the audit child."""
    state = ArtifactState.SET_ASIDE
    move_artifact(tx, artifact_id, Move(tuple(sources_of(state)), state, now, reason))


def payload_of(reader: Reader, artifact_id: str) -> tuple[str, str]:
    """Return digest (blake3 in hex) and form of an artifact's payload.

    Raises:
        DeniedError: it has none.
    """
    payload = find_payload(reader, artifact_id)
    if payload is None:
        raise DeniedError(f"artifact {artifact_id[:12]} has no payload in the vault")
    return payload.digest, payload.form


def traits_of(inspection: Inspection) -> Traits:
    """Return what the ledger keeps of an inspection in the clear."""
    return Traits(
        kind=inspection.kind or "unknown",
        dialect=inspection.dialect,
        method=inspection.method,
        family=inspection.family,
        base_model=None,
        rank=inspection.rank,
        alpha=None if inspection.alpha is None else str(inspection.alpha),
        modules=inspection.modules,
        tensors=inspection.tensors,
    )


def host_name() -> str:
    """Return the name of this machine, as statements show it."""
    return socket.gethostname()[:64] or "unnamed"


def _report_of(verdict: VerdictStatement) -> AuditReport:
    return AuditReport(
        rule=verdict.rule,
        version=verdict.version,
        verdict=verdict.verdict,
        coverage=verdict.coverage,
        summary="see loraseal show",
        supplier=verdict.supplier,
        privacy=verdict.privacy,
    )


def _short(decision: Decision) -> str | None:
    return None if decision.outcome is Outcome.RELEASED else "; ".join(decision.reasons)[:500]
