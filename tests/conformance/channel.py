"""What every channel must hold. A new channel is done when a subclass of `ChannelContract` passes.

class TestMyChannel(ChannelContract):
    @pytest.fixture
    def rig(self, tmp_path): ...   # yields a Rig
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signal_bridge.channel import (
    Accepted,
    Address,
    Channel,
    EventKind,
    Fate,
    Offer,
    Offered,
    Parcel,
    Recall,
    Refused,
    Retry,
    Unknown,
)
from signal_bridge.parcels import Shipment, plan_parcels

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DELIVERY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


@dataclass
class Rig:
    """One channel under test and the world around it.

    `reopen` gives a new channel over the same state, as after a kill. `arrived` lists the hex sha256 of
    every file that reached the recipient. `bring_receipt` lets a sealed receipt come back.
    `lose_answer`, where a channel can lose one, makes the next send end as Unknown; its argument says
    whether the recipient gets the parcel nevertheless.
    """

    channel: Channel
    to: Address
    stranger: Address
    work: Path
    reopen: Callable[[], Channel]
    arrived: Callable[[], list[str]]
    bring_receipt: Callable[[bytes], None]
    cut_off: Callable[[], None]
    join_again: Callable[[], None]
    lose_answer: Callable[[bool], None] | None = None

    def parcels(
        self, content: bytes = b"sealed bytes", delivery: str = DELIVERY
    ) -> tuple[Parcel, ...]:
        """Return the parcels of a small delivery."""
        sealed, bundle = self.work / f"{delivery}.age", self.work / f"{delivery}.loraseal"
        sealed.write_bytes(content)
        bundle.write_bytes(b"bundle of " + content)
        shipment = Shipment(delivery, "adapter", sealed, bundle, self.work)
        return plan_parcels(shipment, max_bytes=self.channel.capabilities.max_parcel_bytes)

    def offered(self, parcels: tuple[Parcel, ...]) -> tuple[Parcel, ...]:
        """Offer parcels to the recipient and return them."""
        answer = self.channel.offer(Offer(parcels[0].delivery_id, self.to, parcels))
        assert isinstance(answer, Offered), answer
        return parcels

    def send(self, parcel: Parcel) -> Accepted:
        """Send a parcel that has to be accepted."""
        outcome = self.channel.send(parcel, self.to)
        assert isinstance(outcome, Accepted), outcome
        return outcome


class ChannelContract:
    """The suite. Refusals first."""

    def test_parcel_that_was_not_offered_is_refused_as_a_bug(self, rig: Rig) -> None:
        with pytest.raises(ValueError, match="not offered"):
            rig.channel.send(rig.parcels()[0], rig.to)
        assert rig.arrived() == []

    def test_parcel_offered_to_somebody_else_is_refused_as_a_bug(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        with pytest.raises(ValueError, match="not offered"):
            rig.channel.send(parcels[0], rig.stranger)
        assert rig.arrived() == []

    def test_offer_with_other_content_under_the_same_id_is_refused(self, rig: Rig) -> None:
        rig.offered(rig.parcels())
        with pytest.raises(ValueError, match="other content"):
            rig.offered(rig.parcels(b"something else"))

    def test_offer_to_another_address_under_the_same_id_is_refused(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        with pytest.raises(ValueError, match="other content"):
            rig.channel.offer(Offer(DELIVERY, rig.stranger, parcels))

    def test_parcels_with_a_gap_are_refused_as_a_bug(self, rig: Rig) -> None:
        parcels = rig.parcels()
        with pytest.raises(ValueError, match="numbered"):
            rig.channel.offer(Offer(DELIVERY, rig.to, parcels[1:]))

    def test_address_of_another_kind_is_refused(self, rig: Rig) -> None:
        answer = rig.channel.offer(Offer(DELIVERY, Address("pigeon", "x"), rig.parcels()))
        assert isinstance(answer, Refused)
        assert answer.what_to_do

    def test_parcel_that_changed_after_the_offer_never_leaves(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        parcels[0].path.write_bytes(b"sealed bytez")
        outcome = rig.channel.send(parcels[0], rig.to)
        assert isinstance(outcome, Refused)
        assert outcome.retry is Retry.NEVER
        assert rig.arrived() == []

    def test_parcel_that_vanished_is_refused(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        parcels[0].path.unlink()
        outcome = rig.channel.send(parcels[0], rig.to)
        assert isinstance(outcome, Refused)
        assert rig.channel.reconcile(DELIVERY, 1) is Fate.NOT_SENT

    def test_carrier_out_of_reach_is_an_answer_and_not_an_exception(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        rig.cut_off()
        assert not rig.channel.check().ok
        outcome = rig.channel.send(parcels[0], rig.to)
        assert isinstance(outcome, Refused)
        assert outcome.retry is Retry.LATER
        assert rig.channel.reconcile(DELIVERY, 1) is Fate.NOT_SENT
        assert isinstance(rig.channel.events(None), tuple)

    def test_carrier_that_comes_back_carries(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        rig.cut_off()
        rig.channel.send(parcels[0], rig.to)
        rig.join_again()
        rig.send(parcels[0])
        assert rig.arrived() == [parcels[0].sha256]

    def test_foreign_cursor_is_refused_as_a_bug(self, rig: Rig) -> None:
        for cursor in ("999", "-1", "x", ""):
            with pytest.raises(ValueError, match="cursor"):
                rig.channel.events(cursor)

    def test_revoked_delivery_sends_nothing_more(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        assert rig.channel.revoke(DELIVERY, rig.to) is Recall.STOPPED
        outcome = rig.channel.send(parcels[0], rig.to)
        assert isinstance(outcome, Refused)
        assert outcome.retry is Retry.NEVER
        assert rig.arrived() == []

    def test_revoking_after_sending_does_not_claim_more_than_it_did(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        rig.send(parcels[0])
        recall = rig.channel.revoke(DELIVERY, rig.to)
        assert (recall is Recall.STOPPED) == (rig.arrived() == [])
        assert isinstance(rig.channel.send(parcels[1], rig.to), Refused)

    def test_lost_answer_is_unknown_and_never_said_to_be_unsent(self, rig: Rig) -> None:
        if rig.lose_answer is None:
            pytest.skip("this channel sees its own effect")
        for number, effect in ((1, True), (2, False)):
            delivery = f"{number:032x}"
            parcels = rig.offered(rig.parcels(delivery=delivery))
            rig.lose_answer(effect)
            assert isinstance(rig.channel.send(parcels[0], rig.to), Unknown)
            assert rig.channel.reconcile(delivery, 1) is Fate.UNKNOWN

    def test_lost_answer_is_still_unknown_after_a_restart(self, rig: Rig) -> None:
        if rig.lose_answer is None:
            pytest.skip("this channel sees its own effect")
        parcels = rig.offered(rig.parcels())
        rig.lose_answer(True)
        rig.channel.send(parcels[0], rig.to)
        rig.channel = rig.reopen()
        assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN

    def test_addresses_stand_in_no_log_repr_or_outcome(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        parcels = rig.offered(rig.parcels())
        said = [repr(rig.to), repr(rig.channel.check()), repr(rig.channel.send(parcels[0], rig.to))]
        rig.cut_off()
        said += [repr(rig.channel.check()), repr(rig.channel.send(parcels[1], rig.to))]
        said += [repr(rig.channel.events(None)), caplog.text]
        for secret in filter(None, (rig.to.value, rig.to.pin)):
            assert not any(secret in text for text in said)

    def test_is_a_channel_and_says_that_it_is_ready(self, rig: Rig) -> None:
        assert isinstance(rig.channel, Channel)
        assert rig.channel.check().ok
        limit = rig.channel.capabilities.max_parcel_bytes
        assert limit is None or limit > 0

    def test_same_offer_gives_the_same_answer_also_after_a_restart(self, rig: Rig) -> None:
        offer = Offer(DELIVERY, rig.to, rig.parcels())
        first = rig.channel.offer(offer)
        assert rig.channel.offer(offer) == first
        assert rig.reopen().offer(offer) == first

    def test_new_pin_of_the_same_address_is_the_same_delivery(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        to = replace(rig.to, pin=None if rig.to.pin is None else "1" * 60)
        answer = rig.channel.offer(Offer(DELIVERY, to, parcels))
        assert isinstance(answer, Offered)

    def test_parcels_arrive_byte_for_byte(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels(bytes(range(256)) * 5000))
        for parcel in parcels:
            rig.send(parcel)
        assert sorted(rig.arrived()) == sorted(parcel.sha256 for parcel in parcels)
        assert rig.channel.reconcile(DELIVERY, 1) is Fate.SENT

    def test_two_deliveries_of_the_same_name_both_arrive(self, rig: Rig) -> None:
        one = rig.offered(rig.parcels(b"first"))
        two = rig.offered(rig.parcels(b"second", OTHER))
        for parcel in (*one, *two):
            rig.send(parcel)
        assert sorted(rig.arrived()) == sorted(parcel.sha256 for parcel in (*one, *two))

    def test_parcel_sent_twice_leaves_once(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        first = rig.send(parcels[0])
        assert rig.send(parcels[0]).msgref == first.msgref
        assert rig.arrived() == [parcels[0].sha256]

    def test_parcel_sent_before_a_restart_leaves_once(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        first = rig.send(parcels[0])
        rig.channel = rig.reopen()
        assert rig.channel.reconcile(DELIVERY, 1) is Fate.SENT
        assert rig.send(parcels[0]).msgref == first.msgref
        assert rig.arrived() == [parcels[0].sha256]

    def test_parcel_sent_by_several_threads_leaves_once(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        threads = [threading.Thread(target=rig.send, args=(parcels[0],)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rig.arrived() == [parcels[0].sha256]

    def test_sealed_receipt_comes_once_and_the_cursor_restarts(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        rig.send(parcels[0])
        rig.bring_receipt(b"sealed receipt")
        rig.bring_receipt(b"sealed receipt")
        events = [e for e in rig.channel.events(None) if e.kind is EventKind.RECEIPT]
        assert [event.sealed_receipt for event in events] == [b"sealed receipt"]
        after = rig.channel.events(events[0].cursor)
        assert [e for e in after if e.kind is EventKind.RECEIPT] == []
        rig.channel = rig.reopen()
        again = [e for e in rig.channel.events(None) if e.kind is EventKind.RECEIPT]
        assert again == events

    def test_what_comes_in_later_comes_after_the_cursor(self, rig: Rig) -> None:
        parcels = rig.offered(rig.parcels())
        rig.send(parcels[0])
        rig.bring_receipt(b"one")
        cursor = rig.channel.events(None)[-1].cursor
        rig.bring_receipt(b"two")
        later = [e.sealed_receipt for e in rig.channel.events(cursor) if e.sealed_receipt]
        assert later == [b"two"]

    def test_content_is_named_by_digest(self, rig: Rig) -> None:
        parcel = rig.parcels(b"abc")[0]
        assert parcel.sha256 == hashlib.sha256(b"abc").hexdigest()
