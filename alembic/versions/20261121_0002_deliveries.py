"""To whom it is delivered, what was withdrawn, what happened when.

Forward and back are both run in tests, on a copy with data. A column is dropped two releases after
its last reader is gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TABLES = (
    "reg_recipient",
    "reg_address",
    "reg_delivery",
    "reg_parcel",
    "reg_receipt",
    "reg_revocation",
    "reg_status_list",
    "reg_event",
    "reg_heartbeat",
)


def upgrade() -> None:
    _create_recipients()
    _create_deliveries()
    _create_revocations()
    _create_operations()


def downgrade() -> None:
    """Remove these tables and what they hold; triggers and indexes go with them."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_recipients() -> None:
    op.create_table(
        "reg_recipient",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("name_index", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_age_recipient", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_signing_key", sa.LargeBinary(), nullable=False),
        sa.Column("key_index", sa.LargeBinary(), nullable=False),
        sa.Column("key_class", sa.String(), nullable=False),
        sa.Column("confirmed_how", sa.String(), nullable=False),
        sa.Column("enrolment_digest", sa.String(), nullable=False),
        sa.Column("status_id", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["enrolment_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_recipient_enrolment_digest"),
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["reg_subject.id"], name=op.f("fk_reg_recipient_subject_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_recipient")),
        sa.UniqueConstraint("key_index", name=op.f("uq_reg_recipient_key_index")),
        sa.UniqueConstraint("name_index", name=op.f("uq_reg_recipient_name_index")),
        sa.UniqueConstraint("status_id", name=op.f("uq_reg_recipient_status_id")),
    )
    op.create_table(
        "reg_address",
        sa.Column("recipient_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("sealed_value", sa.LargeBinary(), nullable=False),
        sa.Column("value_index", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_pin", sa.LargeBinary(), nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["recipient_id"], ["reg_recipient.id"], name=op.f("fk_reg_address_recipient_id")
        ),
        sa.PrimaryKeyConstraint("recipient_id", "channel", name=op.f("pk_reg_address")),
    )
    op.create_index(op.f("ix_reg_address_value_index"), "reg_address", ["value_index"])


def _create_deliveries() -> None:
    op.create_table(
        "reg_delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("rendition", sa.String(), nullable=False),
        sa.Column("recipient_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("ordinal", NUMBER, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("planned_at", MOMENT, nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.Column("acknowledge_by", MOMENT, nullable=True),
        sa.Column("acknowledged_at", MOMENT, nullable=True),
        sa.Column("payload_digest", sa.String(), nullable=True),
        sa.Column("header", sa.LargeBinary(), nullable=True),
        sa.Column("header_digest", sa.String(), nullable=True),
        sa.Column("sealed_bundle", sa.LargeBinary(), nullable=True),
        sa.Column("bundle_digest", sa.String(), nullable=True),
        sa.Column("nonce", sa.String(), nullable=True),
        sa.Column("status_id", sa.String(), nullable=True),
        sa.Column("statement_digest", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["artifact_id", "rendition"],
            ["reg_rendition.artifact_id", "reg_rendition.name"],
            name=op.f("fk_reg_delivery_artifact_id_rendition"),
        ),
        sa.ForeignKeyConstraint(
            ["payload_digest"], ["reg_payload.digest"], name=op.f("fk_reg_delivery_payload_digest")
        ),
        sa.ForeignKeyConstraint(
            ["recipient_id"], ["reg_recipient.id"], name=op.f("fk_reg_delivery_recipient_id")
        ),
        sa.ForeignKeyConstraint(
            ["statement_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_delivery_statement_digest"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_delivery")),
        sa.UniqueConstraint(
            "artifact_id",
            "rendition",
            "recipient_id",
            "channel",
            "ordinal",
            name=op.f("uq_reg_delivery_artifact_id_rendition_recipient_id_channel_ordinal"),
        ),
        sa.UniqueConstraint("status_id", name=op.f("uq_reg_delivery_status_id")),
    )
    op.create_index(op.f("ix_reg_delivery_bundle_digest"), "reg_delivery", ["bundle_digest"])
    op.create_index(op.f("ix_reg_delivery_header_digest"), "reg_delivery", ["header_digest"])
    op.create_index(op.f("ix_reg_delivery_recipient_id"), "reg_delivery", ["recipient_id"])
    op.create_index(op.f("ix_reg_delivery_state"), "reg_delivery", ["state"])
    op.create_table(
        "reg_parcel",
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("attempt", NUMBER, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("count", NUMBER, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("sealed_reference", sa.LargeBinary(), nullable=True),
        sa.Column("reference_index", sa.LargeBinary(), nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["reg_delivery.id"], name=op.f("fk_reg_parcel_delivery_id")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "attempt", "number", name=op.f("pk_reg_parcel")),
    )
    op.create_index(op.f("ix_reg_parcel_reference_index"), "reg_parcel", ["reference_index"])
    op.create_index(op.f("ix_reg_parcel_sha256"), "reg_parcel", ["sha256"])
    op.create_table(
        "reg_receipt",
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("sealed_body", sa.LargeBinary(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["reg_delivery.id"], name=op.f("fk_reg_receipt_delivery_id")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "level", name=op.f("pk_reg_receipt")),
    )


def _create_revocations() -> None:
    op.create_table(
        "reg_revocation",
        sa.Column("status_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("superseded_by", sa.String(), nullable=True),
        sa.Column("statement_digest", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_revocation_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["statement_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_revocation_statement_digest"),
        ),
        sa.PrimaryKeyConstraint("status_id", name=op.f("pk_reg_revocation")),
    )
    op.create_index(op.f("ix_reg_revocation_artifact_id"), "reg_revocation", ["artifact_id"])
    op.create_table(
        "reg_status_list",
        sa.Column("counter", NUMBER, autoincrement=False, nullable=False),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.Column("valid_until", MOMENT, nullable=False),
        sa.Column("log_size", NUMBER, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("counter", name=op.f("pk_reg_status_list")),
    )


def _create_operations() -> None:
    op.create_table(
        "reg_event",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_event")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_reg_event_artifact_id"), "reg_event", ["artifact_id"])
    op.create_index(op.f("ix_reg_event_at"), "reg_event", ["at"])
    op.create_index(op.f("ix_reg_event_delivery_id"), "reg_event", ["delivery_id"])
    op.create_table(
        "reg_heartbeat",
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("executor", name=op.f("pk_reg_heartbeat")),
    )
