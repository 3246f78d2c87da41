"""Copies: artifacts with the same tensors, whatever their files are called and their metadata says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import aliased

from registry.provenance.artifacts import get_artifact
from registry.provenance.lineage import Edge, add_edge
from registry.provenance.models import ArtifactRow, HashRow
from registry.provenance.states import ArtifactState, EdgeGrade

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.artifacts import Artifact
    from registry.provenance.ledger import Reader, Transaction

SAME_CONTENT = "same-content-as"
# What an operator or policy refused to let go: a copy of it must not go by itself either.
WITHDRAWN = frozenset({ArtifactState.REVOKED, ArtifactState.REJECTED, ArtifactState.SET_ASIDE})
_TENSORS = "tensors"


def copies_of(reader: Reader, artifact_id: str) -> tuple[Artifact, ...]:
    """Return the other artifacts whose tensors are those of `artifact_id`, oldest first."""
    own, other = aliased(HashRow), aliased(HashRow)
    rows = reader.session.scalars(
        select(ArtifactRow.id)
        .join(other, other.artifact_id == ArtifactRow.id)
        .join(own, (own.value == other.value) & (own.algorithm == other.algorithm))
        .where(own.artifact_id == artifact_id, own.algorithm == _TENSORS)
        .where(ArtifactRow.id != artifact_id)
        .order_by(ArtifactRow.taken_at, ArtifactRow.id)
    ).all()
    return tuple(get_artifact(reader, found) for found in rows)


def link_copy(tx: Transaction, artifact_id: str, now: datetime) -> None:
    """Record that a new artifact has the content of one that is known: of the oldest, so once."""
    for oldest in copies_of(tx, artifact_id)[:1]:
        edge = Edge(artifact_id, SAME_CONTENT, oldest.id, EdgeGrade.OBSERVED, "intake", now)
        add_edge(tx, edge)
