"""Content under a second name: a copy of what was withdrawn waits for a person; a repeat is written down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registry.formats.findings import Decision, Outcome
from registry.provenance.copies import WITHDRAWN, copies_of
from registry.provenance.deliveries import deliveries_of
from registry.provenance.events import NewEvent, note_event
from registry.provenance.states import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry.provenance.artifacts import Artifact
    from registry.provenance.deliveries import NewDelivery
    from registry.provenance.ledger import Transaction

_NOT_RECEIVED = frozenset({DeliveryState.FAILED, DeliveryState.CANCELLED})


def hold_copy(
    decision: Decision,
    copies: Sequence[Artifact],
    sources: Sequence[Artifact] = (),
    marked: Sequence[str] = (),
) -> Decision:
    """Return `decision`, held instead of released if a copy or a source of the artifact was withdrawn.

    So is what has the tensors of a `marked` copy: sent to others, it would accuse that copy's recipient.

    The name is part of an artifact's id: without this, renaming a revoked file would release it. A marked
    copy has other tensors than its source, so that is asked by name.
    """
    related = [("same content as", copy) for copy in copies]
    related += [("made of", source) for source in sources]
    reasons = tuple(
        f"{how} artifact {other.id[:12]}, which was {other.state.value.replace('_', ' ')}"
        for how, other in related
        if other.state in WITHDRAWN
    )
    reasons += tuple(f"same content as {twin[:12]}, a recipient's marked copy" for twin in marked)
    if not reasons or decision.outcome is Outcome.REJECTED:
        return decision
    kept = () if decision.outcome is Outcome.RELEASED else decision.reasons
    return replace(decision, outcome=Outcome.HELD, reasons=(*kept, *reasons))


def note_repeat(tx: Transaction, planned: NewDelivery, now: datetime) -> str | None:
    """Note that a recipient gets content again under another name; return the artifact it repeats."""
    for copy in copies_of(tx, planned.artifact_id):
        for row in deliveries_of(tx, copy.id):
            if row.recipient_id == planned.recipient_id and row.state not in _NOT_RECEIVED:
                detail = f"repeats content of artifact {copy.id[:12]}"
                kind = "content repeated"
                note_event(tx, NewEvent(kind, now, planned.artifact_id, planned.id, detail))
                return copy.id
    return None
