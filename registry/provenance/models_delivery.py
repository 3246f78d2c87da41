"""Rows of recipients, deliveries, receipts and revocations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.provenance.models import Base


class RecipientRow(Base):
    """Someone who was enrolled; a copy of a signed enrolment."""

    __tablename__ = "reg_recipient"

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"))
    sealed_name: Mapped[bytes]
    name_index: Mapped[bytes] = mapped_column(unique=True)
    sealed_age_recipient: Mapped[bytes]
    sealed_signing_key: Mapped[bytes]
    key_index: Mapped[bytes] = mapped_column(unique=True)
    key_class: Mapped[str]
    confirmed_how: Mapped[str]
    enrolment_digest: Mapped[str] = mapped_column(ForeignKey("reg_statement.digest"))
    status_id: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]


class AddressRow(Base):
    """Where a channel reaches a recipient, and what was pinned there (a safety number, say)."""

    __tablename__ = "reg_address"

    recipient_id: Mapped[str] = mapped_column(ForeignKey("reg_recipient.id"), primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    sealed_value: Mapped[bytes]
    value_index: Mapped[bytes] = mapped_column(index=True)
    sealed_pin: Mapped[bytes | None]
    at: Mapped[datetime]


class DeliveryRow(Base):
    """One rendition to one recipient by one channel; `ordinal` counts deliberate repeats."""

    __tablename__ = "reg_delivery"
    __table_args__ = (
        UniqueConstraint("artifact_id", "rendition", "recipient_id", "channel", "ordinal"),
        ForeignKeyConstraint(
            ["artifact_id", "rendition"], ["reg_rendition.artifact_id", "reg_rendition.name"]
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[str]
    rendition: Mapped[str]
    recipient_id: Mapped[str] = mapped_column(ForeignKey("reg_recipient.id"), index=True)
    channel: Mapped[str]
    ordinal: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    planned_at: Mapped[datetime]
    moved_at: Mapped[datetime]
    acknowledge_by: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    payload_digest: Mapped[str | None] = mapped_column(ForeignKey("reg_payload.digest"))
    header: Mapped[bytes | None]
    header_digest: Mapped[str | None] = mapped_column(index=True)
    sealed_bundle: Mapped[bytes | None]
    bundle_digest: Mapped[str | None] = mapped_column(index=True)
    nonce: Mapped[str | None]
    status_id: Mapped[str | None] = mapped_column(unique=True)
    statement_digest: Mapped[str | None] = mapped_column(ForeignKey("reg_statement.digest"))


class ParcelRow(Base):
    """One message of one attempt. Written before it is sent, so that a crash leaves a question."""

    __tablename__ = "reg_parcel"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("reg_delivery.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int]
    state: Mapped[str]
    reason: Mapped[str | None]
    sealed_reference: Mapped[bytes | None]
    reference_index: Mapped[bytes | None] = mapped_column(index=True)
    at: Mapped[datetime]


class ReceiptRow(Base):
    """A recipient's signed receipt, once for each level."""

    __tablename__ = "reg_receipt"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("reg_delivery.id"), primary_key=True)
    level: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    sealed_body: Mapped[bytes]
    at: Mapped[datetime]


class RevocationRow(Base):
    """An entry of the status list: a random id that is no longer good, since when, and why."""

    __tablename__ = "reg_revocation"

    status_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason_code: Mapped[str]
    artifact_id: Mapped[str | None] = mapped_column(ForeignKey("reg_artifact.id"), index=True)
    superseded_by: Mapped[str | None]
    statement_digest: Mapped[str] = mapped_column(ForeignKey("reg_statement.digest"))
    at: Mapped[datetime]


class StatusListRow(Base):
    """One signed status list. Its counter never repeats and never goes back."""

    __tablename__ = "reg_status_list"

    counter: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    issued_at: Mapped[datetime]
    valid_until: Mapped[datetime]
    log_size: Mapped[int]
    envelope: Mapped[bytes]
