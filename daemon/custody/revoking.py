"""Revocation: an operator's signed word that an artifact or one delivery is no longer good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.custody.holder import About, log_statement
from daemon.jobs import delivery_sources_of
from registry.errors import NotFoundError
from registry.formats.moments import to_text
from registry.formats.predicates.revocation import Revocation
from registry.formats.status_list import StatusState
from registry.provenance.artifacts import get_artifact
from registry.provenance.deliveries import get_delivery, move_delivery
from registry.provenance.marks import made_of
from registry.provenance.moves import Move
from registry.provenance.revocations import (
    ArtifactRevocation,
    NewRevocation,
    revoke_artifact,
    revoke_status,
)
from registry.provenance.states import DeliveryState

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.custody.holder import Custody
    from registry.provenance.ledger import Transaction
    from registry.sealing.signing import SigningKey


def withdraw_artifact(
    custody: Custody, artifact_id: str, reason_code: str, operator: SigningKey, now: datetime
) -> tuple[str, ...]:
    """Revoke an artifact, all that was made of it, and all their releases and deliveries.

    Returns the status ids that are news. Its public form and marked copies go with it: they are the same
    adapter, and often the only form of it that was delivered.

    Raises:
        NotFoundError: no such artifact.
    """
    news: list[str] = []
    with custody.ledger.transaction() as tx:
        get_artifact(tx, artifact_id)
        for target in (artifact_id, *made_of(tx, artifact_id)):
            statement = Revocation(
                artifact_id=target, status_id=None, reason_code=reason_code, at=to_text(now)
            )
            envelope = log_statement(tx, statement, operator, About(artifact_id=target))
            digest = envelope.statement_digest.value
            news += revoke_artifact(tx, ArtifactRevocation(target, reason_code, digest, now))
    return tuple(news)


def withdraw_delivery(
    custody: Custody, delivery_id: str, reason_code: str, operator: SigningKey, now: datetime
) -> bool:
    """Revoke one delivery; return whether it was news.

    Raises:
        NotFoundError: no such delivery, or it was never made.
    """
    with custody.ledger.transaction() as tx:
        delivery = get_delivery(tx, delivery_id)
        if delivery.status_id is None:
            raise NotFoundError(
                f"delivery {delivery_id[:12]} was never made",
                hint="revoke the artifact instead: nothing of it leaves then",
            )
        statement = Revocation(
            artifact_id=None,
            status_id=delivery.status_id,
            reason_code=reason_code,
            at=to_text(now),
        )
        about = About(artifact_id=delivery.artifact_id, delivery_id=delivery_id)
        envelope = log_statement(tx, statement, operator, about)
        new = NewRevocation(
            status_id=delivery.status_id,
            state=StatusState.REVOKED,
            reason_code=reason_code,
            statement_digest=envelope.statement_digest.value,
            at=now,
            artifact_id=delivery.artifact_id,
        )
        cancel_unsent(tx, delivery_id, now)
        return revoke_status(tx, new)


def cancel_unsent(tx: Transaction, delivery_id: str, now: datetime) -> None:
    """Cancel a delivery that has not left; one that is being sent ends by `confirm_delivery`."""
    state = DeliveryState.CANCELLED
    if get_delivery(tx, delivery_id).state in delivery_sources_of(state):
        move = Move(tuple(delivery_sources_of(state)), state, now, "revoked")
        move_delivery(tx, delivery_id, move)
