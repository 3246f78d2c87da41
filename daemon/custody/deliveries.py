"""Making a delivery: the signed chain is verified, the header re-wrapped, the statement logged, the bundle built.

Order, and why: statement and leaf in one transaction; then the head is signed, since a head is never
signed over what is not committed; then status list and bundle, which name that head. A kill in
between leaves a statement that nobody ever gets; the next run makes another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.evidence import PLANTED, evidence_for
from daemon.custody.holder import About, keep_statement
from daemon.custody.marks import require_good_source, require_own_copy
from daemon.custody.orders import require_order
from daemon.custody.receipts import file_key_of
from daemon.custody.records import payload_of
from daemon.custody.status import issue_status
from registry.attest import (
    BundleParts,
    CustodyKeys,
    DeliveryPlan,
    LogView,
    SignedDelivery,
    assemble_bundle,
    attest_delivery,
    consistency_link,
    logged_statement,
    new_id,
)
from registry.digest import Digest, sha256_of
from registry.errors import DeniedError, NotFoundError, RevokedError
from registry.formats.keyset import KeyRole
from registry.formats.predicates.delivery import Delivery as DeliveryStatement
from registry.formats.predicates.intake import Rendition
from registry.formats.predicates.predicate import parse_predicate
from registry.provenance.artifacts import note_key_class
from registry.provenance.deliveries import (
    Preparation,
    get_delivery,
    read_preparation,
    set_delivery_prepared,
)
from registry.provenance.log import node_store
from registry.provenance.show import summarise
from registry.provenance.statements import get_statement, heads_after, statements_of
from registry.sealing.identities import parse_recipient
from registry.sealing.seal import wrap_header
from registry.verify.chain import PolicyTerms, revoked_ids, verify_chain
from registry.verify.signed import verify_statement

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from daemon.custody.holder import Custody
    from daemon.custody.orders import Wished
    from registry.formats.bundle import ConsistencyLink, LoggedStatement
    from registry.formats.envelope import Envelope
    from registry.policy import Policy
    from registry.provenance.deliveries import Delivery
    from registry.provenance.ledger import Reader, Transaction
    from registry.provenance.log import Checkpoint
    from registry.provenance.recipients import Recipient
    from registry.verify.chain import ApprovedDelivery

# How many heads that this recipient may have kept are linked to the present one.
LINKED_HEADS = 8


@dataclass(frozen=True, slots=True)
class DeliveryTerms:
    """When a delivery is made, until when it is to be acknowledged, and how long its list holds.

    `licence` is what the owner states for public renditions; "" is not stated, and never assumed.
    """

    now: datetime
    acknowledge_within: timedelta
    status_valid_for: timedelta
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is not in the database: the policy in force, and whom the settings' routes wish to serve."""

    policy: Policy
    wished: Wished


@dataclass(frozen=True, slots=True)
class _Approved:
    """What the chain approves, and the rows that only say where things are."""

    delivery: Delivery
    recipient: Recipient
    name: str
    form: str
    chain: ApprovedDelivery
    release: Envelope
    intake: Envelope
    verdicts: tuple[Envelope, ...]


def prepare_delivery(
    custody: Custody, rules: Rules, delivery_id: str, terms: DeliveryTerms
) -> None:
    """Make everything that this planned delivery needs, once, and mark it prepared.

    Raises:
        SignatureError, VerificationError: the signed chain does not hold.
        DeniedError: it does not release this artifact, or nobody ordered it for this recipient.
        RevokedError: artifact, release or recipient was revoked.
        NotFoundError: something is missing: a statement, a payload.
    """
    with custody.alone():
        with custody.ledger.reading() as reader:
            custody.check(reader, terms.now)
            approved = _approve(custody, rules, reader, delivery_id)
        header, plan = _wrap(custody, approved, terms)
        keys = CustodyKeys(custody.keyring.statement, custody.keyring.oms)
        keyset = custody.keyring.keyset
        signed = attest_delivery(plan, approved.chain, keyset, keys, terms.now)
        _log_delivery(custody, approved, signed, terms.now)
        head = custody.head.advance(custody.ledger, terms.now)
        with custody.ledger.transaction() as tx:
            until = terms.now + terms.status_valid_for
            status = issue_status(custody, tx, head, (terms.now, until))
            bundle = _bundle(custody, tx, approved, signed, (head, status))
            made = _preparation(plan, header, bundle, signed)
            set_delivery_prepared(tx, delivery_id, made, terms.now)
            note_key_class(tx, plan.payload_digest.value, plan.key_class)
        custody.status.keep(status)


def confirm_delivery(custody: Custody, rules: Rules, delivery_id: str, now: datetime) -> None:
    """Check again, before it is sent, a delivery that was prepared earlier.

    Days may lie between: it may have been revoked, and its row or its header changed by hand.

    Raises:
        VerificationError, DeniedError, RevokedError, NotFoundError: as `prepare_delivery`.
    """
    with custody.ledger.reading() as reader:
        custody.check(reader, now)
        _approve(custody, rules, reader, delivery_id)
        evidence = evidence_for(custody, reader, get_delivery(reader, delivery_id)).evidence
        made = read_preparation(reader, delivery_id)
        if made is None:
            raise NotFoundError(f"delivery {delivery_id[:12]} was not prepared, or was erased")
        stored = get_statement(reader, made.statement_digest)
        artifact_id = get_delivery(reader, delivery_id).artifact_id
    keyset = custody.keyring.keyset
    signed = verify_statement(stored.envelope, DeliveryStatement, keyset, (KeyRole.STATEMENT,))
    said = signed.predicate
    rows = (delivery_id, artifact_id, made.payload_digest, sha256_of(made.header).value)
    if rows != (said.delivery_id, said.artifact_id, said.payload_digest.value, said.header_digest):
        raise DeniedError("what was prepared is not what was signed", hint=PLANTED)
    if said.status_id in revoked_ids(evidence, keyset):
        raise RevokedError(
            "this delivery was revoked: it is not sent",
            hint="order it anew if it should go after all: loraseal deliver --again",
        )


def _approve(custody: Custody, rules: Rules, reader: Reader, delivery_id: str) -> _Approved:
    delivery, policy = get_delivery(reader, delivery_id), rules.policy
    found = evidence_for(custody, reader, delivery)
    required = frozenset(policy.required) - frozenset(policy.may_not_apply)
    terms = PolicyTerms(policy.digest.value, required)
    chain = verify_chain(found.evidence, custody.keyring.keyset, terms=terms)
    found.check(chain)
    require_order(custody, reader, (delivery, chain), rules.wished)
    intake = chain.release.intake.predicate
    require_own_copy(custody.keyring, intake, chain.enrolment.predicate.recipient_id)
    require_good_source(
        custody.keyring, reader, intake, revoked_ids(found.evidence, custody.keyring.keyset)
    )
    _, form = payload_of(reader, delivery.artifact_id)
    return _Approved(
        delivery=delivery,
        recipient=found.recipient,
        name=summarise(reader, delivery.artifact_id).name or "adapter",
        form=form,
        chain=chain,
        release=found.evidence.release,
        intake=found.evidence.intake,
        verdicts=found.evidence.verdicts,
    )


def _wrap(
    custody: Custody, approved: _Approved, terms: DeliveryTerms
) -> tuple[bytes, DeliveryPlan]:
    # Payload and recipient are those that were signed, whatever the rows say by now.
    intake = approved.chain.release.intake.predicate
    recipient = parse_recipient(approved.chain.enrolment.predicate.age_recipient)
    payload = Digest("blake3", intake.payload_digest.value)
    header = wrap_header(file_key_of(custody, payload), [recipient])
    plan = DeliveryPlan(
        delivery_id=approved.delivery.id,
        status_id=new_id(),
        header=header,
        payload_digest=payload,
        form=approved.form,
        key_class=recipient.key_class,
        acknowledge_by=terms.now + terms.acknowledge_within,
        recipient_name=approved.recipient.name,
        artifact_name=approved.name,
        licence=terms.licence if intake.rendition is Rendition.PUBLIC else "",
    )
    return header, plan


def _log_delivery(
    custody: Custody, approved: _Approved, signed: SignedDelivery, now: datetime
) -> None:
    about = About(
        artifact_id=approved.delivery.artifact_id,
        delivery_id=approved.delivery.id,
        recipient_id=approved.delivery.recipient_id,
    )
    with custody.ledger.transaction() as tx:
        keep_statement(tx, signed.envelope, DeliveryStatement.TYPE, now, about)


def _bundle(
    custody: Custody,
    tx: Transaction,
    approved: _Approved,
    signed: SignedDelivery,
    shown: tuple[Checkpoint, Envelope],
) -> bytes:
    head, status = shown
    log = LogView(node_store(tx), head.note)
    rows = {row.digest: row for row in statements_of(tx, approved.delivery.artifact_id)}

    def logged(envelope: Envelope) -> LoggedStatement:
        stored = rows[envelope.statement_digest.value]
        return logged_statement(stored.envelope, stored.salt, stored.leaf_index, log)

    parts = BundleParts(
        keyset=custody.keyring.keyset_envelope,
        intake=logged(approved.intake),
        verdicts=tuple(logged(item) for item in approved.verdicts),
        release=logged(approved.release),
        delivery=logged(signed.envelope),
        signed=signed,
        status=status,
        consistency=_links(tx, approved.delivery, log),
    )
    return assemble_bundle(parts).to_bytes()


def _links(reader: Reader, delivery: Delivery, log: LogView) -> tuple[ConsistencyLink, ...]:
    """Link the heads of this recipient's last deliveries to the present one."""
    recipient_id, kind = delivery.recipient_id, DeliveryStatement.TYPE
    heads = heads_after(reader, recipient_id, kind, limit=LINKED_HEADS)
    links = (consistency_link(head.decode("utf-8"), log) for head in heads)
    return tuple(link for link in links if link is not None)


def _preparation(
    plan: DeliveryPlan, header: bytes, bundle: bytes, signed: SignedDelivery
) -> Preparation:
    statement = parse_predicate(signed.envelope.payload, DeliveryStatement)
    return Preparation(
        header=header,
        bundle=bundle,
        payload_digest=plan.payload_digest.value,
        statement_digest=signed.envelope.statement_digest.value,
        status_id=plan.status_id,
        nonce=statement.nonce,
        acknowledge_by=plan.acknowledge_by,
    )
