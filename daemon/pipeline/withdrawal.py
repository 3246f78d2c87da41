"""After a revocation: what still lies with a channel is taken back, and the status list is kept fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.custody.status import renew_status
from daemon.routes import address_of
from registry.errors import LorasealError
from registry.provenance.recalls import note_recall, unrecalled_deliveries
from registry.provenance.recipients import get_recipient

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from registry.provenance.deliveries import Delivery

_CHANNEL_GONE = "unsupported: the settings no longer name its channel"
_ADDRESS_GONE = "unsupported: the recipient's address is not the one it was sent to"


def recall_revoked(shop: Workshop) -> int:
    """Ask each channel once to take back what was revoked; return how many deliveries that settled.

    A channel that is away is asked when it is back: the files lie on that stick until then.
    """
    with shop.ledger.reading() as reader:
        revoked = unrecalled_deliveries(reader)
    settled = 0
    for delivery in revoked:
        outcome = _recall(shop, delivery)
        if outcome is None:
            continue
        with shop.ledger.transaction() as tx:
            note_recall(tx, delivery, outcome, shop.clock())
        settled += 1
    return settled


def keep_status_fresh(shop: Workshop) -> bool:
    """Publish a status list before recipients would find the newest one expired."""
    return renew_status(shop.custody, shop.clock(), shop.delivery_terms().status_valid_for)


def keep_head_fresh(shop: Workshop) -> int:
    """Sign the log as it is, and return its size: what no head covers, an older database could drop.

    A delivery signs one too; where nothing is delivered for long, nobody else would.
    """
    with shop.custody.alone():
        return shop.custody.head.advance(shop.ledger, shop.clock()).size


def _recall(shop: Workshop, delivery: Delivery) -> str | None:
    channel = shop.channels.get(delivery.channel)
    if channel is None:
        return _CHANNEL_GONE
    if not channel.check().ok:
        return None
    try:
        with shop.ledger.reading() as reader:
            recipient = get_recipient(reader, delivery.recipient_id)
        to = address_of(shop.settings, recipient, delivery.channel)
        return channel.revoke(delivery.id, to).value
    except (LorasealError, ValueError):
        # Erased, enrolled anew, or a changed row: the channel cannot know what to take back.
        return _ADDRESS_GONE
