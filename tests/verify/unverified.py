"""A chain that nobody verified, to make deliveries that must be refused."""

from __future__ import annotations

from typing import Any

from registry.formats.envelope import Envelope
from registry.formats.keyset import KeyEntry, KeyRole
from registry.formats.moments import parse_moment
from registry.formats.predicates.enrolment import Enrolment
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.release import Release
from registry.formats.predicates.verdict import VerdictStatement
from registry.verify.chain import ApprovedDelivery, ChainEvidence
from registry.verify.releases import ReleaseChain
from registry.verify.signed import Signed


def unverified_chain(evidence: ChainEvidence) -> ApprovedDelivery:
    """What `verify_chain` would return if it verified nothing."""
    chain = ReleaseChain(
        _unverified(evidence.intake, Intake),
        tuple(_unverified(item, VerdictStatement) for item in evidence.verdicts),
        _unverified(evidence.release, Release),
    )
    return ApprovedDelivery(chain, _unverified(evidence.enrolment, Enrolment))


def _unverified(envelope: Envelope, kind: Any) -> Any:
    predicate = parse_predicate(envelope.payload, kind)
    nobody = KeyEntry.of(KeyRole.STATEMENT, bytes(32), valid_from=parse_moment(predicate.moment))
    return Signed(predicate, envelope.statement_digest.value, nobody)
