"""Rows of statements and of the transparency log.

Leaves are salted commitments and hold no personal data; triggers refuse to change or delete them.
Statements and salts are sealed under their subject: with its keys, what a leaf committed to is gone.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from registry.provenance.models import Base


class StatementRow(Base):
    """One signed statement; `digest` is the sha256 of its payload, `kind` its predicate type."""

    __tablename__ = "reg_statement"

    digest: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(index=True)
    artifact_id: Mapped[str | None] = mapped_column(index=True)
    delivery_id: Mapped[str | None] = mapped_column(index=True)
    recipient_id: Mapped[str | None] = mapped_column(index=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"))
    sealed_envelope: Mapped[bytes]
    sealed_salt: Mapped[bytes]
    leaf_index: Mapped[int] = mapped_column(ForeignKey("reg_log_leaf.index"), unique=True)
    at: Mapped[datetime]


class LeafRow(Base):
    """One leaf of the log, in order, from 0."""

    __tablename__ = "reg_log_leaf"

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes]
    at: Mapped[datetime]


class NodeRow(Base):
    """The hash of one full subtree: `level` 0 holds leaf hashes."""

    __tablename__ = "reg_log_node"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class CheckpointRow(Base):
    """A signed tree head."""

    __tablename__ = "reg_log_checkpoint"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    note: Mapped[bytes]
    at: Mapped[datetime]
