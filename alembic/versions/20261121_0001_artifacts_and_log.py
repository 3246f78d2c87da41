"""What is taken in, judged and logged.

Forward and back are both run in tests, on a copy with data. A column is dropped two releases after
its last reader is gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Only ever inserted into: a leaf or node that changes would be a log that forgets.
APPEND_ONLY = ("reg_log_leaf", "reg_log_node")

TABLES = (
    "reg_meta",
    "reg_subject",
    "reg_subject_key",
    "reg_log_leaf",
    "reg_log_node",
    "reg_log_checkpoint",
    "reg_statement",
    "reg_artifact",
    "reg_candidate",
    "reg_manifest_entry",
    "reg_payload",
    "reg_rendition",
    "reg_hash",
    "reg_edge",
    "reg_audit",
    "reg_finding",
    "reg_decision",
    "reg_waiver",
)


def upgrade() -> None:
    _create_people()
    _create_log()
    _create_artifact()
    _create_contents()
    _create_judgement()
    _refuse_changes()


def downgrade() -> None:
    """Remove these tables and what they hold; triggers and indexes go with them."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION reg_refuse_change()")


def _create_people() -> None:
    op.create_table(
        "reg_meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reg_meta")),
    )
    op.create_table(
        "reg_subject",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("erased_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_subject")),
    )
    op.create_table(
        "reg_subject_key",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["reg_subject.id"], name=op.f("fk_reg_subject_key_subject_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_subject_key")),
    )
    op.create_index(op.f("ix_reg_subject_key_subject_id"), "reg_subject_key", ["subject_id"])


def _create_log() -> None:
    op.create_table(
        "reg_log_leaf",
        sa.Column("index", NUMBER, autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_reg_log_leaf")),
    )
    op.create_table(
        "reg_log_node",
        sa.Column("level", NUMBER, autoincrement=False, nullable=False),
        sa.Column("index", NUMBER, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_reg_log_node")),
    )
    op.create_table(
        "reg_log_checkpoint",
        sa.Column("size", NUMBER, autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_reg_log_checkpoint")),
    )
    op.create_table(
        "reg_statement",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("recipient_id", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("sealed_envelope", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_salt", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_index", NUMBER, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["leaf_index"], ["reg_log_leaf.index"], name=op.f("fk_reg_statement_leaf_index")
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["reg_subject.id"], name=op.f("fk_reg_statement_subject_id")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_reg_statement")),
        sa.UniqueConstraint("leaf_index", name=op.f("uq_reg_statement_leaf_index")),
    )
    op.create_index(op.f("ix_reg_statement_artifact_id"), "reg_statement", ["artifact_id"])
    op.create_index(op.f("ix_reg_statement_kind"), "reg_statement", ["kind"])
    op.create_index(op.f("ix_reg_statement_delivery_id"), "reg_statement", ["delivery_id"])
    op.create_index(op.f("ix_reg_statement_recipient_id"), "reg_statement", ["recipient_id"])


def _create_artifact() -> None:
    op.create_table(
        "reg_artifact",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("name_index", sa.LargeBinary(), nullable=False),
        sa.Column("stem_index", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_inspection", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("dialect", sa.String(), nullable=True),
        sa.Column("method", sa.String(), nullable=True),
        sa.Column("family", sa.String(), nullable=True),
        sa.Column("base_model", sa.String(), nullable=True),
        sa.Column("rank", NUMBER, nullable=True),
        sa.Column("alpha", sa.String(), nullable=True),
        sa.Column("modules", NUMBER, nullable=False),
        sa.Column("tensors", NUMBER, nullable=False),
        sa.Column("files", NUMBER, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("audit_deaths", NUMBER, nullable=False),
        sa.Column("taken_at", MOMENT, nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["reg_subject.id"], name=op.f("fk_reg_artifact_subject_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_artifact")),
    )
    op.create_index(op.f("ix_reg_artifact_name_index"), "reg_artifact", ["name_index"])
    op.create_index(op.f("ix_reg_artifact_state_taken_at"), "reg_artifact", ["state", "taken_at"])
    op.create_index(op.f("ix_reg_artifact_stem_index"), "reg_artifact", ["stem_index"])
    op.create_index(op.f("ix_reg_artifact_taken_at"), "reg_artifact", ["taken_at"])
    op.create_table(
        "reg_candidate",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("sealed_path", sa.LargeBinary(), nullable=False),
        sa.Column("path_index", sa.LargeBinary(), nullable=False),
        sa.Column("signature_index", sa.LargeBinary(), nullable=False),
        sa.Column("layout", sa.String(), nullable=False),
        sa.Column("sealed_files", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_candidate_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["reg_subject.id"], name=op.f("fk_reg_candidate_subject_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_candidate")),
        sa.UniqueConstraint(
            "path_index",
            "signature_index",
            name=op.f("uq_reg_candidate_path_index_signature_index"),
        ),
    )
    op.create_index(op.f("ix_reg_candidate_artifact_id"), "reg_candidate", ["artifact_id"])
    op.create_index(op.f("ix_reg_candidate_state"), "reg_candidate", ["state"])


def _create_contents() -> None:
    op.create_table(
        "reg_manifest_entry",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("ordinal", NUMBER, nullable=False),
        sa.Column("sealed_path", sa.LargeBinary(), nullable=False),
        sa.Column("path_index", sa.LargeBinary(), nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_manifest_entry_artifact_id")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "ordinal", name=op.f("pk_reg_manifest_entry")),
    )
    op.create_index(op.f("ix_reg_manifest_entry_path_index"), "reg_manifest_entry", ["path_index"])
    op.create_index(op.f("ix_reg_manifest_entry_sha256"), "reg_manifest_entry", ["sha256"])
    op.create_table(
        "reg_payload",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("key_classes", sa.String(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_reg_payload")),
    )
    op.create_table(
        "reg_rendition",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("payload_digest", sa.String(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_rendition_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["payload_digest"], ["reg_payload.digest"], name=op.f("fk_reg_rendition_payload_digest")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "name", name=op.f("pk_reg_rendition")),
    )
    op.create_index(op.f("ix_reg_rendition_payload_digest"), "reg_rendition", ["payload_digest"])
    op.create_table(
        "reg_hash",
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_hash_artifact_id")
        ),
        sa.PrimaryKeyConstraint("value", "algorithm", "artifact_id", name=op.f("pk_reg_hash")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_reg_hash_artifact_id"), "reg_hash", ["artifact_id"])
    op.create_table(
        "reg_edge",
        sa.Column("child_id", sa.String(), nullable=False),
        sa.Column("relation", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["reg_artifact.id"], name=op.f("fk_reg_edge_child_id")
        ),
        sa.PrimaryKeyConstraint(
            "child_id", "relation", "parent", "grade", name=op.f("pk_reg_edge")
        ),
    )
    op.create_index(op.f("ix_reg_edge_parent"), "reg_edge", ["parent"])


def _create_judgement() -> None:
    op.create_table(
        "reg_audit",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("rendition", sa.String(), nullable=False),
        sa.Column("run", NUMBER, nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("examined", NUMBER, nullable=False),
        sa.Column("total", NUMBER, nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("privacy", sa.Boolean(), nullable=False),
        sa.Column("supplier", sa.String(), nullable=False),
        sa.Column("sealed_detail", sa.LargeBinary(), nullable=False),
        sa.Column("statement_digest", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id", "rendition"],
            ["reg_rendition.artifact_id", "reg_rendition.name"],
            name=op.f("fk_reg_audit_artifact_id_rendition"),
        ),
        sa.ForeignKeyConstraint(
            ["statement_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_audit_statement_digest"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reg_audit")),
        sa.UniqueConstraint(
            "artifact_id",
            "rendition",
            "run",
            "rule",
            name=op.f("uq_reg_audit_artifact_id_rendition_run_rule"),
        ),
    )
    op.create_table(
        "reg_finding",
        sa.Column("audit_id", sa.String(), nullable=False),
        sa.Column("ordinal", NUMBER, nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("sealed_detail", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["reg_audit.id"], name=op.f("fk_reg_finding_audit_id")
        ),
        sa.PrimaryKeyConstraint("audit_id", "ordinal", name=op.f("pk_reg_finding")),
    )
    op.create_table(
        "reg_decision",
        sa.Column("statement_digest", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("rendition", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("privacy_audited", sa.Boolean(), nullable=False),
        sa.Column("policy_digest", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("relied_on", sa.String(), nullable=False),
        sa.Column("sealed_reasons", sa.LargeBinary(), nullable=False),
        sa.Column("status_id", sa.String(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id", "rendition"],
            ["reg_rendition.artifact_id", "reg_rendition.name"],
            name=op.f("fk_reg_decision_artifact_id_rendition"),
        ),
        sa.ForeignKeyConstraint(
            ["statement_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_decision_statement_digest"),
        ),
        sa.PrimaryKeyConstraint("statement_digest", name=op.f("pk_reg_decision")),
        sa.UniqueConstraint("status_id", name=op.f("uq_reg_decision_status_id")),
    )
    op.create_index(op.f("ix_reg_decision_artifact_id"), "reg_decision", ["artifact_id"])
    op.create_table(
        "reg_waiver",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("finding", sa.String(), nullable=False),
        sa.Column("statement_digest", sa.String(), nullable=False),
        sa.Column("sealed_reason", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["reg_artifact.id"], name=op.f("fk_reg_waiver_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["statement_digest"],
            ["reg_statement.digest"],
            name=op.f("fk_reg_waiver_statement_digest"),
        ),
        sa.PrimaryKeyConstraint(
            "artifact_id", "finding", "statement_digest", name=op.f("pk_reg_waiver")
        ),
    )


def _refuse_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION reg_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$"
        )
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(_trigger(table, verb))


def _trigger(table: str, verb: str) -> str:
    name = f"{table}_refuse_{verb.lower()}"
    if op.get_bind().dialect.name == "postgresql":
        action = "EXECUTE FUNCTION reg_refuse_change()"
        return f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW {action}"
    action = "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    return f"CREATE TRIGGER {name} BEFORE {verb} ON {table} {action}"
