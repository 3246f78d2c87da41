"""Rows of sketches, their index, features for cohorts, and recipients' marks.

A code is 2,048 keyed bits: who copies the database learns which artifacts resemble each other, and
nothing of their weights; the sketches themselves are sealed under their artifact's subject.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from registry.provenance.models import Base


class SketchRow(Base):
    """The keyed sketch of an artifact; `slot` is where its code stands in the index."""

    __tablename__ = "reg_sketch"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(unique=True)
    sealed_sketch: Mapped[bytes]
    made_at: Mapped[datetime]


class SketchPageRow(Base):
    """Codes of up to 256 sketches one after another; `page` counts from 0."""

    __tablename__ = "reg_sketch_page"

    page: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    codes: Mapped[bytes]


class FeaturesRow(Base):
    """Spectral features of an artifact, sealed, and the cohort that they count in.

    `cohort_index` is keyed, since a base model's name goes into it; `label` says the cohort in words of
    ours. `sealed_features` is None until the audit has measured them. They are sealed under one key of the
    ledger, because a cohort reads a thousand at once; an erasure deletes the row.
    """

    __tablename__ = "reg_features"
    __table_args__ = (Index(None, "cohort_index", "noted_at"),)

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    cohort_index: Mapped[bytes]
    label: Mapped[str]
    sealed_features: Mapped[bytes | None]
    noted_at: Mapped[datetime]


class MarkRow(Base):
    """A copy of an artifact with the mark of one recipient: ordered, made, or impossible.

    `made_id` is the artifact that it became. Its seed is in no row: custody derives it again, and the
    signed intake of the copy commits to it.
    """

    __tablename__ = "reg_mark"

    source_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    recipient_id: Mapped[str] = mapped_column(ForeignKey("reg_recipient.id"), primary_key=True)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str | None]
    made_id: Mapped[str | None] = mapped_column(ForeignKey("reg_artifact.id"), index=True)
    deaths: Mapped[int] = mapped_column(default=0)
    ordered_at: Mapped[datetime]
    moved_at: Mapped[datetime]
