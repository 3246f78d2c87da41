"""The chain that custody verifies before it wraps or signs anything (PROTOCOL section 1.1).

intake -> verdicts -> release -> enrolment, from signed statements only: a row changed in the database
releases nothing and redirects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import DeniedError, RevokedError
from registry.formats.keyset import KeyRole, Keyset
from registry.formats.predicates.enrolment import Enrolment
from registry.formats.predicates.release import DECIDED_BY_POLICY
from registry.formats.predicates.revocation import Revocation
from registry.formats.status_list import StatusState
from registry.verify.releases import (
    ReleaseChain,
    check_release,
    is_standing,
    verify_release_signatures,
)
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from collections.abc import Collection

    from registry.formats.envelope import Envelope
    from registry.formats.status_list import StatusList


@dataclass(frozen=True, slots=True)
class ChainEvidence:
    """The envelopes that a delivery rests on, wherever they were kept. Nothing is trusted yet.

    `revocations` are all that concern artifact, release or recipient; `status` is the last list that
    custody itself signed, so that a deleted row cannot un-revoke.
    """

    intake: Envelope
    verdicts: tuple[Envelope, ...]
    release: Envelope
    enrolment: Envelope
    revocations: tuple[Envelope, ...] = ()
    status: StatusList | None = None


@dataclass(frozen=True, slots=True)
class ApprovedDelivery:
    """What may be wrapped, and for whom. Take artifact, recipient and keys from here, never from rows."""

    release: ReleaseChain
    enrolment: Signed[Enrolment]


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What custody's own policy asks of a release that the policy decided."""

    digest: str
    required_rules: frozenset[str]


def verify_chain(
    evidence: ChainEvidence, keyset: Keyset, *, terms: PolicyTerms | None = None
) -> ApprovedDelivery:
    """Return what the signed statements approve.

    `terms`, where given, bind releases that `policy` decided: made under that very policy, and every
    required rule with a verdict that stands.

    Raises:
        SignatureError: a signature, a key or a role is not right.
        VerificationError: the statements do not agree, or do not release.
        DeniedError: released by another policy, or without a verdict that this one requires.
        RevokedError: artifact, release or enrolment was revoked.
        FormatError: rightly signed, and malformed.
    """
    release = verify_release_chain(evidence, keyset, terms=terms)
    enrolment = verify_statement(evidence.enrolment, Enrolment, keyset, (KeyRole.OPERATOR,))
    revoked = revoked_ids(evidence, keyset)
    _refuse_revoked("artifact", release.release.predicate.artifact_id, revoked)
    _refuse_revoked("release", release.release.predicate.status_id, revoked)
    _refuse_revoked("recipient", enrolment.predicate.status_id, revoked)
    return ApprovedDelivery(release, enrolment)


def verify_release_chain(
    evidence: ChainEvidence, keyset: Keyset, *, terms: PolicyTerms | None = None
) -> ReleaseChain:
    """Return intake, verdicts and release once they agree and let the artifact go.

    Raises:
        SignatureError, VerificationError, DeniedError, FormatError: as `verify_chain`.
    """
    chain = verify_release_signatures(evidence.intake, evidence.verdicts, evidence.release, keyset)
    check_release(chain)
    if terms is not None and chain.release.predicate.decided_by == DECIDED_BY_POLICY:
        _check_terms(chain, terms)
    return chain


def revoked_ids(evidence: ChainEvidence, keyset: Keyset) -> Collection[str]:
    """Return every artifact id and status id that a signed revocation or status list withdraws.

    Raises:
        SignatureError: a revocation that no operator signed; it is not skipped, someone planted it.
    """
    found: set[str] = set()
    for envelope in evidence.revocations:
        revocation = verify_statement(envelope, Revocation, keyset, (KeyRole.OPERATOR,)).predicate
        found.add(revocation.artifact_id or revocation.status_id or "")
    if evidence.status is not None:
        found.update(
            entry.status_id
            for entry in evidence.status.entries
            if entry.state is StatusState.REVOKED
        )
    return found


def _check_terms(chain: ReleaseChain, terms: PolicyTerms) -> None:
    release = chain.release.predicate
    if release.policy_digest != terms.digest:
        raise DeniedError(
            "released under another policy than the one in force",
            hint="decide again under the present policy, or release it by hand with a reason",
        )
    standing = {
        item.predicate.rule for item in chain.verdicts if is_standing(item.predicate, release)
    }
    missing = sorted(terms.required_rules - standing)
    if missing:
        raise DeniedError(
            f"release rests on no verdict of {', '.join(missing)}, which the policy requires",
            hint="run the missing audits, or release it by hand with a reason",
        )


def _refuse_revoked(what: str, identifier: str, revoked: Collection[str]) -> None:
    if identifier in revoked:
        raise RevokedError(
            f"the {what} was revoked: no further delivery",
            hint="revocation is final; take in or enrol anew what should be delivered again",
        )
