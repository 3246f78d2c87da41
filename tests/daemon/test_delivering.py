"""Deliveries on their way: repeats that are counted, sticks that are away, receipts good and forged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli.root import loraseal
from daemon.custody.receipts import accept_receipt
from daemon.pipeline.deadline_step import meet_deadline
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.receipts import take_events
from daemon.pipeline.reconcile import Unfinished, unfinished
from registry.errors import LorasealError
from registry.formats.bundle import parse_bundle
from registry.formats.proofs import parse_proof
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, artifact_named, sql

pytestmark = pytest.mark.xdist_group("lived")


def states(rig: Rig, table: str = "artifact") -> list[object]:
    return sorted(str(row[0]) for row in rig.rows(f"select state from reg_{table}"))  # noqa: S608 - a constant of these tests


def test_recipient_without_an_address_ends_failed_with_what_to_do(lived_rig: Rig) -> None:
    """It must not be tried for ever."""
    sql(lived_rig.registry, "delete from reg_address")
    plan(lived_rig)
    assert lived_rig.work() == [("deliver", "failed")]
    (reason,) = lived_rig.one("select reason from reg_delivery where state='failed'")
    assert "no address for channel 'folder'" in str(reason)
    assert unfinished(lived_rig.shop) == Unfinished()


def test_channel_that_is_no_longer_in_the_settings_ends_failed(lived_rig: Rig) -> None:
    plan(lived_rig)
    lived_rig.with_channels({})
    assert lived_rig.work() == [("deliver", "failed")]


def test_stick_that_is_not_there_is_tried_later_and_given_up_after_all_attempts(
    lived_rig: Rig,
) -> None:
    stick, away = lived_rig.registry.stick, lived_rig.registry.home / "away"
    stick.rename(away)
    plan(lived_rig)
    assert lived_rig.work() == [("deliver", "later")]
    away.rename(stick)
    assert ("deliver", "sent") in lived_rig.work(delayed=True)
    assert "Bob/good.age" in lived_rig.carried()


def test_file_of_the_same_name_on_the_stick_is_not_overwritten(lived_rig: Rig) -> None:
    theirs = lived_rig.registry.stick / "Bob" / "good.age"
    theirs.parent.mkdir()
    theirs.write_bytes(b"Bob's own")
    plan(lived_rig)
    lived_rig.work()
    assert theirs.read_bytes() == b"Bob's own"
    assert len([name for name in lived_rig.carried() if name.startswith("Bob/")]) == 3


def test_outbox_that_was_lost_is_made_again_with_the_same_bytes(lived_rig: Rig) -> None:
    (made,) = lived_rig.one("select id from reg_delivery")
    outbox = lived_rig.shop.custody.paths.outbox
    before = {p.name: p.read_bytes() for p in outbox.rglob("*") if p.is_file()}
    shutil.rmtree(outbox)
    sql(lived_rig.registry, "update reg_delivery set state='prepared' where id=?", made)
    assert deliver(lived_rig.shop, str(made)) == "sent"
    assert {p.name: p.read_bytes() for p in outbox.rglob("*") if p.is_file()} == before


def test_unacknowledged_delivery_is_not_sent_twice_but_given_to_a_person(lived_rig: Rig) -> None:
    """The carrier took it: only the recipient, or a person who asks them, knows more."""
    (made,) = lived_rig.one("select id from reg_delivery")
    assert lived_rig.work(delayed=True) == [("deadline", "unconfirmed")]
    state, reason, attempts = lived_rig.one("select state, reason, attempts from reg_delivery")
    assert (state, attempts) == ("unconfirmed", 1)
    assert "ask the recipient" in str(reason)
    assert lived_rig.carried() == {"Alice/good.age", "Alice/good.loraseal"}
    assert meet_deadline(lived_rig.shop, str(made)) == "nothing to do"


def plan(rig: Rig) -> None:
    """Plan what Bob's route wishes and enqueue it, as a release does."""
    from daemon.pipeline.decide_step import plan_routes

    with rig.shop.ledger.transaction() as tx:
        assert plan_routes(rig.shop, tx, artifact_named(rig.registry, "good")) == 1


# --- receipts


def root_of(rig: Rig) -> str:
    from daemon.keyring import root_public

    return root_public(rig.shop.custody.keyring).hex()


def make_receipt(rig: Rig, who: str = "alice", folder: str = "Alice") -> Path:
    registry = rig.registry
    sealed = registry.stick / folder / "good.age"
    out = registry.home / f"{who}.receipt"
    registry.run(
        *("receipt", "make", sealed, "--bundle", sealed.with_suffix(".loraseal")),
        *("--key", root_of(rig), "--home", registry.home / who, "-o", out),
    )
    return out


def test_receipt_on_the_stick_acknowledges_its_delivery_once(lived_rig: Rig) -> None:
    receipts = lived_rig.registry.stick / "receipts"
    receipts.mkdir(exist_ok=True)
    shutil.copyfile(make_receipt(lived_rig), receipts / "1.receipt")
    assert take_events(lived_rig.shop, "folder") == 1
    assert states(lived_rig, "delivery") == ["acknowledged"]
    shutil.copyfile(receipts / "1.receipt", receipts / "2.receipt")
    take_events(lived_rig.shop, "folder")
    assert lived_rig.one("select count(*) from reg_receipt") == (1,)
    assert lived_rig.work(delayed=True) == [("deadline", "nothing to do")]


@pytest.mark.parametrize(
    ("part", "exits"), [("file", {4}), ("bundle", {4, 5}), ("proof", {5}), ("signature", {5})]
)
def test_acknowledged_delivery_with_a_flipped_bit_is_refused(
    lived_rig: Rig, part: str, exits: set[int]
) -> None:
    registry = lived_rig.registry
    registry.run("receipt", "import", make_receipt(lived_rig), "--config", registry.settings)
    assert lived_rig.one("select state from reg_delivery") == ("acknowledged",)
    sealed = registry.stick / "Alice" / "good.age"
    bundle = sealed.with_suffix(".loraseal")
    target, place = {
        "file": (sealed, -100),
        "bundle": (bundle, bundle.read_bytes().index(b'"salt":"') + 10),
        "proof": (bundle, bundle.read_bytes().index(b"\\n\\n") - 10),
        "signature": (bundle, bundle.read_bytes().index(b'"sig":"') + 20),
    }[part]
    data = bytearray(target.read_bytes())
    # In text another letter of base64 and hex: one bit more may be a letter of neither, which is malformed.
    data[place] = (
        data[place] ^ 1 if part == "file" else ord("a" if data[place] != ord("a") else "b")
    )
    target.write_bytes(data)
    codes = []
    for verb in (("verify",), ("open", "-o", registry.home / "opened")):
        command = (verb[0], sealed, *verb[1:], "--bundle", bundle)
        command = (*command, "--key", root_of(lived_rig), "--home", registry.alice)
        result = CliRunner().invoke(loraseal, [str(item) for item in command])
        codes.append(result.exit_code)
    assert set(codes) <= exits, codes
    assert not (registry.home / "opened").exists()


def test_forged_receipts_are_noted_and_dropped(lived_rig: Rig) -> None:
    good = make_receipt(lived_rig).read_bytes()
    receipts = lived_rig.registry.stick / "receipts"
    receipts.mkdir(exist_ok=True)
    forged = [b"", b"nonsense", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), good + b"x"]
    for number, content in enumerate(forged):
        (receipts / f"{number}.receipt").write_bytes(content)
    take_events(lived_rig.shop, "folder")
    assert states(lived_rig, "delivery") == ["sent"]
    assert lived_rig.rows("select * from reg_receipt") == []
    (noted,) = lived_rig.one("select count(*) from reg_event where kind='receipt refused'")
    assert noted


@pytest.mark.parametrize("position", [0, 40, 200, -1])
def test_receipt_with_a_flipped_bit_is_refused(lived_rig: Rig, position: int) -> None:
    data = bytearray(make_receipt(lived_rig).read_bytes())
    data[position] ^= 1
    with pytest.raises(LorasealError):
        accept_receipt(lived_rig.shop.custody, bytes(data), lived_rig.clock())


def test_receipt_signed_by_another_recipient_is_refused(lived_rig: Rig) -> None:
    """Bob, who holds the same file key by a delivery of his own, speaks for Alice."""
    from daemon.custody.receipts import file_key_of
    from registry.digest import Digest
    from registry.formats.delivery_receipt import ReceiptLevel
    from registry.formats.envelope import parse_envelope
    from registry.formats.predicates.delivery import Delivery
    from registry.formats.predicates.predicate import parse_predicate
    from registry.provenance.statements import get_statement
    from registry.sealing.signing import SigningKey
    from registry.verify.home import SIGNING_NAME
    from registry.verify.receipts import ReceiptFacts, seal_receipt
    from registry.verify.receipts import make_receipt as signed_receipt

    custody = lived_rig.shop.custody
    (digest,) = lived_rig.one("select statement_digest from reg_delivery")
    with custody.ledger.reading() as reader:
        stored = get_statement(reader, str(digest))
    statement = parse_predicate(parse_envelope(stored.envelope.to_bytes()).payload, Delivery)
    file_key = file_key_of(custody, Digest("blake3", statement.payload_digest.value))
    bob = SigningKey.load(lived_rig.registry.home / "bob" / SIGNING_NAME)
    facts = ReceiptFacts(statement, str(digest), ReceiptLevel.OPENED, lived_rig.clock())
    forged = signed_receipt(facts, bob, file_key)
    sealed = seal_receipt(forged, custody.keyring.keyset, now=lived_rig.clock())
    with pytest.raises(LorasealError, match="another key"):
        accept_receipt(custody, sealed, lived_rig.clock())
    assert states(lived_rig, "delivery") == ["sent"]


def test_receipt_for_one_delivery_does_not_acknowledge_another(lived_rig: Rig) -> None:
    """Bob's good receipt, with Alice's and Bob's deliveries open: only Bob's closes."""
    plan(lived_rig)
    lived_rig.work()
    sealed = make_receipt(lived_rig, "bob", "Bob").read_bytes()
    accepted = accept_receipt(lived_rig.shop.custody, sealed, lived_rig.clock())
    rows = dict(lived_rig.rows("select id, state from reg_delivery"))
    assert rows.pop(accepted.delivery_id) == "acknowledged"
    assert list(rows.values()) == ["sent"]


def test_receipt_of_another_registry_opens_nothing(lived_rig: Rig, fresh: Registry) -> None:
    from daemon.custody.holder import open_custody
    from registry.settings import load_paths

    sealed = make_receipt(lived_rig).read_bytes()
    with open_custody(load_paths(fresh.settings)) as other, pytest.raises(LorasealError):
        accept_receipt(other, sealed, lived_rig.clock())


def test_late_receipt_acknowledges_an_unconfirmed_delivery(lived_rig: Rig) -> None:
    """The recipient's signature outranks what the channel and the calendar say."""
    sql(lived_rig.registry, "update reg_delivery set state='unconfirmed'")
    sealed = make_receipt(lived_rig).read_bytes()
    assert accept_receipt(lived_rig.shop.custody, sealed, lived_rig.clock()).is_new
    assert states(lived_rig, "delivery") == ["acknowledged"]


def test_next_delivery_links_the_head_that_the_recipient_saw_before(lived_rig: Rig) -> None:
    lived_rig.drop(write_adapter(lived_rig.registry.watched / "next.safetensors"))
    lived_rig.work()
    folder = lived_rig.registry.stick / "Alice"
    first, second = (
        parse_bundle((folder / f"{name}.loraseal").read_bytes()) for name in ("good", "next")
    )
    seen = parse_proof(first.delivery.proof.encode()).checkpoint_note.decode()
    assert seen in {link.old_checkpoint for link in second.consistency}
