"""Deadline: a delivery that nobody acknowledged in time is sent again, then given to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.engine import Job
from daemon.jobs import DELIVER, delivery_sources_of
from registry.provenance.deliveries import get_delivery, move_delivery
from registry.provenance.moves import Move
from registry.provenance.states import DeliveryState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop


def meet_deadline(shop: Workshop, delivery_id: str) -> str:
    """Send once more what was sent and not acknowledged, as a repeat that the ledger counts."""
    now = shop.clock()
    with shop.ledger.transaction() as tx:
        delivery = get_delivery(tx, delivery_id)
        if delivery.state is not DeliveryState.SENT:
            return "nothing to do"
        if delivery.attempts >= shop.settings.delivery.attempts:
            state = DeliveryState.UNCONFIRMED
            reason = f"no receipt after {delivery.attempts} sends: ask the recipient"
            move = Move(tuple(delivery_sources_of(state)), state, now, reason)
            move_delivery(tx, delivery_id, move)
            return state.value
        state = DeliveryState.PREPARED
        move = Move((DeliveryState.SENT,), state, now, "no receipt in time: sending again")
        move_delivery(tx, delivery_id, move)
        shop.jobs.enqueue_in(tx.session, Job(DELIVER, delivery_id, ordinal=delivery.attempts + 1))
    return "again"
