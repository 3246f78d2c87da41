"""Enrolment: an operator pins a recipient's keys; the signed statement is the truth, rows are copies."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.holder import About, log_statement
from daemon.tags import name_tag
from registry.formats.moments import to_text
from registry.formats.predicates.enrolment import ChannelPin, Enrolment
from registry.provenance.recipients import Address, NewRecipient, add_recipient
from registry.provenance.subjects import create_subject
from registry.sealing.identities import parse_recipient

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.custody.holder import Custody
    from registry.formats.enrolment_file import EnrolmentRequest
    from registry.sealing.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who confirmed a recipient's six words, how, and where channels reach them."""

    name: str
    how: str
    operator: SigningKey
    addresses: tuple[Address, ...]


def enrol_recipient(
    custody: Custody, request: EnrolmentRequest, confirmed: Confirmation, now: datetime
) -> str:
    """Sign the enrolment of `request` and record it; return the recipient's id.

    Raises:
        UsageError: the name or the key belongs to another recipient.
        FormatError: the age recipient is none.
    """
    key_class = parse_recipient(request.age_recipient).key_class
    recipient_id, status_id = secrets.token_hex(16), secrets.token_hex(16)
    pins = tuple(
        ChannelPin(item.channel, item.pin) for item in confirmed.addresses if item.pin is not None
    )
    statement = Enrolment(
        recipient_id=recipient_id,
        age_recipient=request.age_recipient,
        signing_key=request.signing_key,
        confirmed_how=confirmed.how,
        confirmed_by=confirmed.operator.key_id,
        status_id=status_id,
        at=to_text(now),
        channel_pins=pins,
        name_tag=name_tag(custody.keyring, recipient_id, confirmed.name),
    )
    with custody.ledger.transaction() as tx:
        subject_id = create_subject(tx, "recipient", now)
        about = About(recipient_id=recipient_id, subject_id=subject_id)
        envelope = log_statement(tx, statement, confirmed.operator, about)
        new = NewRecipient(
            id=recipient_id,
            subject_id=subject_id,
            name=confirmed.name,
            age_recipient=request.age_recipient,
            signing_key=request.signing_key,
            key_class=key_class,
            confirmed_how=confirmed.how,
            enrolment_digest=envelope.statement_digest.value,
            status_id=status_id,
            at=now,
            addresses=confirmed.addresses,
        )
        add_recipient(tx, new)
    return recipient_id
