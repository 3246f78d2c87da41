"""What tracing a content may answer, in three classes that are never mixed.

Exact bytes and same tensors are facts, by digest. Similar is an estimate with an error rate. An artifact
stands in the strongest class that it belongs to and in no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.digest import Digest
    from registry.fingerprints.match import Match
    from registry.fingerprints.merges import Decomposition


@dataclass(frozen=True, slots=True)
class SameBytes:
    """An artifact that holds a file with this sha256 or blake3 digest."""

    artifact_id: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class SameTensors:
    """An artifact with the same names, types, shapes and contents, in a file of other bytes.

    `digest` is the canonical one of `registry.artifacts.tensor_digest`.
    """

    artifact_id: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Similar:
    """An artifact whose sketch is alike; the match says how, and how often chance does that."""

    artifact_id: str
    match: Match


@dataclass(frozen=True, slots=True)
class ContentAnswer:
    """What is known of one content. `make_answer` keeps the classes apart.

    `merge` says of which known adapters it is made, None where that was not asked. `searched` is the
    number of sketches that it was compared with; 0: similarity was not looked for, which is
    another thing than nothing similar.
    """

    same_bytes: tuple[SameBytes, ...] = ()
    same_tensors: tuple[SameTensors, ...] = ()
    similar: tuple[Similar, ...] = ()
    merge: Decomposition | None = None
    searched: int = 0


def make_answer(
    same_bytes: Iterable[SameBytes],
    same_tensors: Iterable[SameTensors],
    similar: Iterable[Similar],
    *,
    merge: Decomposition | None = None,
    searched: int = 0,
) -> ContentAnswer:
    """Return the answer with every artifact in its strongest class only, similar ones nearest first."""
    exact = tuple({row.artifact_id: row for row in same_bytes}.values())
    known = {row.artifact_id for row in exact}
    tensors = tuple({r.artifact_id: r for r in same_tensors if r.artifact_id not in known}.values())
    known |= {row.artifact_id for row in tensors}
    alike = {row.artifact_id: row for row in similar if row.artifact_id not in known}
    ranked = sorted(alike.values(), key=lambda row: -abs(row.match.overall.cosine))
    return ContentAnswer(exact, tensors, tuple(ranked), merge, searched)
