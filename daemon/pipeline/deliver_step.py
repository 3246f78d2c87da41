"""Deliver: prepare once, write the intent, ask the channel what it knows, then send.

Sends are at-least-once by nature: a kill between the channel's effect and our note of it leaves a
question, which `reconcile` answers where the channel can. Where it cannot, the parcel is sent again and
the ledger says so; receivers drop repeats by delivery id.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.custody.deliveries import confirm_delivery, prepare_delivery
from daemon.engine import Job
from daemon.jobs import DEADLINE, DELIVER, delivery_sources_of
from daemon.pipeline.shipping import Shipping, open_shipping
from registry.errors import (
    DeniedError,
    FormatError,
    LorasealError,
    NotFoundError,
    UsageError,
    VerificationError,
)
from registry.provenance.deliveries import (
    Delivery,
    begin_attempt,
    explain_wait,
    get_delivery,
    move_delivery,
)
from registry.provenance.moves import Move
from registry.provenance.parcels import (
    NewParcel,
    ParcelFate,
    ParcelKey,
    intend_parcel,
    parcels_of,
    record_send,
)
from registry.provenance.states import DeliveryState, ParcelState
from signal_bridge.channel import Accepted, Fate, Refused, Retry, Unknown

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from signal_bridge.channel import Parcel, SendOutcome

_OPEN = (
    DeliveryState.PLANNED,
    DeliveryState.PREPARED,
    DeliveryState.SENDING,
)


def deliver(shop: Workshop, delivery_id: str) -> str:
    """Bring a delivery to its recipient's channel, or to the state that says why not."""
    delivery = _read(shop, delivery_id)
    if delivery.state not in _OPEN:
        return "nothing to do"
    if delivery.channel not in shop.channels:
        return _end(shop, delivery, DeliveryState.FAILED, f"channel {delivery.channel} is not set")
    try:
        if delivery.state is DeliveryState.PLANNED:
            prepare_delivery(shop.custody, shop.rules(), delivery_id, shop.delivery_terms())
            delivery = _read(shop, delivery_id)
        else:
            confirm_delivery(shop.custody, shop.rules(), delivery_id, shop.clock())
        shipping = open_shipping(shop, delivery)
    except (VerificationError, DeniedError, FormatError, NotFoundError) as error:
        # The signed chain does not hold: whatever the rows say, nothing leaves.
        return _end(shop, delivery, DeliveryState.FAILED, str(error))
    except UsageError as error:
        # No address, say: time does not heal it, so it must not be tried for ever.
        return _end(shop, delivery, DeliveryState.FAILED, f"{error}; {error.hint}")
    return _send(shop, delivery, shipping)


def _send(shop: Workshop, delivery: Delivery, shipping: Shipping) -> str:
    offered = shipping.channel.offer(shipping.offer)
    if isinstance(offered, Refused):
        return _refused(shop, delivery, offered)
    attempt = _begin(shop, delivery)
    for parcel in shipping.offer.parcels:
        outcome = _send_parcel(
            shop, ParcelKey(delivery.id, attempt, parcel.number), parcel, shipping
        )
        if isinstance(outcome, Refused):
            return _refused(shop, delivery, outcome)
        if isinstance(outcome, Unknown):
            return _again_later(shop, delivery, outcome.reason, outcome.settle_s)
    return _sent(shop, delivery)


def _begin(shop: Workshop, delivery: Delivery) -> int:
    """Return the number of this attempt; a run that was cut off goes on with its own."""
    if delivery.state is DeliveryState.SENDING:
        return delivery.attempts
    attempt = delivery.attempts + 1
    state = DeliveryState.SENDING
    move = Move(tuple(delivery_sources_of(state)), state, shop.clock())
    with shop.ledger.transaction() as tx:
        begin_attempt(tx, delivery.id, attempt, move)
    return attempt


def _send_parcel(shop: Workshop, key: ParcelKey, parcel: Parcel, shipping: Shipping) -> SendOutcome:
    new = NewParcel(key, parcel.count, parcel.sha256, parcel.size)
    with shop.ledger.transaction() as tx:
        was_begun = any(row.key == key for row in parcels_of(tx, key.delivery_id))
        state = intend_parcel(tx, new, shop.clock())
    if state is ParcelState.SENT:
        return Accepted("", shop.clock())
    # It may be out already, from an attempt before this one or from a run that was cut off.
    fate = shipping.channel.reconcile(key.delivery_id, parcel.number)
    if fate is Fate.SENT:
        outcome: SendOutcome = Accepted("", shop.clock())
    elif fate is Fate.UNKNOWN and was_begun:
        # A second message within one attempt would be a copy that the ledger does not count: this
        # attempt ends in doubt, and the next one sends.
        wait = shop.settings.delivery.retry_seconds
        outcome = Unknown("the daemon was cut off while it sent", settle_s=wait)
    else:
        outcome = shipping.channel.send(parcel, shipping.offer.to)
    with shop.ledger.transaction() as tx:
        record_send(tx, key, _fate_of(shop, outcome))
    return outcome


def _fate_of(shop: Workshop, outcome: SendOutcome) -> ParcelFate:
    now = shop.clock()
    match outcome:
        case Accepted(msgref, at):
            return ParcelFate(ParcelState.SENT, at, msgref or None)
        case Unknown(reason):
            return ParcelFate(ParcelState.UNKNOWN, now, reason=reason)
        case Refused(reason=reason):
            return ParcelFate(ParcelState.REFUSED, now, reason=reason)


def _sent(shop: Workshop, delivery: Delivery) -> str:
    state, terms = DeliveryState.SENT, shop.delivery_terms()
    move = Move(tuple(delivery_sources_of(state)), state, shop.clock())
    with shop.ledger.transaction() as tx:
        move_delivery(tx, delivery.id, move)
        ordinal = get_delivery(tx, delivery.id).attempts
        wait = terms.acknowledge_within.total_seconds()
        job = Job(DEADLINE, delivery.id, ordinal=ordinal, delay_seconds=wait)
        shop.jobs.enqueue_in(tx.session, job)
    return state.value


def _refused(shop: Workshop, delivery: Delivery, refusal: Refused) -> str:
    match refusal.retry:
        case Retry.LATER:
            wait = refusal.retry_after_s or shop.settings.delivery.retry_seconds
            return _again_later(shop, delivery, refusal.reason, wait)
        case Retry.HUMAN:
            reason = f"{refusal.reason}; {refusal.what_to_do}"
            return _end(shop, delivery, DeliveryState.WAITING, reason)
        case Retry.NEVER:
            return _end(shop, delivery, DeliveryState.FAILED, refusal.reason)


def _again_later(shop: Workshop, delivery: Delivery, reason: str, seconds: int) -> str:
    """Go back to prepared and try again after a while, up to the number of attempts in the settings."""
    delivery = _read(shop, delivery.id)
    if delivery.attempts >= shop.settings.delivery.attempts:
        return _end(
            shop, delivery, DeliveryState.FAILED, f"{reason} ({delivery.attempts} attempts)"
        )
    now = shop.clock()
    with shop.ledger.transaction() as tx:
        if delivery.state is DeliveryState.SENDING:
            move = Move((DeliveryState.SENDING,), DeliveryState.PREPARED, now, reason)
            move_delivery(tx, delivery.id, move)
        else:
            explain_wait(tx, delivery.id, reason[:500], now)
        ordinal = delivery.attempts + 1
        later = now + timedelta(seconds=seconds)
        # The moment makes the id its own: a refusal before any attempt must not eat the next job.
        job = Job(DELIVER, delivery.id, int(later.timestamp()) * 100 + ordinal, float(seconds))
        shop.jobs.enqueue_in(tx.session, job)
    return "later"


def _end(shop: Workshop, delivery: Delivery, state: DeliveryState, reason: str) -> str:
    sources = tuple(delivery_sources_of(state))
    try:
        with shop.ledger.transaction() as tx:
            move_delivery(tx, delivery.id, Move(sources, state, shop.clock(), reason[:500]))
    except LorasealError:
        # Acknowledged or cancelled meanwhile: that stands.
        return _read(shop, delivery.id).state.value
    return state.value


def _read(shop: Workshop, delivery_id: str) -> Delivery:
    with shop.ledger.reading() as reader:
        return get_delivery(reader, delivery_id)
