"""The folder channel: the common contract, then what only a folder can do wrong."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from signal_bridge.channel import Accepted, Address, Health, Offer, Recall, Refused, Retry
from signal_bridge.folder import MARK_NAME, FolderChannel
from signal_bridge.settings import FolderSettings
from tests.conformance.channel import DELIVERY, NOW, OTHER, ChannelContract, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    folder, away, work = tmp_path / "stick", tmp_path / "away", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    settings = FolderSettings("folder", folder)

    def make() -> FolderChannel:
        return FolderChannel(settings, state=tmp_path / "state", clock=lambda: NOW)

    def arrived() -> list[str]:
        files = [path for path in (folder / "alice-desk").glob("*") if path.is_file()]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    def bring(sealed: bytes) -> None:
        name = hashlib.sha256(sealed + os.urandom(4)).hexdigest()[:8]
        (folder / "receipts" / f"{name}.receipt").write_bytes(sealed)

    channel = make()
    channel.check()
    return Rig(
        channel=channel,
        to=Address("folder", "alice-desk"),
        stranger=Address("folder", "bob"),
        work=work,
        reopen=make,
        arrived=arrived,
        bring_receipt=bring,
        cut_off=lambda: folder.rename(away),
        join_again=lambda: away.rename(folder),
    )


class TestContract(ChannelContract):
    """The folder keeps the contract of all channels."""


def files_of(rig: Rig) -> list[str]:
    folder = rig.work.parent / "stick" / "alice-desk"
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("value", ["..", "a/b", "", ".hidden", "receipts", "Receipts", "a\nb", "é"])
def test_address_that_is_no_plain_name_is_refused(rig: Rig, value: str) -> None:
    answer = rig.channel.offer(Offer(DELIVERY, Address("folder", value), rig.parcels()))
    assert isinstance(answer, Refused)
    assert answer.retry is Retry.HUMAN


def test_recipient_directory_that_is_a_symlink_is_refused(rig: Rig) -> None:
    elsewhere = rig.work / "elsewhere"
    elsewhere.mkdir()
    (rig.work.parent / "stick" / "alice-desk").symlink_to(elsewhere)
    parcels = rig.offered(rig.parcels())
    outcome = rig.channel.send(parcels[0], rig.to)
    assert isinstance(outcome, Refused)
    assert list(elsewhere.iterdir()) == []


def test_file_of_somebody_else_under_our_name_is_never_overwritten(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    taken = rig.work.parent / "stick" / "alice-desk" / parcels[0].clean_name
    taken.parent.mkdir()
    taken.write_bytes(b"theirs")
    outcome = rig.channel.send(parcels[0], rig.to)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.HUMAN
    assert taken.read_bytes() == b"theirs"


def test_another_stick_in_the_same_place_gets_nothing(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    (rig.work.parent / "stick" / MARK_NAME).write_bytes(b"another stick")
    outcome = rig.channel.send(parcels[0], rig.to)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.LATER
    assert rig.arrived() == []


def test_empty_mount_point_gets_nothing(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    rig.cut_off()
    (rig.work.parent / "stick").mkdir()
    outcome = rig.channel.send(parcels[0], rig.to)
    assert isinstance(outcome, Refused)
    assert "mount" in outcome.what_to_do
    assert rig.channel.check().health is Health.UNAVAILABLE


@pytest.mark.parametrize(
    ("number", "retry", "words"),
    [
        (errno.ENOSPC, Retry.LATER, "make room"),
        (errno.EDQUOT, Retry.LATER, "make room"),
        (errno.EROFS, Retry.HUMAN, "let the daemon's user write"),
        (errno.EACCES, Retry.HUMAN, "let the daemon's user write"),
        (errno.EIO, Retry.LATER, "plug in"),
    ],
)
def test_folder_that_fails_while_writing_keeps_nothing_half_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, number: int, retry: Retry, words: str
) -> None:
    parcels = rig.offered(rig.parcels())

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("registry.durable.os.fsync", fail)
        status = rig.channel.check()
        outcome = rig.channel.send(parcels[0], rig.to)
    assert status.health is Health.UNAVAILABLE
    assert isinstance(outcome, Refused)
    assert outcome.retry is retry
    assert words in outcome.what_to_do
    assert files_of(rig) == []
    assert isinstance(rig.channel.send(parcels[0], rig.to), Accepted)


def test_mark_of_an_earlier_registry_is_taken_over(rig: Rig) -> None:
    (rig.work.parent / "state" / "folder-mark").unlink()
    assert rig.channel.check().ok
    rig.send(rig.offered(rig.parcels())[0])


def test_delivery_that_was_never_offered_may_be_stopped(rig: Rig) -> None:
    assert rig.channel.revoke(OTHER, rig.to) is Recall.STOPPED
    assert isinstance(rig.channel.send(rig.offered(rig.parcels(b"x", OTHER))[0], rig.to), Refused)


def test_revoking_while_the_folder_is_away_is_too_late(rig: Rig) -> None:
    rig.send(rig.offered(rig.parcels())[0])
    rig.cut_off()
    assert rig.channel.revoke(DELIVERY, rig.to) is Recall.TOO_LATE


def test_receipts_that_are_no_plain_small_files_are_left_alone(rig: Rig) -> None:
    inbox = rig.work.parent / "stick" / "receipts"
    secret = rig.work / "secret"
    secret.write_bytes(b"not for you")
    (inbox / "link.receipt").symlink_to(secret)
    (inbox / "huge.receipt").write_bytes(bytes(70_000))
    (inbox / "empty.receipt").write_bytes(b"")
    (inbox / "folder.receipt").mkdir()
    (inbox / "notes.txt").write_bytes(b"hello")
    os.mkfifo(inbox / "pipe.receipt")
    assert rig.channel.events(None) == ()


def test_revoking_takes_back_what_still_lies_there(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    for parcel in parcels:
        rig.send(parcel)
    assert rig.channel.revoke(DELIVERY, rig.to) is Recall.STOPPED
    assert files_of(rig) == []


def test_revoking_what_was_carried_away_is_too_late(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    for parcel in parcels:
        rig.send(parcel)
    (rig.work.parent / "stick" / "alice-desk" / parcels[0].clean_name).unlink()
    assert rig.channel.revoke(DELIVERY, rig.to) is Recall.TOO_LATE


def test_kill_between_writing_and_remembering_writes_once(rig: Rig) -> None:
    parcels = rig.offered(rig.parcels())
    folder = rig.work.parent / "stick" / "alice-desk"
    folder.mkdir()
    (folder / parcels[0].clean_name).write_bytes(parcels[0].path.read_bytes())
    (folder / f".{parcels[1].clean_name}.0123456789ab.part").write_bytes(b"half")
    before = (folder / parcels[0].clean_name).stat().st_ino
    rig.send(parcels[0])
    assert (folder / parcels[0].clean_name).stat().st_ino == before
    rig.send(parcels[1])
    assert files_of(rig) == [parcel.clean_name for parcel in parcels]


def test_second_delivery_of_a_name_carries_its_id(rig: Rig) -> None:
    for parcel in (*rig.offered(rig.parcels()), *rig.offered(rig.parcels(b"two", OTHER))):
        rig.send(parcel)
    assert files_of(rig) == [
        f"adapter-{OTHER[:8]}.age",
        f"adapter-{OTHER[:8]}.loraseal",
        "adapter.age",
        "adapter.loraseal",
    ]


def test_journal_holds_no_file_name_and_what_it_wrote_can_still_be_withdrawn(rig: Rig) -> None:
    """It lies in the clear beside the database, and an adapter's name tells whom it was made of."""
    parcels = rig.offered(rig.parcels())
    rig.send(parcels[0])
    journal = (rig.work.parent / "state" / "journal.jsonl").read_text()
    assert parcels[0].clean_name not in journal
    assert parcels[0].clean_name.partition(".")[0] not in journal
    assert rig.reopen().revoke(DELIVERY, rig.to) is Recall.STOPPED
    assert files_of(rig) == []
