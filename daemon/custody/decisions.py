"""Deciding: from signed verdicts to a signed release, by policy or by an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.copies import hold_copy
from daemon.custody.holder import About, keep_statement
from daemon.jobs import STATE_OF_OUTCOME, sources_of
from daemon.tags import release_status_id
from registry.attest import ReleaseTerms, attest_release, new_id, report_digest
from registry.errors import DeniedError, UsageError, VerificationError
from registry.formats.findings import AuditReport, Decision, Outcome, Verdict
from registry.formats.keyset import KeyRole
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.release import (
    DECIDED_BY_OPERATOR,
    DECIDED_BY_POLICY,
    Release,
    WaiverNote,
)
from registry.formats.predicates.verdict import VerdictStatement
from registry.policy import decide, used_waivers
from registry.provenance.artifacts import get_artifact, move_artifact
from registry.provenance.copies import copies_of
from registry.provenance.marks import content_sources, marked_twins
from registry.provenance.moves import Move
from registry.provenance.reports import reports_of
from registry.provenance.statements import statements_of
from registry.provenance.verdicts import NewDecision, record_decision
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.custody.holder import Custody
    from registry.formats.envelope import Envelope
    from registry.policy import Policy
    from registry.provenance.ledger import Reader, Transaction
    from registry.sealing.signing import SigningKey

_REASON_CHARS = 500


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
        DeniedError: it is about another artifact: someone moved it here.
    """
    keyset = custody.keyring.keyset
    found = tuple(
        StoredVerdict(
            row.envelope,
            verify_statement(row.envelope, VerdictStatement, keyset, (KeyRole.AUDITOR,)),
        )
        for row in statements_of(reader, artifact_id)
        if row.kind == VerdictStatement.TYPE
    )
    # A good artifact's verdicts, filed under a bad one's id, must not decide it.
    if any(item.signed.predicate.artifact_id != artifact_id for item in found):
        raise DeniedError(
            f"a verdict kept for artifact {artifact_id[:12]} is about another artifact",
            hint="the database was changed by hand: keep it, run loraseal fsck, restore a backup",
        )
    return found


def decide_by_policy(
    custody: Custody, tx: Transaction, artifact_id: str, policy: Policy, now: datetime
) -> Decision:
    """Decide an audited artifact from its signed verdicts, sign and record the decision.

    Rows are not believed: a report counts only if its signed verdict names it by digest. What policy
    would release is held if the same content was withdrawn under another name.

    Raises:
        SignatureError, VerificationError: a verdict or a report was planted or changed.
    """
    refuse_second_release(tx, artifact_id)
    verdicts = signed_verdicts(custody, tx, artifact_id)
    reports = _reports(tx, artifact_id, verdicts)
    sources = [get_artifact(tx, source) for source in content_sources(tx, artifact_id)]
    judged = decide(policy, reports, now=now)
    twins = marked_twins(tx, artifact_id)
    decision = hold_copy(judged, copies_of(tx, artifact_id), sources, twins)
    relied_on = tuple(
        item.envelope for item in verdicts if item.signed.predicate.rule in decision.relied_on
    )
    waivers = tuple(
        WaiverNote(item.rule, item.waiver.finding, item.waiver.reason, item.waiver.expires)
        for item in used_waivers(policy, reports, now=now)
    )
    status_id = status_id_for(custody, artifact_id, decision.outcome)
    terms = ReleaseTerms(
        artifact_id,
        policy.digest.value,
        relied_on,
        decision,
        status_id,
        rendition=get_artifact(tx, artifact_id).rendition,
        waivers=waivers,
    )
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
        UsageError: no reason is given; no recipient's verifier would take such a release.
        DeniedError: a verdict is `fail`: only a new artifact helps.
        LostRaceError: it is not held.
    """
    outcome, reason, policy = ruling
    operator, now = signed_by
    if not reason.strip():
        raise UsageError("the reason is empty", hint="say in --reason why; it is signed and shown")
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
    status_id = status_id_for(custody, artifact_id, outcome)
    terms = ReleaseTerms(
        artifact_id,
        policy.digest.value,
        envelopes,
        decision,
        status_id,
        rendition=get_artifact(tx, artifact_id).rendition,
        reason=reason,
    )
    _record_release(tx, terms, operator, now)
    return decision


def status_id_for(custody: Custody, artifact_id: str, outcome: Outcome) -> str:
    """Return what a revocation of this decision names: the artifact's one id if it releases."""
    if outcome is Outcome.RELEASED:
        return release_status_id(custody.keyring, artifact_id)
    return new_id()


def refuse_second_release(reader: Reader, artifact_id: str) -> None:
    """Refuse to decide by policy what was released before: only a changed row leads back here.

    Raises:
        DeniedError: a release statement of this artifact is in the ledger.
    """
    for row in statements_of(reader, artifact_id):
        if row.kind != Release.TYPE:
            continue
        if parse_predicate(row.envelope.payload, Release).outcome is Outcome.RELEASED:
            raise DeniedError(
                f"artifact {artifact_id[:12]} was released before and is not decided again",
                hint="the database was changed by hand: keep it, run loraseal fsck",
            )


def _record_release(tx: Transaction, terms: ReleaseTerms, key: SigningKey, now: datetime) -> None:
    decision, state = terms.decision, STATE_OF_OUTCOME[terms.decision.outcome]
    move = Move(tuple(sources_of(state)), state, now, _short(terms))
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


def _reports(
    reader: Reader, artifact_id: str, verdicts: tuple[StoredVerdict, ...]
) -> list[AuditReport]:
    """Return the reports that the signed verdicts name; one that is missing is judged without findings."""
    rows = reports_of(reader, artifact_id)
    found = []
    for item in verdicts:
        verdict = item.signed.predicate
        report = rows.get(item.signed.digest)
        if report is None:
            found.append(_without_findings(verdict))
            continue
        said = (report.rule, report.verdict, report.coverage, report.privacy)
        signed = (verdict.rule, verdict.verdict, verdict.coverage, verdict.privacy)
        if said != signed or report_digest(report) != verdict.metrics_digest:
            raise VerificationError(
                f"the report of {verdict.rule!r} is not the one that was signed",
                hint="the database was changed by hand: keep it, run loraseal fsck",
            )
        found.append(report)
    return found


def _without_findings(verdict: VerdictStatement) -> AuditReport:
    return AuditReport(
        rule=verdict.rule,
        version=verdict.version,
        verdict=verdict.verdict,
        coverage=verdict.coverage,
        summary="its report is not there",
        supplier=verdict.supplier,
        privacy=verdict.privacy,
    )


def _short(terms: ReleaseTerms) -> str | None:
    """Return the reason as the artifact's row may hold it in the clear: never an operator's own words."""
    if terms.decision.outcome is Outcome.RELEASED:
        return None
    if terms.reason is not None:
        return "by the operator"
    return "; ".join(terms.decision.reasons)[:_REASON_CHARS]
