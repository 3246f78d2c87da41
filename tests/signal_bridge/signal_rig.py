"""Helpers for tests of the Signal channel against the simulator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.conformance.channel import DELIVERY, NOW, Rig
from tests.simulators.signal_world import FIRST_TIMESTAMP, World

MOMENT = datetime.fromtimestamp(FIRST_TIMESTAMP / 1000, NOW.tzinfo)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = MOMENT

    def __call__(self) -> datetime:
        return self.now


def first(rig: Rig, delivery: str = DELIVERY) -> Any:
    """Offer a delivery and send its first parcel."""
    return rig.channel.send(rig.offered(rig.parcels(delivery=delivery))[0], rig.to)


def sends(world: World) -> int:
    return sum(method == "send" for method, _ in world.calls)
