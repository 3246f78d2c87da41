"""Headers as they were before they were scrubbed.

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
    """Remove the table and what it holds."""
    op.drop_table("reg_header")
