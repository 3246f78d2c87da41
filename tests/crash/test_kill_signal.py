"""The same through Signal: the simulator outlives the daemons and knows every message that really left."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.daemon_process import Daemon
from tests.crash.end_state import (
    check_all_final,
    check_deliveries,
    check_nothing_left,
    check_opened,
    check_vault,
    read_account,
)
from tests.crash.instants import kill_often, lives, seeded
from tests.crash.test_kill import Feeder
from tests.crash.trainer import Work
from tests.daemon.registry_on_disk import Registry, make_registry
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import World

ARTIFACTS = 20
KILLS = 20
SEND_SECONDS = 2
_MESSAGE = re.compile(r"LoRASeal delivery ([0-9a-f]{32})\npart (\d+) of (\d+)")

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-signal")]


def make_signal_registry(home: Path, world: World) -> Registry:
    """Make a registry whose releases go to Bob by Signal; what arrives there is kept in `bob-phone`."""
    world.keep = home / "bob-phone"
    blocks = (
        '\n[[route]]\nto = "Bob"\nchannel = "signal"\n'
        f'\n[channel.signal]\nkind = "signal"\nsocket = "{home / "socket"}"\n'
        f'outbox = "{home / "signal-outbox"}"\ncall_seconds = 5\nsend_seconds = {SEND_SECONDS}\n'
        "\n[delivery]\nattempts = 20\nretry_seconds = 1\n"
    )
    registry = make_registry(home, route=False, extra=blocks)
    bob, enrolment, config = world.contacts[0], home / "bob.enrol", ("--config", registry.settings)
    registry.run("enrol", "--name", "Bob", "--home", home / "bob", "-o", enrolment)
    address = ("--signal", bob.uuid, "--safety-number", bob.safety_number)
    registry.run("recipient", "add", "Bob", enrolment, "--yes", *address, *config)
    return registry


@pytest.mark.parametrize("receipts", [True, False], ids=["receipts", "silence"])
def test_each_message_is_one_that_the_ledger_counts(tmp_path: Path, receipts: bool) -> None:
    random, home = seeded(), tmp_path / "r"
    world = World(auto_receipts=receipts)
    registry = make_signal_registry(home, world)
    feeder = Feeder(registry, random, ARTIFACTS, KILLS)
    log = tmp_path / "daemon.log"
    with SignalSimulator(home / "socket", world=world):
        kill_often(registry.settings, log, lives(random, KILLS), feeder)
        assert Daemon(registry.settings, log, "--once").end() == 0
    works = {work.name: work for work in feeder.works}
    account = read_account(registry)
    check_all_final(account, works.values())
    check_deliveries(account)
    check_nothing_left(registry)
    check_vault(registry, account)
    check_messages(registry, world)
    _check_phone(registry, world, works)


def check_messages(registry: Registry, world: World) -> None:
    """Every message that arrived is one that the ledger intended, and at least one of each arrived."""
    arrived = Counter[tuple[str, int]]()
    for message in world.arrived:
        found = _MESSAGE.match(message.text)
        assert found is not None
        arrived[found[1], int(found[2])] += 1
    intended = Counter[tuple[str, int]](
        (row.delivery.id, parcel.key.number)
        for row in read_account(registry).shipped
        for parcel in row.parcels
    )
    assert set(arrived) == set(intended)
    assert all(count <= intended[key] for key, count in arrived.items()), (arrived, intended)


def _check_phone(registry: Registry, world: World, works: dict[str, Work]) -> None:
    assert world.keep is not None
    phone = {path.name: path for path in world.keep.glob("*/*")}
    released = [work for work in works.values() if work.outcome == "released"]
    for work in released:
        stem = work.name.removesuffix(".safetensors")
        sealed, bundle = phone.pop(f"{stem}.age"), phone.pop(f"{stem}.loraseal")
        check_opened(registry, work, sealed, bundle, registry.home / "bob")
    assert phone == {}
