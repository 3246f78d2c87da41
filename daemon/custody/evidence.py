"""The evidence for a delivery: signed statements found by what rows say, then held against the rows.

Rows only say where to look. What custody wraps, and for whom, comes from the statements; a row that
names another artifact or recipient than the statements do is a forgery and stops the delivery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import DeniedError
from registry.formats.envelope import parse_envelope
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.release import Release
from registry.formats.predicates.revocation import Revocation
from registry.formats.predicates.verdict import VerdictStatement
from registry.provenance.recipients import Recipient, get_recipient
from registry.provenance.revocations import latest_status_list
from registry.provenance.statements import (
    StoredStatement,
    get_statement,
    statements_of,
    statements_of_kind,
)
from registry.verify.chain import ApprovedDelivery, ChainEvidence
from registry.verify.signed import verify_status_list

if TYPE_CHECKING:
    from daemon.custody.holder import Custody
    from registry.formats.envelope import Envelope
    from registry.formats.status_list import StatusList
    from registry.provenance.deliveries import Delivery
    from registry.provenance.ledger import Reader

PLANTED = "the database was changed by hand: keep it, run loraseal fsck, restore a backup"


@dataclass(frozen=True, slots=True)
class Found:
    """Evidence, with the row of the recipient that the delivery names."""

    evidence: ChainEvidence
    delivery: Delivery
    recipient: Recipient

    def check(self, chain: ApprovedDelivery) -> None:
        """Refuse a delivery whose rows say something else than the verified statements.

        Raises:
            DeniedError: another artifact, another recipient, other keys, or other pins.
        """
        enrolment = chain.enrolment.predicate
        if chain.release.release.predicate.artifact_id != self.delivery.artifact_id:
            raise DeniedError("the delivery is of another artifact than was released", hint=PLANTED)
        if enrolment.recipient_id != self.delivery.recipient_id:
            raise DeniedError(
                "the delivery is to another recipient than was enrolled", hint=PLANTED
            )
        if (enrolment.age_recipient, enrolment.signing_key) != (
            self.recipient.age_recipient,
            self.recipient.signing_key,
        ):
            raise DeniedError("the recipient's keys are not those that were enrolled", hint=PLANTED)
        pinned = {(item.channel, item.pin) for item in enrolment.channel_pins}
        known = {(item.channel, item.pin) for item in self.recipient.addresses if item.pin}
        if pinned != known:
            raise DeniedError("the recipient's pins are not those that were enrolled", hint=PLANTED)


def evidence_for(custody: Custody, reader: Reader, delivery: Delivery) -> Found:
    """Return what the ledger keeps for `delivery`; nothing of it is verified yet.

    Raises:
        DeniedError: intake or release is missing.
        NotFoundError: the enrolment is missing or was erased.
        SignatureError: the last status list is not custody's own.
    """
    rows = statements_of(reader, delivery.artifact_id)
    release = _last(rows, Release.TYPE, "release")
    recipient = get_recipient(reader, delivery.recipient_id)
    evidence = ChainEvidence(
        intake=_last(rows, Intake.TYPE, "intake"),
        verdicts=_relied_on(rows, release),
        release=release,
        enrolment=get_statement(reader, recipient.enrolment_digest).envelope,
        revocations=tuple(row.envelope for row in statements_of_kind(reader, Revocation.TYPE)),
        status=_status(custody, reader),
    )
    return Found(evidence, delivery, recipient)


def _relied_on(rows: tuple[StoredStatement, ...], release: Envelope) -> tuple[Envelope, ...]:
    by_digest = {row.digest: row.envelope for row in rows if row.kind == VerdictStatement.TYPE}
    wanted = parse_predicate(release.payload, Release).verdict_digests
    return tuple(by_digest[digest] for digest in wanted if digest in by_digest)


def _last(rows: tuple[StoredStatement, ...], kind: str, what: str) -> Envelope:
    found = [row.envelope for row in rows if row.kind == kind]
    if not found:
        raise DeniedError(f"there is no signed {what} of this artifact", hint=PLANTED)
    return found[-1]


def _status(custody: Custody, reader: Reader) -> StatusList | None:
    stored, newest = latest_status_list(reader), custody.status.read()
    if stored is None:
        return newest
    listed = verify_status_list(parse_envelope(stored.envelope), custody.keyring.keyset)
    # The one on disk counts when the database has forgotten it.
    return listed if newest is None or listed.counter >= newest.counter else newest
