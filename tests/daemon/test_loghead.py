"""The last signed head outside the database: custody signs nothing that does not continue it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.custody.holder import open_custody
from daemon.custody.loghead import LogHead
from registry.errors import FormatError, SignatureError, VerificationError
from registry.formats.checkpoint import Checkpoint
from registry.provenance.log import append_leaf, latest_checkpoint, log_root, log_size
from registry.sealing.notes import sign_checkpoint
from registry.sealing.signing import SigningKey
from registry.settings import load_paths
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import Rig, sql

NOW = datetime(2100, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.xdist_group("lived")


def grow(rig: Rig, leaves: int) -> None:
    with rig.shop.ledger.transaction() as tx:
        for number in range(leaves):
            append_leaf(tx, b"leaf %d" % number, NOW)


def test_before_the_first_head_there_is_none(rig: Rig) -> None:
    head = rig.shop.custody.head
    assert head.read(NOW) is None
    with rig.shop.ledger.reading() as reader:
        head.check(reader, NOW)


def test_head_is_kept_here_and_in_the_ledger(rig: Rig) -> None:
    grow(rig, 3)
    signed = rig.shop.custody.head.advance(rig.shop.ledger, NOW)
    kept = rig.shop.custody.head.read(NOW)
    with rig.shop.ledger.reading() as reader:
        known = latest_checkpoint(reader)
        assert known is not None
        assert (known.size, known.note) == (signed.size, signed.note)
        assert kept is not None
        assert (kept.size, kept.root) == (log_size(reader), log_root(reader, kept.size))


def test_same_log_is_not_signed_twice(rig: Rig) -> None:
    grow(rig, 1)
    head, ledger = rig.shop.custody.head, rig.shop.ledger
    assert head.advance(ledger, NOW) == head.advance(ledger, NOW)


def test_kill_between_file_and_ledger_heals(rig: Rig) -> None:
    """The head was written here and the ledger's row was not: it is made again."""
    head, ledger = rig.shop.custody.head, rig.shop.ledger
    head.advance(ledger, NOW)
    grow(rig, 2)
    sized = head.advance(ledger, NOW)
    sql(rig.registry, "delete from reg_log_checkpoint where size=?", sized.size)
    assert head.advance(ledger, NOW).root == sized.root
    with ledger.reading() as reader:
        known = latest_checkpoint(reader)
    assert known is not None
    assert known.size == sized.size


def test_shorter_log_is_refused(rig: Rig) -> None:
    custody = rig.shop.custody
    keyset = custody.keyring.keyset
    note = sign_checkpoint(Checkpoint(keyset.log_origin, 99, b"\0" * 32), custody.keyring.log)
    custody.paths.log_head.write_bytes(note)
    with pytest.raises(VerificationError, match="older database") as caught:
        custody.head.advance(rig.shop.ledger, NOW)
    assert "restore the newest database" in str(caught.value.hint)


def test_another_history_of_the_same_size_is_refused(rig: Rig) -> None:
    custody = rig.shop.custody
    grow(rig, 2)
    with custody.ledger.reading() as reader:
        size = log_size(reader)
    origin = custody.keyring.keyset.log_origin
    note = sign_checkpoint(Checkpoint(origin, size, b"\1" * 32), custody.keyring.log)
    custody.paths.log_head.write_bytes(note)
    with pytest.raises(VerificationError, match="not those that were signed"):
        custody.head.advance(rig.shop.ledger, NOW)


@pytest.mark.parametrize("content", [b"", b"x", b"test.studio/log\n", b"\xff" * 300])
def test_head_that_is_no_note_is_refused(rig: Rig, content: bytes) -> None:
    rig.shop.custody.paths.log_head.write_bytes(content)
    with pytest.raises((FormatError, SignatureError)):
        rig.shop.custody.head.read(NOW)


def test_head_by_another_key_is_refused(rig: Rig) -> None:
    custody = rig.shop.custody
    note = sign_checkpoint(
        Checkpoint(custody.keyring.keyset.log_origin, 1, b"\0" * 32), SigningKey.generate()
    )
    custody.paths.log_head.write_bytes(note)
    with pytest.raises(SignatureError):
        custody.head.read(NOW)


def test_head_with_any_bit_flipped_is_refused(rig: Rig) -> None:
    grow(rig, 1)
    path = rig.shop.custody.paths.log_head
    rig.shop.custody.head.advance(rig.shop.ledger, NOW)
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises((FormatError, VerificationError)):
            rig.shop.custody.head.read(NOW)


def test_file_removed_is_the_one_thing_that_it_cannot_tell(rig: Rig, tmp_path: Path) -> None:
    """Said plainly: who removes the file as well as rows has the whole machine."""
    assert LogHead(tmp_path / "none", rig.shop.custody.keyring).read(NOW) is None


def test_two_processes_sign_one_after_the_other(fresh: Registry) -> None:
    """The second custody waits for the first one's lock, which the kernel drops with its owner."""
    import fcntl

    with (
        open_custody(load_paths(fresh.settings)) as custody,
        custody.alone(),
        custody.paths.signing_lock.open("ab") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
