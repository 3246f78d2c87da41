"""Rows about artifacts: what was seen, taken in, audited and decided. Rows never leave `provenance`.

Columns named `sealed_…` hold personal data (see `columns`), columns named `…_index` its HMAC. Which
states exist is in `states`; ids are lower-case hex.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from registry.provenance.database import METADATA, UtcDateTime


class Base(DeclarativeBase):
    """All our tables; their names begin with `reg_`, the durable engine's do not."""

    metadata = METADATA
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        bytes: LargeBinary(),
        str: String(),
        # Sizes outgrow 32 bits; on SQLite only INTEGER may number rows by itself.
        int: BigInteger().with_variant(Integer(), "sqlite"),
    }


class MetaRow(Base):
    """A fact about this ledger itself, such as which index key it was made with."""

    __tablename__ = "reg_meta"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class SubjectRow(Base):
    """Whom sealed columns are about: one artifact's people, or one recipient."""

    __tablename__ = "reg_subject"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class SubjectKeyRow(Base):
    """A key of a subject, wrapped to the vault's recipient. Deleting all of them is the erasure."""

    __tablename__ = "reg_subject_key"

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"), index=True)
    wrapped: Mapped[bytes]
    created_at: Mapped[datetime]


class CandidateRow(Base):
    """A path that settled, once for each content that it had."""

    __tablename__ = "reg_candidate"
    __table_args__ = (UniqueConstraint("path_index", "signature_index"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"))
    sealed_path: Mapped[bytes]
    path_index: Mapped[bytes]
    signature_index: Mapped[bytes]
    layout: Mapped[str]
    sealed_files: Mapped[bytes]
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str | None]
    artifact_id: Mapped[str | None] = mapped_column(ForeignKey("reg_artifact.id"), index=True)
    noted_at: Mapped[datetime]
    moved_at: Mapped[datetime]


class ArtifactRow(Base):
    """One artifact in the vault; its id is the sha256 of its manifest."""

    __tablename__ = "reg_artifact"
    __table_args__ = (Index(None, "state", "taken_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"))
    sealed_name: Mapped[bytes]
    name_index: Mapped[bytes] = mapped_column(index=True)
    stem_index: Mapped[bytes] = mapped_column(index=True)
    sealed_inspection: Mapped[bytes | None]
    state: Mapped[str]
    reason: Mapped[str | None]
    kind: Mapped[str]
    dialect: Mapped[str | None]
    method: Mapped[str | None]
    family: Mapped[str | None]
    base_model: Mapped[str | None]
    rank: Mapped[int | None]
    alpha: Mapped[str | None]
    modules: Mapped[int]
    tensors: Mapped[int]
    files: Mapped[int]
    size: Mapped[int]
    host: Mapped[str]
    rendition: Mapped[str] = mapped_column(default="original", server_default="original")
    audit_deaths: Mapped[int] = mapped_column(default=0)
    taken_at: Mapped[datetime] = mapped_column(index=True)
    moved_at: Mapped[datetime]


class ManifestEntryRow(Base):
    """One file of an artifact."""

    __tablename__ = "reg_manifest_entry"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    sealed_path: Mapped[bytes]
    path_index: Mapped[bytes] = mapped_column(index=True)
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(index=True)


class PayloadRow(Base):
    """One age payload in the vault, named by the blake3 of its nonce and chunks."""

    __tablename__ = "reg_payload"

    digest: Mapped[str] = mapped_column(primary_key=True)
    form: Mapped[str]
    size: Mapped[int]
    key_classes: Mapped[str]
    made_at: Mapped[datetime]


class RenditionRow(Base):
    """A form of an artifact and the payload that holds it."""

    __tablename__ = "reg_rendition"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    payload_digest: Mapped[str] = mapped_column(ForeignKey("reg_payload.digest"), index=True)
    made_at: Mapped[datetime]


class HashRow(Base):
    """A value by which others know an artifact or one of its files; lower-case hex.

    Without rowid: the table *is* the index that `trace` searches.
    """

    __tablename__ = "reg_hash"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy reads it from the class

    value: Mapped[str] = mapped_column(primary_key=True)
    algorithm: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[str] = mapped_column(
        ForeignKey("reg_artifact.id"), primary_key=True, index=True
    )


class RenditionOrderRow(Base):
    """A rendition that is to be made of a released artifact, and what became of that."""

    __tablename__ = "reg_rendition_order"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    rendition: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str | None]
    made_id: Mapped[str | None] = mapped_column(ForeignKey("reg_artifact.id"))
    ordered_at: Mapped[datetime]
    moved_at: Mapped[datetime]


class HeaderRow(Base):
    """The header that a file had before it was scrubbed; with its body it makes that file again."""

    __tablename__ = "reg_header"

    file_sha256: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str] = mapped_column(index=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("reg_subject.id"))
    artifact_id: Mapped[str | None] = mapped_column(ForeignKey("reg_artifact.id"), index=True)
    sealed_header: Mapped[bytes]
    kept_at: Mapped[datetime]


class AuditRow(Base):
    """What one audit said of one rendition in one run; a copy of a signed verdict."""

    __tablename__ = "reg_audit"
    __table_args__ = (
        UniqueConstraint("artifact_id", "rendition", "run", "rule"),
        ForeignKeyConstraint(
            ["artifact_id", "rendition"], ["reg_rendition.artifact_id", "reg_rendition.name"]
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[str]
    rendition: Mapped[str]
    run: Mapped[int]
    rule: Mapped[str]
    version: Mapped[str]
    verdict: Mapped[str]
    examined: Mapped[int]
    total: Mapped[int]
    unit: Mapped[str]
    privacy: Mapped[bool]
    supplier: Mapped[str]
    sealed_detail: Mapped[bytes]
    statement_digest: Mapped[str] = mapped_column(ForeignKey("reg_statement.digest"))
    at: Mapped[datetime]


class FindingRow(Base):
    """One thing that an audit saw; its place may be a trigger word, so it is sealed."""

    __tablename__ = "reg_finding"

    audit_id: Mapped[str] = mapped_column(ForeignKey("reg_audit.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    rule: Mapped[str]
    verdict: Mapped[str]
    sealed_detail: Mapped[bytes]


class DecisionRow(Base):
    """What policy or an operator decided; a copy of a signed release. Later rows overrule."""

    __tablename__ = "reg_decision"
    __table_args__ = (
        ForeignKeyConstraint(
            ["artifact_id", "rendition"], ["reg_rendition.artifact_id", "reg_rendition.name"]
        ),
    )

    statement_digest: Mapped[str] = mapped_column(
        ForeignKey("reg_statement.digest"), primary_key=True
    )
    artifact_id: Mapped[str] = mapped_column(index=True)
    rendition: Mapped[str]
    outcome: Mapped[str]
    privacy_audited: Mapped[bool]
    policy_digest: Mapped[str]
    decided_by: Mapped[str]
    relied_on: Mapped[str]
    sealed_reasons: Mapped[bytes]
    status_id: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]


class WaiverRow(Base):
    """A finding that a person lets pass until a moment, named by its fingerprint."""

    __tablename__ = "reg_waiver"

    artifact_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    finding: Mapped[str] = mapped_column(primary_key=True)
    statement_digest: Mapped[str] = mapped_column(
        ForeignKey("reg_statement.digest"), primary_key=True
    )
    sealed_reason: Mapped[bytes]
    expires_at: Mapped[datetime]
    at: Mapped[datetime]


class EdgeRow(Base):
    """A lineage fact and how it is known; `parent` is an artifact id, a digest or another name."""

    __tablename__ = "reg_edge"

    child_id: Mapped[str] = mapped_column(ForeignKey("reg_artifact.id"), primary_key=True)
    relation: Mapped[str] = mapped_column(primary_key=True)
    parent: Mapped[str] = mapped_column(primary_key=True, index=True)
    grade: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    at: Mapped[datetime]


class EventRow(Base):
    """What happened when, for people; never personal data, never the truth (statements are)."""

    __tablename__ = "reg_event"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str]
    artifact_id: Mapped[str | None] = mapped_column(index=True)
    delivery_id: Mapped[str | None] = mapped_column(index=True)
    detail: Mapped[str]


class HeartbeatRow(Base):
    """When an executor was last alive, and in which role."""

    __tablename__ = "reg_heartbeat"

    executor: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    beat_at: Mapped[datetime]
