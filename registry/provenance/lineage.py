"""Lineage: what an artifact came from, and how each fact is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from registry.provenance.models import EdgeRow
from registry.provenance.moves import add_row
from registry.provenance.states import EdgeGrade

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction


@dataclass(frozen=True, slots=True)
class Edge:
    """A fact such as (child, `trained-on`, digest of the base model).

    `parent` is an artifact id or a digest, never a name or path. `source` says who claims it.
    """

    child_id: str
    relation: str
    parent: str
    grade: EdgeGrade
    source: str
    at: datetime


def add_edge(tx: Transaction, edge: Edge) -> None:
    """Record a lineage fact once for each grade; facts of different grades stand side by side."""
    key = (edge.child_id, edge.relation, edge.parent, edge.grade.value)
    if tx.session.get(EdgeRow, key) is not None:
        return
    row = EdgeRow(
        child_id=edge.child_id,
        relation=edge.relation,
        parent=edge.parent,
        grade=edge.grade,
        source=edge.source,
        at=edge.at,
    )
    add_row(tx, row)


def edges_of(reader: Reader, artifact_id: str) -> tuple[Edge, ...]:
    """Return the facts in which an artifact is child or parent, oldest first."""
    rows = reader.session.scalars(
        select(EdgeRow)
        .where(or_(EdgeRow.child_id == artifact_id, EdgeRow.parent == artifact_id))
        .order_by(EdgeRow.at, EdgeRow.relation, EdgeRow.parent)
    )
    return tuple(
        Edge(
            child_id=row.child_id,
            relation=row.relation,
            parent=row.parent,
            grade=EdgeGrade(row.grade),
            source=row.source,
            at=row.at,
        )
        for row in rows
    )
