"""Renditions: which form an artifact is, which are to be made, headers as they were before a scrub.

Forward and back are both run in tests, on a copy with data. A column is dropped two releases after
its last reader is gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "reg_artifact",
        sa.Column("rendition", sa.String(), server_default="original", nullable=False),
    )
    op.create_table(
        "reg_rendition_order",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("rendition", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("made_id", sa.String(), nullable=True),
        sa.Column("ordered_at", MOMENT, nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["reg_artifact.id"]),
        sa.ForeignKeyConstraint(["made_id"], ["reg_artifact.id"]),
        sa.PrimaryKeyConstraint("artifact_id", "rendition"),
    )
    op.create_index("ix_reg_rendition_order_state", "reg_rendition_order", ["state"])
    op.create_table(
        "reg_header",
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("sealed_header", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["reg_subject.id"]),
        sa.ForeignKeyConstraint(["artifact_id"], ["reg_artifact.id"]),
        sa.PrimaryKeyConstraint("file_sha256"),
    )
    op.create_index("ix_reg_header_body_sha256", "reg_header", ["body_sha256"])
    op.create_index("ix_reg_header_artifact_id", "reg_header", ["artifact_id"])


def downgrade() -> None:
    """Remove what was added and what it holds."""
    op.drop_table("reg_header")
    op.drop_table("reg_rendition_order")
    # Not by a copy of the table, which others refer to; SQLite can since 3.35.
    op.drop_column("reg_artifact", "rendition")
