"""Fixtures: the Signal channel against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from signal_bridge.channel import (
    Address,
)
from signal_bridge.settings import SignalSettings
from signal_bridge.signal_cli import SignalChannel
from tests.conformance.channel import Rig
from tests.signal_bridge.signal_rig import Clock
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import Cut, Script, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "received").mkdir()
    return World(attachments=tmp_path / "received")


@pytest.fixture
def simulator(tmp_path: Path, world: World) -> Iterator[SignalSimulator]:
    with SignalSimulator(tmp_path / "socket", world=world) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, world: World) -> SignalSettings:
    return SignalSettings(
        "signal",
        tmp_path / "socket",
        tmp_path / "outbox",
        attachments=world.attachments,
        connect_seconds=10,
        call_seconds=10,
        send_seconds=10,
    )


@pytest.fixture
def rig(
    tmp_path: Path, simulator: SignalSimulator, settings: SignalSettings, clock: Clock
) -> Iterator[Rig]:
    made: list[SignalChannel] = []
    world = simulator.world

    def make() -> SignalChannel:
        for channel in made:
            channel.close()
        made.append(SignalChannel(settings, state=tmp_path / "state", clock=clock))
        return made[-1]

    def bring(sealed: bytes) -> None:
        simulator.receive_file(world.contacts[0], "adapter.receipt", sealed)
        # The answer comes after the notification on the same connection.
        made[-1].check()

    def arrived() -> list[str]:
        return [digest for message in world.arrived for _, digest, _ in message.attachments]

    def lose_answer(effect: bool) -> None:
        cut = Cut.AFTER_EFFECT if effect else Cut.BEFORE_EFFECT
        world.script("send", Script(cut=cut))

    (tmp_path / "work").mkdir()
    contact, stranger = world.contacts
    yield Rig(
        channel=make(),
        to=Address("signal", contact.uuid, contact.fingerprint),
        stranger=Address("signal", stranger.uuid, stranger.fingerprint),
        work=tmp_path / "work",
        reopen=make,
        arrived=arrived,
        bring_receipt=bring,
        cut_off=simulator.stop,
        join_again=simulator.start,
        lose_answer=lose_answer,
    )
    for channel in made:
        channel.close()
