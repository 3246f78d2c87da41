"""Copies: artifacts with the same tensors, whatever their files are called and their metadata says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select
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

_OWN, _OTHER = aliased(HashRow), aliased(HashRow)
# Made once: building it took longer than running it.
_COPIES = (
    select(ArtifactRow.id)
    .join(_OTHER, _OTHER.artifact_id == ArtifactRow.id)
    .join(_OWN, (_OWN.value == _OTHER.value) & (_OWN.algorithm == _OTHER.algorithm))
    .where(_OWN.artifact_id == bindparam("own"), _OWN.algorithm == _TENSORS)
    .where(ArtifactRow.id != bindparam("own"))
    .order_by(ArtifactRow.taken_at, ArtifactRow.id)
)


def copies_of(reader: Reader, artifact_id: str) -> tuple[Artifact, ...]:
    """Return the other artifacts whose tensors are those of `artifact_id`, oldest first."""
    rows = reader.session.scalars(_COPIES, {"own": artifact_id}).all()
    return tuple(get_artifact(reader, found) for found in rows)


def link_copy(tx: Transaction, artifact_id: str, now: datetime) -> None:
    """Record that a new artifact has the content of one that is known: of the oldest, so once."""
    for oldest in copies_of(tx, artifact_id)[:1]:
        edge = Edge(artifact_id, SAME_CONTENT, oldest.id, EdgeGrade.OBSERVED, "intake", now)
        add_edge(tx, edge)
