from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from registry.errors import ContentMismatchError, NotFoundError, UsageError
from registry.provenance.candidates import NewCandidate, get_candidate, note_candidate
from registry.provenance.columns import Cell, ColumnKeeper, new_index_key
from registry.provenance.ledger import Ledger
from registry.provenance.models import SubjectKeyRow
from registry.provenance.recipients import find_recipient, get_recipient
from registry.provenance.show import artifact_name, show_artifact
from registry.provenance.statements import statements_of
from registry.provenance.subjects import (
    confirm_index_key,
    create_subject,
    erase_subject,
    open_text,
    seal_column,
)
from registry.sealing.identities import X25519Identity
from tests.provenance.world import NOW, World

CELL = Cell("reg_test", "1", "name")


def test_another_index_key_is_refused(ledger: Ledger, identity: X25519Identity) -> None:
    with ledger.transaction() as tx:
        confirm_index_key(tx)
    other = ColumnKeeper(identity.recipient(), new_index_key(), [identity])
    with (
        Ledger(ledger.engine, other).transaction() as tx,
        pytest.raises(UsageError, match="not the one that this ledger was made with"),
    ):
        confirm_index_key(tx)
    with ledger.transaction() as tx:
        confirm_index_key(tx)


def test_without_keys_nothing_personal_is_written(ledger: Ledger) -> None:
    with (
        Ledger(ledger.engine).transaction() as tx,
        pytest.raises(UsageError, match="needs the key of the personal columns"),
    ):
        note_candidate(tx, NewCandidate("/train/out/kiki", "kohya", (), "s"), NOW)


def test_without_keys_personal_columns_read_as_none(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.audit(artifact)
    with Ledger(world.ledger.engine).reading() as reader:
        detail = show_artifact(reader, artifact)
    assert detail.summary.name is None
    assert detail.paths == ()
    assert detail.audits[0].summary is None
    assert detail.audits[0].findings[0].message is None
    assert detail.audits[0].verdict == "warn"


def test_values_swapped_between_rows_are_refused(world: World) -> None:
    first, second = world.recipient("Li"), world.recipient("Zhang")
    with world.ledger.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE reg_recipient SET sealed_age_recipient ="
                " (SELECT sealed_age_recipient FROM reg_recipient WHERE id = :second)"
                " WHERE id = :first"
            ),
            {"first": first, "second": second},
        )
    with (
        world.ledger.reading() as reader,
        pytest.raises(ContentMismatchError, match=r"reg_recipient.age_recipient was changed"),
    ):
        get_recipient(reader, first)


def test_erased_subject_leaves_rows_and_no_content(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.audit(artifact)
    with world.ledger.transaction() as tx:
        subject = tx.session.scalar(text("SELECT subject_id FROM reg_artifact"))
        assert erase_subject(tx, subject, NOW) == 1
    with world.ledger.reading() as reader:
        detail = show_artifact(reader, artifact)
        assert statements_of(reader, artifact) == ()
    assert detail.summary.name is None
    assert detail.files[0].path is None
    assert len(detail.statements) == 1


def test_erased_subject_takes_nothing_new(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.transaction() as tx:
        subject = tx.session.scalar(text("SELECT subject_id FROM reg_artifact"))
        erase_subject(tx, subject, NOW)
    with pytest.raises(NotFoundError, match="was erased"):
        world.audit(artifact)


def test_erased_key_is_gone_from_the_file(world: World) -> None:
    recipient = world.recipient("Li")
    with world.ledger.transaction() as tx:
        row = tx.session.scalars(select(SubjectKeyRow)).one()
        wrapped, subject = row.wrapped, row.subject_id
        erase_subject(tx, subject, NOW)
    with world.ledger.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        path = connection.exec_driver_sql("PRAGMA database_list").one()[2]
    with open(path, "rb") as file:  # noqa: PTH123 - the path is SQLite's own
        assert wrapped[-32:] not in file.read()
    with world.ledger.reading() as reader, pytest.raises(NotFoundError):
        find_recipient(reader, recipient)


def test_host_without_identity_writes_and_custody_reads(
    ledger: Ledger, identity: X25519Identity, index_key: bytes
) -> None:
    watcher = Ledger(ledger.engine, ColumnKeeper(identity.recipient(), index_key))
    with watcher.transaction() as tx:
        noted = note_candidate(tx, NewCandidate("/train/out/kiki", "kohya", (), "s"), NOW)
    later = Ledger(ledger.engine, ColumnKeeper(identity.recipient(), index_key))
    with later.reading() as reader:
        assert get_candidate(reader, noted.id).path is None
    with ledger.reading() as reader:
        assert get_candidate(reader, noted.id).path == "/train/out/kiki"


def test_restarted_host_without_identity_adds_a_key_to_its_subject(
    ledger: Ledger, identity: X25519Identity, index_key: bytes
) -> None:
    keepers = [ColumnKeeper(identity.recipient(), index_key) for _ in range(2)]
    with Ledger(ledger.engine, keepers[0]).transaction() as tx:
        subject = create_subject(tx, "artifact", NOW)
    with Ledger(ledger.engine, keepers[1]).transaction() as tx:
        sealed = seal_column(tx, subject, CELL, "kiki")
    with ledger.transaction() as tx:
        assert tx.session.scalar(select(func.count()).select_from(SubjectKeyRow)) == 2
        assert open_text(tx, CELL, sealed) == "kiki"
        assert erase_subject(tx, subject, NOW) == 2
        assert open_text(tx, CELL, sealed) is None


def test_key_of_a_transaction_that_failed_is_not_used_again(
    ledger: Ledger, identity: X25519Identity, index_key: bytes
) -> None:
    watcher = Ledger(ledger.engine, ColumnKeeper(identity.recipient(), index_key))
    with ledger.transaction() as tx:
        subject = create_subject(tx, "artifact", NOW)

    def killed() -> None:
        with watcher.transaction() as tx:
            seal_column(tx, subject, CELL, "lost")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed()
    with watcher.transaction() as tx:
        sealed = seal_column(tx, subject, CELL, "kept")
    with ledger.reading() as reader:
        assert open_text(reader, CELL, sealed) == "kept"


def test_names_are_read_with_the_keys(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.reading() as reader:
        assert artifact_name(reader, artifact) == "kiki.safetensors"
