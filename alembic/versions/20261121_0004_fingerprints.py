"""Fingerprints: sketches and their index, features for cohorts, recipients' marks.

Forward and back are both run in tests, on a copy with data. A column is dropped two releases after
its last reader is gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "reg_sketch",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("slot", NUMBER, nullable=False),
        sa.Column("sealed_sketch", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["reg_artifact.id"]),
        sa.PrimaryKeyConstraint("artifact_id"),
        sa.UniqueConstraint("slot"),
    )
    op.create_table(
        "reg_sketch_page",
        sa.Column("page", NUMBER, autoincrement=False, nullable=False),
        sa.Column("codes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("page"),
    )
    op.create_table(
        "reg_features",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("cohort_index", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("sealed_features", sa.LargeBinary(), nullable=True),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["reg_artifact.id"]),
        sa.PrimaryKeyConstraint("artifact_id"),
    )
    op.create_index(
        "ix_reg_features_cohort_index_noted_at", "reg_features", ["cohort_index", "noted_at"]
    )
    op.create_table(
        "reg_mark",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("recipient_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("made_id", sa.String(), nullable=True),
        sa.Column("deaths", NUMBER, nullable=False),
        sa.Column("ordered_at", MOMENT, nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["reg_artifact.id"]),
        sa.ForeignKeyConstraint(["recipient_id"], ["reg_recipient.id"]),
        sa.ForeignKeyConstraint(["made_id"], ["reg_artifact.id"]),
        sa.PrimaryKeyConstraint("source_id", "recipient_id"),
    )
    op.create_index("ix_reg_mark_state", "reg_mark", ["state"])
    op.create_index("ix_reg_mark_made_id", "reg_mark", ["made_id"])


def downgrade() -> None:
    """Remove what was added and what it holds."""
    op.drop_table("reg_mark")
    op.drop_table("reg_features")
    op.drop_table("reg_sketch_page")
    op.drop_table("reg_sketch")
