"""The Signal channel: the common contract, then what surrounds a send."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signal_bridge.channel import (
    Accepted,
    Fate,
    Health,
    Offer,
    Offered,
    Recall,
    Refused,
    Retry,
    Unknown,
)
from signal_bridge.parcels import HARD_PARCEL_BYTES
from signal_bridge.settings import SignalSettings
from signal_bridge.signal_cli import SignalChannel
from tests.conformance.channel import DELIVERY, ChannelContract, Rig
from tests.signal_bridge.signal_rig import first, sends
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import Cut, Script, World

ROOT = Path(__file__).resolve().parents[2]


class TestContract(ChannelContract):
    """Signal keeps the contract of all channels."""


# Before the first byte.


@pytest.mark.parametrize("version", ["0.13.15", "0.9.0", "garbage", "", "0.13"])
def test_release_that_loses_messages_is_refused(rig: Rig, world: World, version: str) -> None:
    world.version = version
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.HUMAN
    assert rig.channel.check().health is Health.NEEDS_PERSON
    assert sends(world) == 0


@pytest.mark.parametrize(
    ("version", "health"),
    [
        ("0.13.16", Health.WARNING),
        ("0.14.3", Health.WARNING),
        ("0.14.4", Health.READY),
        ("0.14.10", Health.READY),
        ("0.15.0-SNAPSHOT", Health.READY),
    ],
)
def test_releases_are_judged_by_number(
    rig: Rig, world: World, version: str, health: Health
) -> None:
    world.version = version
    assert rig.channel.check().health is health


def test_changed_identity_key_stops_before_the_first_byte(rig: Rig, world: World) -> None:
    world.change_identity(rig.to.value)
    world.meet_identity(world.contacts[0])
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert (outcome.retry, sends(world)) == (Retry.HUMAN, 0)
    assert "safety numbers" in outcome.what_to_do


def test_identity_that_changes_between_check_and_send_is_refused(rig: Rig, world: World) -> None:
    world.change_identity(rig.to.value)
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert (outcome.retry, sends(world), rig.arrived()) == (Retry.HUMAN, 1, [])


def test_identity_that_changes_in_the_middle_stops_the_remaining_parcels(
    rig: Rig, world: World
) -> None:
    parcels = rig.offered(rig.parcels())
    rig.send(parcels[0])
    world.change_identity(rig.to.value)
    world.meet_identity(world.contacts[0])
    outcome = rig.channel.send(parcels[1], rig.to)
    assert isinstance(outcome, Refused)
    assert rig.arrived() == [parcels[0].sha256]


@pytest.mark.parametrize("trust", ["TRUSTED_UNVERIFIED", "UNTRUSTED", "SOMETHING_NEW"])
def test_key_that_nobody_verified_is_refused(rig: Rig, world: World, trust: str) -> None:
    world.contacts[0].trust = trust
    assert isinstance(first(rig), Refused)
    assert sends(world) == 0


def test_unknown_contact_is_refused(rig: Rig, world: World) -> None:
    parcels = rig.offered(rig.parcels())
    world.contacts.clear()
    outcome = rig.channel.send(parcels[0], rig.to)
    assert isinstance(outcome, Refused)
    assert sends(world) == 0


@pytest.mark.parametrize("pin", [None, "", "12345", "05" + "g" * 64, "9" * 60])
def test_missing_or_wrong_pin_never_sends(rig: Rig, world: World, pin: str | None) -> None:
    to = replace(rig.to, pin=pin)
    parcels = rig.parcels()
    answer = rig.channel.offer(Offer(DELIVERY, to, parcels))
    if isinstance(answer, Offered):
        assert isinstance(rig.channel.send(parcels[0], to), Refused)
    assert sends(world) == 0


def test_pin_may_be_the_safety_number_with_spaces(rig: Rig, world: World) -> None:
    number = world.contacts[0].safety_number
    pin = " ".join(number[at : at + 5] for at in range(0, 60, 5))
    to = replace(rig.to, pin=pin, value=rig.to.value.upper())
    parcels = rig.parcels()
    assert isinstance(rig.channel.offer(Offer(DELIVERY, to, parcels)), Offered)
    assert isinstance(rig.channel.send(parcels[0], to), Accepted)


@pytest.mark.parametrize("value", ["+15550101", "u:name.01", "", "11111111"])
def test_address_that_is_no_account_id_is_refused(rig: Rig, value: str) -> None:
    answer = rig.channel.offer(Offer(DELIVERY, replace(rig.to, value=value), rig.parcels()))
    assert isinstance(answer, Refused)


def test_parcel_above_the_limit_of_signal_is_refused(rig: Rig) -> None:
    parcels = rig.parcels()
    large = (replace(parcels[0], size=HARD_PARCEL_BYTES + 1), *parcels[1:])
    answer = rig.channel.offer(Offer(DELIVERY, rig.to, large))
    assert isinstance(answer, Refused)
    assert answer.retry is Retry.NEVER


# Around it.


def test_staged_copy_is_clean_while_sending_and_gone_afterwards(
    rig: Rig, world: World, settings: SignalSettings
) -> None:
    first(rig)
    sent = next(params for method, params in world.calls if method == "send")
    (path,) = (Path(item) for item in sent["attachment"])
    assert path.is_absolute()
    assert path.name == "adapter.age"
    assert settings.outbox in path.parents
    assert list(settings.outbox.iterdir()) == []
    assert set(sent) == {"recipient", "message", "attachment"}
    assert len(sent["message"].encode()) < 2000


def test_copies_of_a_killed_process_are_swept_and_nothing_else(
    rig: Rig, settings: SignalSettings
) -> None:
    left, other = settings.outbox / ("0" * 32), settings.outbox / "mine"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "x.age").write_bytes(b"x")
    first(rig)
    assert not left.exists()
    assert other.exists()


def test_outbox_that_cannot_be_written_is_refused(rig: Rig, settings: SignalSettings) -> None:
    settings.outbox.write_bytes(b"a file where the directory should be")
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.LATER


def test_offer_while_signal_cli_is_away_is_refused_until_it_is_back(rig: Rig) -> None:
    """Before an attempt is counted: it may be away for longer than all attempts last."""
    offer = Offer(DELIVERY, rig.to, rig.parcels())
    rig.cut_off()
    away = rig.reopen()
    answer = away.offer(offer)
    assert isinstance(answer, Refused)
    assert answer.retry is Retry.LATER
    assert answer.what_to_do
    rig.join_again()
    assert isinstance(rig.reopen().offer(offer), Offered)


def test_sent_parcel_is_beyond_recall(rig: Rig) -> None:
    first(rig)
    assert rig.channel.revoke(DELIVERY, rig.to) is Recall.TOO_LATE


def test_killed_daemon_that_comes_back_is_used_again(rig: Rig, simulator: SignalSimulator) -> None:
    parcels = rig.offered(rig.parcels())
    rig.send(parcels[0])
    simulator.kill()
    assert isinstance(rig.channel.send(parcels[1], rig.to), Refused)
    simulator.path.unlink()
    simulator.start()
    rig.send(parcels[1])
    assert rig.arrived() == [parcel.sha256 for parcel in parcels]


def test_every_drop_point_delivers_each_parcel_once_or_says_unknown(rig: Rig, world: World) -> None:
    for number, cut in enumerate(Cut, start=1):
        if cut in (Cut.HANG_BEFORE_EFFECT, Cut.HANG_AFTER_EFFECT):
            continue
        delivery = f"{number:032x}"
        parcels = rig.offered(rig.parcels(delivery.encode(), delivery))
        world.script("send", Script(cut=cut))
        assert isinstance(rig.channel.send(parcels[0], rig.to), Unknown)
        rig.channel = rig.reopen()
        assert rig.channel.reconcile(delivery, 1) is Fate.UNKNOWN
        assert rig.arrived().count(parcels[0].sha256) <= 1


SENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from signal_bridge.channel import Address, Offer
from signal_bridge.parcels import Shipment, plan_parcels
from signal_bridge.settings import SignalSettings
from signal_bridge.signal_cli import SignalChannel
work, delivery, uuid, pin = Path(sys.argv[1]), *sys.argv[2:]
settings = SignalSettings("signal", work / "socket", work / "outbox")
channel = SignalChannel(settings, state=work / "state", clock=lambda: datetime.now(UTC))
files = (work / "work" / f"{delivery}.age", work / "work" / f"{delivery}.loraseal")
parcels = plan_parcels(Shipment(delivery, "adapter", *files, work / "work"), max_bytes=None)
to = Address("signal", uuid, pin)
channel.offer(Offer(delivery, to, parcels))
channel.send(parcels[0], to)
"""


def test_process_killed_while_sending_leaves_an_unknown_that_a_receipt_explains(
    rig: Rig, simulator: SignalSimulator, world: World, tmp_path: Path
) -> None:
    parcels = rig.parcels()
    gate = threading.Event()
    world.script("send", Script(after=gate))
    world._next = int(datetime.now(UTC).timestamp() * 1000)
    words = [str(tmp_path), DELIVERY, rig.to.value, rig.to.pin or ""]
    with subprocess.Popen([sys.executable, "-c", SENDER, *words], cwd=ROOT) as child:
        world.wait_for(1)
        child.kill()
    gate.set()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN
    rig.channel.check()
    simulator.receive_receipt(world.contacts[0], [world.arrived[0].timestamp])
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.SENT
    rig.send(parcels[0])
    assert rig.arrived() == [parcels[0].sha256]


def test_contact_is_found_for_enrolment(rig: Rig, world: World) -> None:
    assert isinstance(rig.channel, SignalChannel)
    contact = world.contacts[0]
    found = rig.channel.find_contact(contact.number or "")
    assert found is not None
    assert (found.uuid, found.fingerprint) == (contact.uuid, contact.fingerprint)
    assert found.safety_number == contact.safety_number
    assert contact.uuid not in repr(found)
    assert rig.channel.find_contact("+15559999") is None


def test_journal_holds_no_address_and_no_number(rig: Rig, world: World, tmp_path: Path) -> None:
    first(rig)
    for path in (tmp_path / "state").iterdir():
        data = path.read_bytes()
        for secret in (rig.to.value, rig.to.pin or "", world.contacts[0].number or ""):
            assert secret.encode() not in data


def test_attachment_is_what_was_sealed(rig: Rig, world: World) -> None:
    parcels = rig.offered(rig.parcels(b"sealed" * 1000))
    rig.send(parcels[0])
    ((name, digest, size),) = world.arrived[0].attachments
    assert (name, size) == ("adapter.age", 6000)
    assert digest == hashlib.sha256(b"sealed" * 1000).hexdigest()
