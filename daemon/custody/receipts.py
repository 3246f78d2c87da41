"""Receipts coming in: opened, judged against signed statements, then the delivery is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.digest import Digest
from registry.errors import NotFoundError
from registry.formats.keyset import KeyRole
from registry.formats.predicates.delivery import Delivery as DeliveryStatement
from registry.formats.predicates.enrolment import Enrolment
from registry.provenance.deliveries import acknowledge, get_delivery
from registry.provenance.parcels import NewReceipt, record_receipt
from registry.provenance.recipients import get_recipient
from registry.provenance.statements import get_statement
from registry.sealing.seal import read_header, unwrap_file_key
from registry.verify.receipts import ReceiptFacts, check_receipt, open_receipt, read_receipt
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.custody.holder import Custody
    from registry.provenance.ledger import Reader
    from registry.sealing.file_key import FileKey


@dataclass(frozen=True, slots=True)
class AcceptedReceipt:
    """A receipt that holds; `is_new` is false for one that came before."""

    delivery_id: str
    artifact_id: str
    level: str
    is_new: bool


def accept_receipt(custody: Custody, sealed: bytes, now: datetime) -> AcceptedReceipt:
    """Open a sealed receipt, judge it, and mark its delivery acknowledged.

    What it is compared with are signed statements and the file key in the vault, never rows.

    Raises:
        CannotDecryptError, FormatError: not a receipt sealed to this registry.
        NotFoundError: no such delivery.
        SignatureError, VerificationError: not the enrolled recipient's, of another delivery, or
            without proof that it was opened.
    """
    body = open_receipt(sealed, custody.keyring.receipt)
    claimed = read_receipt(body)
    with custody.ledger.reading() as reader:
        statement = _signed_delivery(custody, reader, claimed.delivery_id)
        signing_key = _enrolled_key(custody, reader, claimed.delivery_id)
    facts = ReceiptFacts(statement.predicate, statement.digest, claimed.level, now)
    file_key = file_key_of(custody, Digest("blake3", statement.predicate.payload_digest.value))
    receipt = check_receipt(body, facts, signing_key, file_key)
    with custody.ledger.transaction() as tx:
        new = NewReceipt(receipt.delivery_id, receipt.level.value, body, now)
        is_new = record_receipt(tx, new)
        acknowledge(tx, receipt.delivery_id, now)
    return AcceptedReceipt(
        receipt.delivery_id, statement.predicate.artifact_id, receipt.level.value, is_new
    )


def file_key_of(custody: Custody, payload: Digest) -> FileKey:
    """Return the file key of a payload in the vault.

    Raises:
        NotFoundError: the vault does not hold it.
        ContentMismatchError, CannotDecryptError: its header was changed.
    """
    with custody.vault.open(payload) as sealed:
        _, header = read_header(sealed)
    return unwrap_file_key(header, [custody.keyring.vault])


def _signed_delivery(
    custody: Custody, reader: Reader, delivery_id: str
) -> Signed[DeliveryStatement]:
    row = get_delivery(reader, delivery_id)
    if row.statement_digest is None:
        raise NotFoundError(f"delivery {delivery_id[:12]} was never made")
    stored = get_statement(reader, row.statement_digest)
    return verify_statement(
        stored.envelope, DeliveryStatement, custody.keyring.keyset, (KeyRole.STATEMENT,)
    )


def _enrolled_key(custody: Custody, reader: Reader, delivery_id: str) -> bytes:
    recipient = get_recipient(reader, get_delivery(reader, delivery_id).recipient_id)
    stored = get_statement(reader, recipient.enrolment_digest)
    enrolment = verify_statement(
        stored.envelope, Enrolment, custody.keyring.keyset, (KeyRole.OPERATOR,)
    )
    return enrolment.predicate.signing_key
