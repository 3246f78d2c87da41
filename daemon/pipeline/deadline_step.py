"""Deadline: a delivery that nobody acknowledged in time is put before a person.

It is not sent again by itself: the carrier took it, so a second copy would only be a repeat of what the
recipient most likely has; whether to repeat it is for the person who can ask them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.jobs import delivery_sources_of
from registry.provenance.deliveries import get_delivery, move_delivery
from registry.provenance.moves import Move
from registry.provenance.states import DeliveryState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop

_REASON = "no receipt in time: ask the recipient, or order it again with loraseal deliver --again"


def meet_deadline(shop: Workshop, delivery_id: str) -> str:
    """Mark what was sent and not acknowledged as unconfirmed; a receipt still counts whenever it comes."""
    state = DeliveryState.UNCONFIRMED
    with shop.ledger.transaction() as tx:
        if get_delivery(tx, delivery_id).state is not DeliveryState.SENT:
            return "nothing to do"
        move = Move(tuple(delivery_sources_of(state)), state, shop.clock(), _REASON)
        move_delivery(tx, delivery_id, move)
    return state.value
