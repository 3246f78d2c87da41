"""The same weights written twice to one path: SimpleTuner saves them, then saves them again with a header.

That is one artifact with two files, not two artifacts: the second file's names are kept, and its header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import NotFoundError
from registry.provenance.events import NewEvent, note_event
from registry.provenance.headers import keep_header
from registry.provenance.models import ArtifactRow, CandidateRow, HashRow
from registry.provenance.states import CandidateState
from registry.provenance.tracing import REWRITTEN

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from registry.provenance.headers import NewHeader
    from registry.provenance.ledger import Reader, Transaction

_TENSORS = "tensors"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A file that holds an artifact's weights under another header: its hashes, and the header."""

    candidate_id: str
    artifact_id: str
    hashes: tuple[tuple[str, str], ...]
    headers: tuple[NewHeader, ...] = field(repr=False)


def find_rewritten(
    reader: Reader, candidate_id: str, tensors: str, within: timedelta
) -> str | None:
    """Return the artifact whose weights were taken from this candidate's path shortly before.

    `tensors` is the digest of the weights in hex; `within` counts from one sighting to the other. Later,
    the same weights at the same path are somebody's wish and an artifact of their own.

    Raises:
        NotFoundError: no such candidate.
    """
    own = _candidate(reader, candidate_id)
    return reader.session.scalar(
        select(ArtifactRow.id)
        .join(CandidateRow, CandidateRow.artifact_id == ArtifactRow.id)
        .join(HashRow, HashRow.artifact_id == ArtifactRow.id)
        .where(
            CandidateRow.path_index == own.path_index,
            CandidateRow.id != own.id,
            CandidateRow.state == CandidateState.TAKEN.value,
            CandidateRow.noted_at >= own.noted_at - within,
            HashRow.algorithm == _TENSORS,
            HashRow.value == tensors,
        )
        .order_by(CandidateRow.noted_at.desc())
        .limit(1)
    )


def note_rewrite(tx: Transaction, rewrite: Rewrite, now: datetime) -> None:
    """Mark the candidate taken as a second form of its artifact, findable by its own hashes.

    Raises:
        NotFoundError: no such candidate.
    """
    candidate = _candidate(tx, rewrite.candidate_id)
    have = set(
        tx.session.execute(
            select(HashRow.algorithm, HashRow.value).where(
                HashRow.artifact_id == rewrite.artifact_id
            )
        )
    )
    values = {value for _, value in have}
    for algorithm, value in rewrite.hashes:
        if value not in values and (REWRITTEN + algorithm, value) not in have:
            tx.session.add(
                HashRow(
                    value=value, algorithm=REWRITTEN + algorithm, artifact_id=rewrite.artifact_id
                )
            )
    for header in rewrite.headers:
        keep_header(tx, header, now, artifact_id=rewrite.artifact_id)
    candidate.artifact_id = rewrite.artifact_id
    candidate.state, candidate.reason = CandidateState.TAKEN, None
    candidate.moved_at = now
    tx.session.flush()
    note_event(tx, NewEvent("same weights, new header", now, rewrite.artifact_id))


def _candidate(reader: Reader, candidate_id: str) -> CandidateRow:
    row = reader.session.get(CandidateRow, candidate_id)
    if row is None:
        raise NotFoundError(f"no candidate {candidate_id[:12]}")
    return row
