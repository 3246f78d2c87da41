"""`trace`: which artifact is this, what was decided on it, and who received it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.provenance import show
from registry.provenance.counts import artifact_count
from registry.provenance.find import by_hash, find_matches
from registry.provenance.views import TraceAnswer, TraceMatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.provenance.ledger import Reader

EXACT = "exact"
SAME_TENSORS = "same_tensors"
NAMED = "named"
# Ways that compare no byte.
_NAMES = frozenset({"id", "name", "path"})

# Hashes of what is behind the header, or of the tensors themselves: a re-saved file keeps them.
# So does what was converted from a pickle, whose own bytes are not kept.
CONTENT_ALGORITHMS = frozenset(
    {"autov3", "sshs_model_hash", "sshs_legacy", "tensors", "pickle_sha256"}
)
# Before a hash of a file that held an artifact's weights under another header: not those bytes.
REWRITTEN = "rewritten_"


def trace(reader: Reader, evidence: Sequence[str]) -> TraceAnswer:
    """Return what matches any of the evidence: hashes of a file, or one id, name or path.

    Exact matches come first. An answer without matches says among how many artifacts it looked.
    """
    found: dict[str, list[str]] = {}
    for item in evidence:
        ways_to = by_hash if len(evidence) > 1 else find_matches
        for match in ways_to(reader, item):
            ways = found.setdefault(match.artifact_id, [])
            if match.matched_by not in ways:
                ways.append(match.matched_by)
    matches = [_match(reader, artifact_id, tuple(ways)) for artifact_id, ways in found.items()]
    return TraceAnswer(
        matches=tuple(sorted(matches, key=lambda match: match.answer != EXACT)),
        compared=tuple(evidence),
        artifacts_searched=artifact_count(reader),
    )


def answer_of(matched_by: tuple[str, ...]) -> str:
    """Return `named` if only a name matched, `same_tensors` if nothing but content did, else `exact`."""
    if _NAMES.issuperset(matched_by):
        return NAMED
    content = (way in CONTENT_ALGORITHMS or way.startswith(REWRITTEN) for way in matched_by)
    return SAME_TENSORS if all(content) else EXACT


def _match(reader: Reader, artifact_id: str, matched_by: tuple[str, ...]) -> TraceMatch:
    return TraceMatch(
        answer=answer_of(matched_by),
        matched_by=matched_by,
        artifact=show.summarise(reader, artifact_id),
        decisions=show.decision_views(reader, artifact_id),
        deliveries=show.delivery_views(reader, artifact_id),
        edges=show.edge_views(reader, artifact_id),
        log_leaves=tuple(
            statement.leaf_index for statement in show.statement_views(reader, artifact_id)
        ),
    )
