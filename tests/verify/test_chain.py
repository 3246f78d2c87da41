"""What custody verifies before it wraps or signs: rows are copies, statements decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.attest import (
    ReleaseTerms,
    attest,
    attest_enrolment,
    attest_intake,
    attest_release,
    attest_revocation,
    attest_verdict,
    new_id,
)
from registry.digest import Digest, sha256_of
from registry.errors import DeniedError, RevokedError, SignatureError, VerificationError
from registry.formats.findings import Decision, Outcome, Verdict
from registry.formats.moments import to_text
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.revocation import Revocation
from registry.formats.predicates.verdict import VerdictStatement
from registry.formats.status_list import StatusEntry, StatusState
from registry.verify.chain import ChainEvidence, PolicyTerms, revoked_ids, verify_chain
from tests.verify.intakes import manifest_of
from tests.verify.world import NOW, POLICY, RAW_FILES, Recipient, World, report

AT = to_text(NOW)
MANIFEST = manifest_of(RAW_FILES)
ARTIFACT = sha256_of(MANIFEST.to_bytes()).value
RELEASED = Decision(Outcome.RELEASED, ("all pass",), (), privacy_audited=False)


def _evidence(world: World, *verdicts: Verdict, reason: str | None = None) -> ChainEvidence:
    intake = Intake(ARTIFACT, MANIFEST, Digest("blake3", "ab" * 32), "host", AT)
    signed = tuple(
        attest_verdict(report(f"rule{number}", verdict), ARTIFACT, world.auditor, NOW)
        for number, verdict in enumerate(verdicts)
    )
    terms = ReleaseTerms(ARTIFACT, POLICY, signed, RELEASED, new_id(), reason=reason)
    key = world.statement if reason is None else world.operator
    return ChainEvidence(
        attest_intake(intake, world.host),
        signed,
        attest_release(terms, key, NOW),
        attest_enrolment(Recipient().enrolment(), world.operator),
    )


def test_enrolment_that_no_operator_signed_redirects_nothing(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    for key in (world.statement, world.host, Recipient().signing):
        forged = attest_enrolment(Recipient().enrolment(), key)
        with pytest.raises(SignatureError):
            verify_chain(replace(evidence, enrolment=forged), world.keyset)


def test_release_of_another_artifact_is_refused(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    other = manifest_of({"other.safetensors": b"x"})
    intake = Intake(
        sha256_of(other.to_bytes()).value, other, Digest("blake3", "ab" * 32), "host", AT
    )
    with pytest.raises(VerificationError, match="different artifacts"):
        verify_chain(replace(evidence, intake=attest_intake(intake, world.host)), world.keyset)


def test_dropped_or_exchanged_verdicts_are_refused(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS, Verdict.PASS)
    other = _evidence(world, Verdict.PASS, Verdict.WARN)
    for verdicts in (
        (),
        evidence.verdicts[:1],
        other.verdicts,
        (*evidence.verdicts, *other.verdicts),
    ):
        with pytest.raises(VerificationError):
            verify_chain(replace(evidence, verdicts=verdicts), world.keyset)


@pytest.mark.parametrize(
    "verdict", [item for item in Verdict if item.value not in ("pass", "warn")]
)
def test_policy_release_on_anything_but_pass_or_warn_is_refused(
    world: World, verdict: Verdict
) -> None:
    with pytest.raises(VerificationError, match="lets that stand"):
        verify_chain(_evidence(world, Verdict.PASS, verdict), world.keyset)


def test_operator_may_let_stand_what_is_undecided_and_not_what_failed(world: World) -> None:
    verify_chain(_evidence(world, Verdict.REVIEW, reason="seen by me"), world.keyset)
    with pytest.raises(VerificationError):
        verify_chain(_evidence(world, Verdict.FAIL, reason="seen by me"), world.keyset)


def test_missing_required_rule_is_denied(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    with pytest.raises(DeniedError, match="spectrum"):
        verify_chain(
            evidence,
            world.keyset,
            terms=PolicyTerms(POLICY, frozenset({"rule0", "spectrum"})),
        )


def test_release_under_another_policy_is_denied(world: World) -> None:
    with pytest.raises(DeniedError, match="another policy"):
        verify_chain(
            _evidence(world, Verdict.PASS),
            world.keyset,
            terms=PolicyTerms("ab" * 32, frozenset()),
        )


def test_operator_is_not_bound_by_the_policys_terms(world: World) -> None:
    verify_chain(
        _evidence(world, Verdict.REVIEW, reason="seen by me"),
        world.keyset,
        terms=PolicyTerms("ab" * 32, frozenset({"spectrum"})),
    )


def _revocations(world: World, evidence: ChainEvidence) -> list[Revocation]:
    approved = verify_chain(evidence, world.keyset)
    return [
        Revocation("consent-withdrawn", AT, artifact_id=ARTIFACT),
        Revocation("defect", AT, status_id=approved.release.release.predicate.status_id),
        Revocation("key-lost", AT, status_id=approved.enrolment.predicate.status_id),
    ]


def test_revoked_artifact_release_or_recipient_is_refused(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    for revocation in _revocations(world, evidence):
        signed = attest_revocation(revocation, world.operator)
        with pytest.raises(RevokedError, match="no further delivery"):
            verify_chain(replace(evidence, revocations=(signed,)), world.keyset)


def test_revocation_in_a_signed_status_list_counts_when_the_row_is_gone(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    revoked = _revocations(world, evidence)[1].status_id
    assert revoked is not None
    entries = (
        StatusEntry(revoked, StatusState.REVOKED, AT),
        StatusEntry("ff" * 16, StatusState.SUPERSEDED, AT, "ab" * 16),
    )
    status = world.status_list(entries)
    with pytest.raises(RevokedError):
        verify_chain(replace(evidence, status=status), world.keyset)
    assert set(revoked_ids(replace(evidence, status=status), world.keyset)) == {revoked}


def test_planted_revocation_is_an_error_and_not_skipped(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    planted = attest_revocation(Revocation("defect", AT, artifact_id=ARTIFACT), world.statement)
    with pytest.raises(SignatureError):
        verify_chain(replace(evidence, revocations=(planted,)), world.keyset)


def test_whole_chain_gives_what_may_be_wrapped(world: World) -> None:
    approved = verify_chain(
        _evidence(world, Verdict.PASS, Verdict.WARN),
        world.keyset,
        terms=PolicyTerms(POLICY, frozenset({"rule0", "rule1"})),
    )
    assert approved.release.intake.predicate.manifest == MANIFEST
    assert approved.enrolment.predicate.confirmed_by == "operator"


def test_verdict_on_another_artifact_is_refused(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    stray = attest_verdict(report("rule0"), "ab" * 32, world.auditor, NOW)
    terms = ReleaseTerms(ARTIFACT, POLICY, (stray,), RELEASED, new_id())
    release = attest_release(terms, world.statement, NOW)
    with pytest.raises(VerificationError, match="another artifact"):
        verify_chain(replace(evidence, verdicts=(stray,), release=release), world.keyset)


def test_verdict_that_names_another_auditor_is_refused(world: World) -> None:
    evidence = _evidence(world, Verdict.PASS)
    said = parse_predicate(evidence.verdicts[0].payload, VerdictStatement)
    lying = attest(replace(said, auditor_key_id="ab" * 32), world.auditor)
    terms = ReleaseTerms(ARTIFACT, POLICY, (lying,), RELEASED, new_id())
    release = attest_release(terms, world.statement, NOW)
    with pytest.raises(VerificationError, match="another key"):
        verify_chain(replace(evidence, verdicts=(lying,), release=release), world.keyset)
