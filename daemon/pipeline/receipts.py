"""Receipts: what channels bring back is judged by custody; a good one acknowledges its delivery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from daemon.custody.receipts import accept_receipt
from registry.errors import BusyError, LorasealError
from registry.provenance.cursors import read_cursor, write_cursor
from registry.provenance.events import NewEvent, note_event
from signal_bridge.channel import EventKind

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from signal_bridge.channel import ChannelEvent

log = logging.getLogger(__name__)


def take_events(shop: Workshop, name: str) -> int:
    """Handle what came in on channel `name` since the last look; return how many events.

    The cursor is stored after an event is handled, so a kill repeats one and loses none.
    """
    count = 0
    with shop.ledger.reading() as reader:
        cursor = read_cursor(reader, name)
    for event in shop.channels[name].events(cursor):
        _handle(shop, name, event)
        with shop.ledger.transaction() as tx:
            write_cursor(tx, name, event.cursor)
        count += 1
    return count


def _handle(shop: Workshop, channel: str, event: ChannelEvent) -> None:
    if event.kind is EventKind.RECEIPT and event.sealed_receipt is not None:
        try:
            accept_receipt(shop.custody, event.sealed_receipt, shop.clock())
        except BusyError:
            # Not the receipt's fault: the cursor stays, and it is taken at the next look.
            raise
        except LorasealError as error:
            # Anybody can put a file there. It is noted and dropped; its words are ours, not its own.
            _note(shop, "receipt refused", event, f"{channel}: {type(error).__name__}")
        return
    if event.kind is EventKind.ATTENTION:
        _note(shop, "channel attention", event, f"{channel}: {event.reason or 'see the channel'}")
        return
    _note(shop, f"channel {event.kind.value}", event, channel)


def _note(shop: Workshop, kind: str, event: ChannelEvent, detail: str) -> None:
    with shop.ledger.transaction() as tx:
        note_event(tx, NewEvent(kind, shop.clock(), delivery_id=event.delivery_id, detail=detail))
