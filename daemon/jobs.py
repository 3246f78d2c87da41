"""The moves of artifacts and deliveries: a pure table. The pipeline acts, the ledger writes.

A move that is not in the table does not happen; the ledger makes each one by compare-and-set on the
old state, so two runs of one step cannot both make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.formats.findings import Outcome
from registry.provenance.states import ArtifactState, DeliveryState

if TYPE_CHECKING:
    from datetime import datetime

_REPEAT_BASE = 1_000

ARTIFACT_MOVES: dict[ArtifactState, frozenset[ArtifactState]] = {
    ArtifactState.SEALED: frozenset({ArtifactState.AUDITED, ArtifactState.SET_ASIDE}),
    ArtifactState.AUDITED: frozenset(
        {
            ArtifactState.RELEASED,
            ArtifactState.HELD,
            ArtifactState.REJECTED,
            ArtifactState.SET_ASIDE,
        }
    ),
    ArtifactState.HELD: frozenset({ArtifactState.RELEASED, ArtifactState.REJECTED}),
    ArtifactState.RELEASED: frozenset({ArtifactState.REVOKED}),
    ArtifactState.REJECTED: frozenset(),
    ArtifactState.SET_ASIDE: frozenset(),
    ArtifactState.REVOKED: frozenset(),
}

# WAITING is a channel that needs a person; a refusal that time may heal goes back to PREPARED. A
# receipt may come in any state after PREPARED: the recipient's signature outranks what a channel says.
DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PLANNED: frozenset(
        {DeliveryState.PREPARED, DeliveryState.CANCELLED, DeliveryState.FAILED}
    ),
    DeliveryState.PREPARED: frozenset(
        {
            DeliveryState.SENDING,
            DeliveryState.WAITING,
            DeliveryState.CANCELLED,
            DeliveryState.FAILED,
            DeliveryState.ACKNOWLEDGED,
        }
    ),
    DeliveryState.SENDING: frozenset(
        {
            DeliveryState.SENT,
            DeliveryState.PREPARED,
            DeliveryState.WAITING,
            DeliveryState.FAILED,
            DeliveryState.CANCELLED,
            DeliveryState.ACKNOWLEDGED,
        }
    ),
    DeliveryState.WAITING: frozenset(
        {DeliveryState.SENDING, DeliveryState.CANCELLED, DeliveryState.ACKNOWLEDGED}
    ),
    DeliveryState.SENT: frozenset(
        {
            DeliveryState.PREPARED,
            DeliveryState.SENDING,
            DeliveryState.UNCONFIRMED,
            DeliveryState.CANCELLED,
            DeliveryState.ACKNOWLEDGED,
        }
    ),
    DeliveryState.UNCONFIRMED: frozenset(
        {DeliveryState.SENDING, DeliveryState.CANCELLED, DeliveryState.ACKNOWLEDGED}
    ),
    DeliveryState.FAILED: frozenset({DeliveryState.SENDING, DeliveryState.ACKNOWLEDGED}),
    DeliveryState.CANCELLED: frozenset({DeliveryState.ACKNOWLEDGED}),
    DeliveryState.ACKNOWLEDGED: frozenset(),
}

ARTIFACT_FINAL = frozenset(
    {
        ArtifactState.RELEASED,
        ArtifactState.HELD,
        ArtifactState.REJECTED,
        ArtifactState.SET_ASIDE,
        ArtifactState.REVOKED,
    }
)

STATE_OF_OUTCOME = {
    Outcome.RELEASED: ArtifactState.RELEASED,
    Outcome.HELD: ArtifactState.HELD,
    Outcome.REJECTED: ArtifactState.REJECTED,
}

# What waits for whom: a job's name, its queue, and how many of a queue run at once: enough that a
# queue looked at five times a second keeps up. The audit worker takes one payload at a time all the
# same, while the next is opened into memory; a channel sends one by one per account.
INTAKE, AUDIT, DECIDE, DELIVER, DEADLINE = "intake", "audit", "decide", "deliver", "deadline"
RENDER, MARK = "render", "mark"
QUEUES = {
    INTAKE: "intake",
    RENDER: "intake",
    MARK: "audit",
    AUDIT: "audit",
    DECIDE: "decide",
    DELIVER: "deliver",
    DEADLINE: "decide",
}
CONCURRENCY = {"intake": 4, "audit": 2, "decide": 4, "deliver": 4}


def sources_of(target: ArtifactState) -> frozenset[ArtifactState]:
    """Return the states from which an artifact may move to `target`."""
    return frozenset(state for state, targets in ARTIFACT_MOVES.items() if target in targets)


def delivery_sources_of(target: DeliveryState) -> frozenset[DeliveryState]:
    """Return the states from which a delivery may move to `target`."""
    return frozenset(state for state, targets in DELIVERY_MOVES.items() if target in targets)


def repeat_ordinal(now: datetime) -> int:
    """Return the ordinal of a job that is given once more.

    It lies above those that steps give out, so that no two jobs share an id by chance.
    """
    return _REPEAT_BASE + int(now.timestamp())
