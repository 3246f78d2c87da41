"""Recipients and where channels reach them. Names, keys and addresses are sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError, UsageError
from registry.provenance.artifacts import folded
from registry.provenance.columns import Cell
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models_delivery import AddressRow, RecipientRow
from registry.provenance.moves import add_row
from registry.provenance.subjects import open_column, open_text, require_keeper, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_NAME_FIELD = "recipient.name"
_KEY_FIELD = "recipient.signing-key"
_ADDRESS_FIELD = "address.value"
_TABLE = RecipientRow.__tablename__


@dataclass(frozen=True, slots=True)
class Address:
    """Where a channel reaches a recipient; `pin` is what was compared there, if anything."""

    channel: str
    value: str = field(repr=False)
    pin: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """Someone to enrol. `signing_key` is a raw Ed25519 public key; `age_recipient` is `age1…`.

    `subject_id` is made first (`create_subject(tx, "recipient", now)`), as the enrolment statement
    is sealed under it too.
    """

    id: str
    subject_id: str
    name: str = field(repr=False)
    age_recipient: str = field(repr=False)
    signing_key: bytes = field(repr=False)
    key_class: str
    confirmed_how: str
    enrolment_digest: str
    status_id: str
    at: datetime
    addresses: tuple[Address, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient with everything opened."""

    id: str
    subject_id: str
    name: str = field(repr=False)
    age_recipient: str = field(repr=False)
    signing_key: bytes = field(repr=False)
    key_class: str
    confirmed_how: str
    enrolment_digest: str
    status_id: str
    at: datetime
    addresses: tuple[Address, ...] = field(repr=False)

    def address(self, channel: str) -> Address | None:
        """Return where `channel` reaches this recipient, None if it does not."""
        return next((item for item in self.addresses if item.channel == channel), None)


def add_recipient(tx: Transaction, new: NewRecipient) -> None:
    """Record a recipient once; the same id again changes nothing.

    Raises:
        UsageError: the name, or the signing key, belongs to another recipient.
    """
    if tx.session.get(RecipientRow, new.id) is not None:
        return
    keeper = require_keeper(tx)
    name_index = keeper.index(_NAME_FIELD, folded(new.name))
    key_index = keeper.index(_KEY_FIELD, new.signing_key)
    _refuse_taken(tx, name_index, key_index)
    add_row(
        tx,
        RecipientRow(
            id=new.id,
            subject_id=new.subject_id,
            sealed_name=_sealed(tx, new, "name", new.name),
            name_index=name_index,
            sealed_age_recipient=_sealed(tx, new, "age_recipient", new.age_recipient),
            sealed_signing_key=_sealed(tx, new, "signing_key", new.signing_key),
            key_index=key_index,
            key_class=new.key_class,
            confirmed_how=new.confirmed_how,
            enrolment_digest=new.enrolment_digest,
            status_id=new.status_id,
            at=new.at,
        ),
    )
    for address in new.addresses:
        set_address(tx, new.id, address, new.at)
    note_event(tx, NewEvent("recipient enrolled", new.at, detail=new.id))


def set_address(tx: Transaction, recipient_id: str, address: Address, now: datetime) -> None:
    """Record where a channel reaches a recipient; a later one for the same channel replaces it.

    Raises:
        NotFoundError: no such recipient.
    """
    owner = tx.session.get(RecipientRow, recipient_id)
    if owner is None:
        raise NotFoundError(f"no recipient {recipient_id[:12]}")
    cell, pin_cell = (
        _address_cell(recipient_id, address.channel, name) for name in ("value", "pin")
    )
    row = AddressRow(
        recipient_id=recipient_id,
        channel=address.channel,
        sealed_value=seal_column(tx, owner.subject_id, cell, address.value),
        value_index=require_keeper(tx).index(_ADDRESS_FIELD, address.value),
        sealed_pin=None
        if address.pin is None
        else seal_column(tx, owner.subject_id, pin_cell, address.pin),
        at=now,
    )
    tx.session.merge(row)
    tx.session.flush()


def get_recipient(reader: Reader, recipient_id: str) -> Recipient:
    """Return a recipient by full id.

    Raises:
        NotFoundError: no such id, or erased.
        UsageError: no key of the personal columns at hand.
    """
    require_keeper(reader)
    row = reader.session.get(RecipientRow, recipient_id)
    recipient = None if row is None else _recipient(reader, row)
    if recipient is None:
        raise NotFoundError(
            f"no recipient {recipient_id[:12]}", hint="see `loraseal recipient list`"
        )
    return recipient


def find_recipient(reader: Reader, reference: str) -> Recipient:
    """Return the recipient with this name (case does not matter), or this beginning of an id.

    Raises:
        NotFoundError: nobody, or more than one; the name is not repeated in the message.
    """
    index = require_keeper(reader).index(_NAME_FIELD, folded(reference))
    found = reader.session.scalar(select(RecipientRow.id).where(RecipientRow.name_index == index))
    if found is not None:
        return get_recipient(reader, found)
    ids = reader.session.scalars(
        select(RecipientRow.id).where(
            RecipientRow.id.startswith(reference.lower(), autoescape=True)
        )
    ).all()
    if len(ids) != 1 or not reference:
        answer = "no recipient answers" if not ids else f"{len(ids)} recipients answer"
        raise NotFoundError(f"{answer} to that name or id", hint="see `loraseal recipient list`")
    return get_recipient(reader, ids[0])


def list_recipients(reader: Reader) -> tuple[Recipient, ...]:
    """Return all recipients that were not erased, oldest first."""
    require_keeper(reader)
    rows = reader.session.scalars(select(RecipientRow).order_by(RecipientRow.at, RecipientRow.id))
    opened = (_recipient(reader, row) for row in rows.all())
    return tuple(recipient for recipient in opened if recipient is not None)


def name_of_recipient(reader: Reader, recipient_id: str) -> str | None:
    """Return a recipient's name, None where it cannot be read."""
    row = reader.session.get(RecipientRow, recipient_id)
    return None if row is None else open_text(reader, _cell(row.id, "name"), row.sealed_name)


def _refuse_taken(tx: Transaction, name_index: bytes, key_index: bytes) -> None:
    if tx.session.scalar(select(RecipientRow.id).where(RecipientRow.name_index == name_index)):
        raise UsageError(
            "another recipient has this name", hint="choose another name for the new one"
        )
    taken = tx.session.scalar(select(RecipientRow.id).where(RecipientRow.key_index == key_index))
    if taken is not None:
        raise UsageError(
            f"recipient {taken[:12]} already has this signing key",
            hint="one person, one key: enrol again on the other device",
        )


def _recipient(reader: Reader, row: RecipientRow) -> Recipient | None:
    name = open_text(reader, _cell(row.id, "name"), row.sealed_name)
    age = open_text(reader, _cell(row.id, "age_recipient"), row.sealed_age_recipient)
    key = open_column(reader, _cell(row.id, "signing_key"), row.sealed_signing_key)
    if name is None or age is None or key is None:
        return None
    return Recipient(
        id=row.id,
        subject_id=row.subject_id,
        name=name,
        age_recipient=age,
        signing_key=key,
        key_class=row.key_class,
        confirmed_how=row.confirmed_how,
        enrolment_digest=row.enrolment_digest,
        status_id=row.status_id,
        at=row.at,
        addresses=_addresses(reader, row.id),
    )


def _addresses(reader: Reader, recipient_id: str) -> tuple[Address, ...]:
    rows = reader.session.scalars(
        select(AddressRow)
        .where(AddressRow.recipient_id == recipient_id)
        .order_by(AddressRow.channel)
    )
    found = []
    for row in rows.all():
        cell, pin_cell = (
            _address_cell(recipient_id, row.channel, name) for name in ("value", "pin")
        )
        value = open_text(reader, cell, row.sealed_value)
        if value is not None:
            found.append(Address(row.channel, value, open_text(reader, pin_cell, row.sealed_pin)))
    return tuple(found)


def _sealed(tx: Transaction, new: NewRecipient, column: str, value: str | bytes) -> bytes:
    return seal_column(tx, new.subject_id, _cell(new.id, column), value)


def _cell(row: str, column: str) -> Cell:
    return Cell(_TABLE, row, column)


def _address_cell(recipient_id: str, channel: str, column: str) -> Cell:
    return Cell(AddressRow.__tablename__, f"{recipient_id}/{channel}", column)
