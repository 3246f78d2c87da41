"""Helpers for tests of the Signal channel against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from signal_bridge.channel import (
    Address,
)
from signal_bridge.settings import SignalSettings
from signal_bridge.signal_cli import SignalChannel
from tests.conformance.channel import DELIVERY, NOW, Rig
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import FIRST_TIMESTAMP, Cut, Script, World

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


