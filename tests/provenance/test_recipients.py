from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text

from registry.errors import NotFoundError, UsageError
from registry.provenance.ledger import Ledger
from registry.provenance.recipients import (
    Address,
    add_recipient,
    find_recipient,
    get_recipient,
    list_recipients,
    name_of_recipient,
    set_address,
)
from registry.provenance.subjects import create_subject, erase_subject
from tests.provenance.world import NOW, World, at, id_of, new_recipient


@pytest.mark.parametrize("reference", ["Zhang", "", "zz", "%", "_"])
def test_nobody_answers_to_another_name(world: World, reference: str) -> None:
    world.recipient("Li")
    with world.ledger.reading() as reader, pytest.raises(NotFoundError) as caught:
        find_recipient(reader, reference)
    assert "Zhang" not in str(caught.value)


def test_beginning_of_two_ids_is_ambiguous(world: World) -> None:
    names = [f"r{number}" for number in range(17)]
    for name in names:
        world.recipient(name)
    digits = [id_of("recipient", name)[0] for name in names]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with (
        world.ledger.reading() as reader,
        pytest.raises(NotFoundError, match="recipients answer to that"),
    ):
        find_recipient(reader, twice)


def test_name_of_another_recipient_is_refused(world: World) -> None:
    world.recipient("Li")
    with world.ledger.transaction() as tx:
        subject = create_subject(tx, "recipient", NOW)
        enrolment = world.statement_in(tx, "enrol again", subject_id=subject)
        other = new_recipient("LI", subject, enrolment)
        with pytest.raises(UsageError, match="another recipient has this name"):
            add_recipient(tx, other)


def test_key_of_another_recipient_is_refused(world: World) -> None:
    from dataclasses import replace

    world.recipient("Li")
    with world.ledger.transaction() as tx:
        subject = create_subject(tx, "recipient", NOW)
        enrolment = world.statement_in(tx, "enrol again", subject_id=subject)
        thief = replace(
            new_recipient("Zhang", subject, enrolment),
            signing_key=hashlib.sha256(b"Li").digest(),
        )
        with pytest.raises(UsageError, match="already has this signing key"):
            add_recipient(tx, thief)


def test_address_of_an_unknown_recipient_is_refused(world: World) -> None:
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError):
        set_address(tx, "0" * 32, Address("folder", "x"), NOW)


def test_recipients_are_not_listed_without_keys(world: World) -> None:
    recipient = world.recipient("Li")
    with Ledger(world.ledger.engine).reading() as reader:
        with pytest.raises(UsageError):
            list_recipients(reader)
        assert name_of_recipient(reader, recipient) is None


def test_recipient_is_found_by_name_in_any_case_and_by_id(world: World) -> None:
    recipient = world.recipient("Li Wei")
    world.recipient("Zhang")
    with world.ledger.reading() as reader:
        found = find_recipient(reader, "li wei")
        assert find_recipient(reader, recipient[:10].upper()) == found
        assert get_recipient(reader, recipient) == found
        assert [item.name for item in list_recipients(reader)] in (
            ["Li Wei", "Zhang"],
            ["Zhang", "Li Wei"],
        )
    assert (found.name, found.signing_key) == ("Li Wei", hashlib.sha256(b"Li Wei").digest())
    assert found.address("signal") == Address("signal", "+15550001", "05 12 77")
    assert found.address("drop") is None
    assert "Li Wei" not in repr(found)
    assert "+1555" not in repr(found.addresses)


def test_same_recipient_again_changes_nothing(world: World) -> None:
    recipient = world.recipient("Li")
    with world.ledger.transaction() as tx:
        row = get_recipient(tx, recipient)
        add_recipient(tx, new_recipient("Li", row.subject_id, row.enrolment_digest))
        assert tx.session.execute(text("SELECT count(*) FROM reg_recipient")).scalar() == 1


def test_later_address_replaces_the_earlier_one(world: World) -> None:
    recipient = world.recipient("Li")
    with world.ledger.transaction() as tx:
        set_address(tx, recipient, Address("signal", "+15550002"), at(1))
        assert get_recipient(tx, recipient).address("signal") == Address("signal", "+15550002")
        assert len(get_recipient(tx, recipient).addresses) == 2


def test_erased_recipient_is_gone(world: World) -> None:
    recipient = world.recipient("Li")
    with world.ledger.transaction() as tx:
        erase_subject(tx, get_recipient(tx, recipient).subject_id, NOW)
        assert list_recipients(tx) == ()
        with pytest.raises(NotFoundError, match="no recipient"):
            get_recipient(tx, recipient)
