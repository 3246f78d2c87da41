from __future__ import annotations

import pytest

from registry.errors import LostRaceError, NotFoundError
from registry.provenance.deliveries import (
    begin_attempt,
    deliveries_in,
    deliveries_of,
    find_delivery,
    get_delivery,
    move_delivery,
    read_preparation,
    set_delivery_prepared,
)
from registry.provenance.ledger import Ledger
from registry.provenance.moves import Move
from registry.provenance.parcels import (
    NewParcel,
    NewReceipt,
    ParcelFate,
    ParcelKey,
    find_parcel,
    intend_parcel,
    parcels_of,
    receipts_of,
    record_receipt,
    record_send,
)
from registry.provenance.states import DeliveryState, ParcelState
from tests.provenance.world import NOW, World, at, digest_of, id_of, preparation

SENDING = Move((DeliveryState.PREPARED, DeliveryState.SENT), DeliveryState.SENDING, at(1))
SENT = Move((DeliveryState.SENDING,), DeliveryState.SENT, at(2))


@pytest.fixture
def artifact(world: World) -> str:
    return world.artifact("kiki.safetensors")


@pytest.fixture
def prepared(world: World, artifact: str) -> str:
    return world.prepared(artifact, world.recipient("Li"))


def test_unknown_delivery_is_not_found(world: World) -> None:
    with world.ledger.transaction() as tx:
        for look in (get_delivery, find_delivery, read_preparation):
            with pytest.raises(NotFoundError, match="no delivery"):
                look(tx, "0" * 32)
        with pytest.raises(NotFoundError):
            move_delivery(tx, "0" * 32, SENDING)
        with pytest.raises(NotFoundError):
            record_receipt(tx, NewReceipt("0" * 32, "opened", b"x", NOW))


def test_second_preparation_is_refused_and_the_first_one_stays(world: World, prepared: str) -> None:
    with world.ledger.transaction() as tx:
        first = read_preparation(tx, prepared)
        assert first is not None
        statement = world.statement_in(
            tx, "another", artifact_id=get_delivery(tx, prepared).artifact_id
        )
        other = preparation("another", statement, first.payload_digest)
        with pytest.raises(LostRaceError, match="is prepared, expected planned"):
            set_delivery_prepared(tx, prepared, other, at(5))
        assert read_preparation(tx, prepared) == first


def test_same_attempt_does_not_begin_twice(world: World, prepared: str) -> None:
    with world.ledger.transaction() as tx:
        begin_attempt(tx, prepared, 1, SENDING)
    with world.ledger.transaction() as tx, pytest.raises(LostRaceError, match="had 1 attempts"):
        begin_attempt(tx, prepared, 1, SENDING)
    with world.ledger.transaction() as tx, pytest.raises(LostRaceError, match="is sending"):
        begin_attempt(tx, prepared, 2, SENDING)
    with world.ledger.reading() as reader:
        assert get_delivery(reader, prepared).attempts == 1


def test_attempts_count_up_through_the_states(world: World, prepared: str) -> None:
    for attempt in (1, 2):
        with world.ledger.transaction() as tx:
            begin_attempt(tx, prepared, attempt, SENDING)
            move_delivery(tx, prepared, SENT)
    with world.ledger.reading() as reader:
        found = get_delivery(reader, prepared)
    assert (found.state, found.attempts) == (DeliveryState.SENT, 2)


def test_same_wish_is_planned_once_and_a_repeat_is_its_own(world: World, artifact: str) -> None:
    li, zhang = world.recipient("Li"), world.recipient("Zhang")
    first = world.delivery(artifact, li)
    assert world.delivery(artifact, li) == first
    others = {world.delivery(artifact, zhang), world.delivery(artifact, li, ordinal=2)}
    assert len(others | {first}) == 3
    with world.ledger.reading() as reader:
        assert {item.id for item in deliveries_of(reader, artifact)} == others | {first}
        assert len(deliveries_in(reader, DeliveryState.PLANNED)) == 3
        assert read_preparation(reader, first) is None


def test_preparation_is_read_back_byte_for_byte(world: World, prepared: str) -> None:
    with world.ledger.reading() as reader:
        made = read_preparation(reader, prepared)
        found = find_delivery(reader, prepared[:8].upper())
    assert made is not None
    assert made == preparation(prepared, made.statement_digest, made.payload_digest)
    assert found.header_digest is not None
    assert found.status_id == id_of("status", prepared)
    assert found.acknowledge_by == at(60)
    with Ledger(world.ledger.engine).reading() as reader:
        assert read_preparation(reader, prepared) is None


def test_parcel_is_intended_once_and_its_end_is_remembered(world: World, prepared: str) -> None:
    key = ParcelKey(prepared, 1, 1)
    parcel = NewParcel(key, 1, digest_of("parcel"), 4096)
    with world.ledger.transaction() as tx:
        assert intend_parcel(tx, parcel, NOW) is ParcelState.INTENDED
    with world.ledger.transaction() as tx:
        assert intend_parcel(tx, parcel, at(1)) is ParcelState.INTENDED
        record_send(tx, key, ParcelFate(ParcelState.UNKNOWN, at(1), reason="no answer"))
        record_send(tx, key, ParcelFate(ParcelState.SENT, at(2), "1700000000123"))
        record_send(tx, key, ParcelFate(ParcelState.SENT, at(3), "another"))
        assert intend_parcel(tx, parcel, at(4)) is ParcelState.SENT
        (found,) = parcels_of(tx, prepared)
        assert find_parcel(tx, "1700000000123") == found
        assert find_parcel(tx, "another") is None
    assert (found.state, found.reference, found.at) == (ParcelState.SENT, "1700000000123", at(2))
    assert found.reason is None


def test_sent_parcel_cannot_become_unsent(world: World, prepared: str) -> None:
    key = ParcelKey(prepared, 1, 1)
    with world.ledger.transaction() as tx:
        intend_parcel(tx, NewParcel(key, 1, digest_of("parcel"), 4096), NOW)
        record_send(tx, key, ParcelFate(ParcelState.SENT, at(2)))
        with pytest.raises(LostRaceError, match="was sent before"):
            record_send(tx, key, ParcelFate(ParcelState.REFUSED, at(3)))


def test_parcel_that_was_never_intended_is_refused(world: World, prepared: str) -> None:
    fate = ParcelFate(ParcelState.SENT, NOW)
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError, match="no parcel 3"):
        record_send(tx, ParcelKey(prepared, 1, 3), fate)


def test_receipt_acknowledges_once_whatever_the_state(world: World, prepared: str) -> None:
    first = NewReceipt(prepared, "opened", b"signed by Li", at(3))
    with world.ledger.transaction() as tx:
        assert record_receipt(tx, first)
        assert not record_receipt(tx, NewReceipt(prepared, "opened", b"replayed", at(4)))
        assert record_receipt(tx, NewReceipt(prepared, "deleted", b"gone", at(9)))
        found = get_delivery(tx, prepared)
        assert receipts_of(tx, prepared) == (("opened", b"signed by Li"), ("deleted", b"gone"))
    assert (found.state, found.acknowledged_at) == (DeliveryState.ACKNOWLEDGED, at(3))
    with Ledger(world.ledger.engine).reading() as reader:
        assert receipts_of(reader, prepared)[0] == ("opened", None)


def test_beginning_of_two_ids_is_ambiguous(world: World, artifact: str) -> None:
    recipient = world.recipient("Li")
    ids = [world.delivery(artifact, recipient, ordinal) for ordinal in range(1, 19)]
    firsts = [delivery[0] for delivery in ids]
    twice = next(digit for digit in firsts if firsts.count(digit) > 1)
    with world.ledger.reading() as reader:
        with pytest.raises(NotFoundError, match="deliveries begin with that id"):
            find_delivery(reader, twice)
        with pytest.raises(NotFoundError):
            find_delivery(reader, "")
