"""What comes in over Signal: hints, receipts, alarms."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

from signal_bridge.channel import (
    EventKind,
    Fate,
    Unknown,
)
from signal_bridge.signal_notices import armor_receipt
from tests.conformance.channel import DELIVERY, OTHER, Rig
from tests.signal_bridge.signal_rig import Clock, first
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import FIRST_TIMESTAMP, Cut, Script, World

# What comes in.


def test_receipt_of_the_carrier_is_a_hint_for_its_parcel(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    parcels = rig.offered(rig.parcels())
    sent = [rig.send(parcel).msgref for parcel in parcels]
    stamps = [int(msgref) for msgref in sent]
    contact = world.contacts[0]
    for kind, chosen in (("read", stamps), ("delivery", stamps[:1]), ("delivery", stamps[:1])):
        simulator.receive_receipt(contact, chosen, kind)
    simulator.receive_receipt(contact, [1_900_000_009_999])
    simulator.receive_receipt(world.contacts[1], stamps)
    rig.channel.check()
    seen = [(e.kind, e.msgref, e.delivery_id) for e in rig.channel.events(None)]
    assert seen == [
        (EventKind.READ, sent[0], DELIVERY),
        (EventKind.READ, sent[1], DELIVERY),
        (EventKind.DELIVERED, sent[0], DELIVERY),
    ]


def test_receipt_that_overtakes_the_answer_is_not_lost(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    gate = threading.Event()
    world.script("send", Script(after=gate))
    outcomes: list[Any] = []
    parcels = rig.offered(rig.parcels())
    sending = threading.Thread(target=lambda: outcomes.append(rig.channel.send(parcels[0], rig.to)))
    sending.start()
    world.wait_for(1)
    simulator.receive_receipt(world.contacts[0], [world.arrived[0].timestamp])
    gate.set()
    sending.join()
    events = rig.channel.events(None)
    assert [(e.kind, e.delivery_id) for e in events] == [(EventKind.DELIVERED, DELIVERY)]
    assert events[0].msgref == outcomes[0].msgref


def test_receipt_explains_a_lost_answer(rig: Rig, simulator: SignalSimulator, world: World) -> None:
    world.script("send", Script(cut=Cut.AFTER_EFFECT))
    assert isinstance(first(rig), Unknown)
    rig.channel.check()
    simulator.receive_receipt(world.contacts[0], [world.arrived[0].timestamp])
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.SENT
    assert rig.send(rig.parcels()[0]).msgref == str(world.arrived[0].timestamp)
    assert len(world.arrived) == 1
    events = rig.channel.events(None)
    assert [(e.kind, e.delivery_id) for e in events] == [(EventKind.DELIVERED, DELIVERY)]


def test_receipt_that_two_parcels_could_explain_explains_neither(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    world.script("send", Script(cut=Cut.AFTER_EFFECT), Script(cut=Cut.BEFORE_EFFECT))
    assert isinstance(first(rig), Unknown)
    assert isinstance(first(rig, OTHER), Unknown)
    rig.channel.check()
    simulator.receive_receipt(world.contacts[0], [world.arrived[0].timestamp])
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN
    assert rig.channel.reconcile(OTHER, 1) is Fate.UNKNOWN


def test_receipt_for_what_a_person_wrote_by_hand_explains_nothing(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    world.script("send", Script(cut=Cut.BEFORE_EFFECT))
    assert isinstance(first(rig), Unknown)
    rig.channel.check()
    stamp = world.timestamp()
    me = replace(world.contacts[0], uuid=world.account_uuid)
    by_hand = {"sentMessage": {"destinationUuid": rig.to.value, "timestamp": stamp}}
    simulator.receive_receipt(world.contacts[0], [stamp])
    simulator.push(world.envelope(me, stamp, syncMessage=by_hand))
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN


def test_old_receipt_explains_no_later_attempt(
    rig: Rig, simulator: SignalSimulator, world: World, clock: Clock
) -> None:
    clock.now += timedelta(minutes=10)
    world.script("send", Script(cut=Cut.BEFORE_EFFECT))
    assert isinstance(first(rig), Unknown)
    rig.channel.check()
    simulator.receive_receipt(world.contacts[0], [FIRST_TIMESTAMP])
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN


def test_network_failure_that_was_delivered_is_found_by_its_timestamp(
    rig: Rig, simulator: SignalSimulator, world: World, clock: Clock
) -> None:
    world.script("send", Script(results=("NETWORK_FAILURE",), timestamp=1_900_000_050_000))
    assert isinstance(first(rig), Unknown)
    clock.now += timedelta(minutes=1)
    world.script("send", Script(cut=Cut.BEFORE_EFFECT))
    assert isinstance(first(rig, OTHER), Unknown)
    rig.channel.check()
    simulator.receive_receipt(world.contacts[0], [1_900_000_050_000])
    rig.channel.check()
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.SENT
    assert rig.channel.reconcile(OTHER, 1) is Fate.UNKNOWN


def test_sealed_receipt_may_come_as_text(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    first(rig)
    simulator.receive_text(world.contacts[0], "here you are\n" + armor_receipt(b"sealed") + "\n:-)")
    rig.channel.check()
    assert [e.sealed_receipt for e in rig.channel.events(None)] == [b"sealed"]


def test_receipts_of_strangers_are_left_alone(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    first(rig)
    simulator.receive_text(world.contacts[1], armor_receipt(b"spam"))
    simulator.receive_file(world.contacts[1], "x.receipt", b"spam")
    rig.channel.check()
    assert rig.channel.events(None) == ()


def test_receipt_file_that_is_not_there_asks_for_attention(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    first(rig)
    simulator.receive_file(world.contacts[0], "x.receipt", None)
    rig.channel.check()
    (event,) = rig.channel.events(None)
    assert event.kind is EventKind.ATTENTION
    assert event.reason


def test_message_under_an_untrusted_key_asks_for_attention_once(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    first(rig)
    alarm = {"exception": {"message": "x", "type": "UntrustedIdentityException"}}
    for _ in range(3):
        simulator.push(alarm | world.envelope(world.contacts[0], 1))
    rig.channel.check()
    assert [e.kind for e in rig.channel.events(None)] == [EventKind.ATTENTION]


def test_storm_of_receipts_while_a_send_runs_is_taken(
    rig: Rig, simulator: SignalSimulator, world: World
) -> None:
    parcels = rig.offered(rig.parcels())
    stamp = int(rig.send(parcels[0]).msgref)
    gate = threading.Event()
    world.script("send", Script(before=gate))
    sending = threading.Thread(target=rig.send, args=(parcels[1],))
    sending.start()
    for _ in range(500):
        simulator.receive_receipt(world.contacts[0], [stamp])
    gate.set()
    sending.join()
    assert [e.kind for e in rig.channel.events(None)] == [EventKind.DELIVERED]
