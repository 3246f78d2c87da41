"""Shipping: the files that a channel carries, made again from vault and ledger whenever they are missing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.jobs import DELIVER
from daemon.routes import address_of
from registry.digest import Digest
from registry.durable import (
    atomic_write,
    ensure_directory,
    pending_file,
    temporary_beside,
)
from registry.errors import NotFoundError
from registry.provenance.deliveries import get_delivery, read_preparation
from registry.provenance.recipients import get_recipient
from registry.provenance.show import summarise
from registry.provenance.states import DeliveryState
from registry.sealing.seal import rewrap
from signal_bridge.channel import Offer
from signal_bridge.parcels import Shipment, clean_name, plan_parcels

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from registry.provenance.deliveries import Delivery, Preparation
    from signal_bridge.channel import Channel


# Nothing is sent any more: a repeat is a delivery of its own.
_OVER = (
    DeliveryState.ACKNOWLEDGED,
    DeliveryState.CANCELLED,
    DeliveryState.FAILED,
    DeliveryState.UNCONFIRMED,
)


@dataclass(frozen=True, slots=True)
class Shipping:
    """A delivery ready to be offered: its channel, and its parcels with their address."""

    channel: Channel
    offer: Offer


def open_shipping(shop: Workshop, delivery: Delivery) -> Shipping:
    """Return the parcels of a prepared delivery, writing its files into the outbox if they are absent.

    The same preparation gives the same bytes, so a run after a kill ships what the first one made.

    Raises:
        NotFoundError: it was never prepared, or was erased.
        UsageError: the recipient has no address on that channel.
    """
    with shop.ledger.reading() as reader:
        made = read_preparation(reader, delivery.id)
        recipient = get_recipient(reader, delivery.recipient_id)
        name = clean_name(Path(summarise(reader, delivery.artifact_id).name or "").stem)
    if made is None:
        raise NotFoundError(f"delivery {delivery.id[:12]} was not prepared")
    folder = shop.custody.paths.outbox / delivery.id
    # Not the adapter's name, which is personal data: the recipient sees the parcels' clean names.
    sealed, bundle = folder / "sealed.age", folder / "bundle.loraseal"
    ensure_directory(folder)
    if not bundle.exists():
        _write_sealed(shop, made, sealed)
        # The bundle last: where it is, the sealed file is whole.
        atomic_write(bundle, made.bundle)
    channel = shop.channels[delivery.channel]
    shipment = Shipment(delivery.id, name, sealed, bundle, folder)
    parcels = plan_parcels(shipment, max_bytes=channel.capabilities.max_parcel_bytes)
    to = address_of(shop.settings, recipient, delivery.channel)
    return Shipping(channel, Offer(delivery.id, to, parcels))


def clear_outbox(shop: Workshop) -> int:
    """Remove the files of deliveries that are over; return of how many."""
    folders = [path for path in shop.custody.paths.outbox.glob("*/") if _is_over(shop, path.name)]
    # States first, jobs second: a job that began before a delivery was over is still active here, and
    # one that begins later finds it over.
    active = {job_id.rpartition(":")[0] for job_id in shop.jobs.active_jobs()} if folders else set()
    done = [folder for folder in folders if f"{DELIVER}:{folder.name}" not in active]
    for folder in done:
        shutil.rmtree(folder)
    return len(done)


def _is_over(shop: Workshop, delivery_id: str) -> bool:
    try:
        with shop.ledger.reading() as reader:
            return get_delivery(reader, delivery_id).state in _OVER
    except NotFoundError:
        return False


def _write_sealed(shop: Workshop, made: Preparation, target: Path) -> None:
    payload = Digest("blake3", made.payload_digest)
    with pending_file(temporary_beside(target)) as out:
        rewrap(shop.custody.vault.path_of(payload), out.stream, made.header)
        out.commit(target)
