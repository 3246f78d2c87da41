from __future__ import annotations

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from registry.errors import NotFoundError, UsageError, VerificationError
from registry.provenance import log
from registry.provenance.artifacts import get_artifact
from registry.provenance.check import check_ledger
from registry.provenance.columns import Cell
from registry.provenance.ledger import Ledger
from registry.provenance.models_log import StatementRow
from registry.provenance.moves import add_row
from registry.provenance.statements import (
    NewStatement,
    all_statements,
    append_statement,
    get_statement,
    statements_of,
    statements_of_kind,
)
from registry.provenance.subjects import seal_column
from registry.transparency import tlog
from registry.transparency.commitment import leaf_for
from registry.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.provenance.world import NOW, World, envelope_of


def test_statement_about_nothing_is_a_bug(world: World) -> None:
    with world.ledger.transaction() as tx, pytest.raises(ValueError, match="artifact or a subject"):
        append_statement(tx, NewStatement(envelope_of("x"), bytes(32), "urn:test", NOW))


def test_statement_of_an_unknown_artifact_leaves_no_leaf(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.statement("x", artifact_id="0" * 64)
    with world.ledger.reading() as reader:
        assert log.log_size(reader) == 0


def test_unknown_statement_is_not_found(world: World) -> None:
    with world.ledger.reading() as reader, pytest.raises(NotFoundError, match="no statement"):
        get_statement(reader, "0" * 64)


def test_statements_are_not_read_without_keys(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.statement("x", artifact_id=artifact)
    with Ledger(world.ledger.engine).reading() as reader, pytest.raises(UsageError):
        statements_of(reader, artifact)


def test_same_statement_again_keeps_its_leaf_and_salt(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    digest = world.statement("x", artifact_id=artifact)
    with world.ledger.transaction() as tx:
        again = NewStatement(envelope_of("x"), bytes(32), "urn:test", NOW, artifact)
        assert append_statement(tx, again) == 0
        assert log.log_size(tx) == 1
        assert get_statement(tx, digest).salt == hashlib.sha256(b"x").digest()


def test_stored_statement_has_the_signed_bytes(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    digests = [world.statement(word, artifact_id=artifact) for word in ("b", "a")]
    with world.ledger.reading() as reader:
        found = statements_of(reader, artifact)
        assert tuple(all_statements(reader)) == found
        assert log.leaf_data(reader, 1) == leaf_for(found[1].salt, found[1].envelope)
    assert [item.digest for item in found] == digests
    assert [item.leaf_index for item in found] == [0, 1]
    assert found[0].envelope == envelope_of("b")
    assert found[0].at == NOW


def test_leaf_outside_the_log_is_not_found(world: World) -> None:
    with (
        world.ledger.reading() as reader,
        pytest.raises(NotFoundError, match="leaf index 0 is outside tree of size 0"),
    ):
        log.leaf_data(reader, 0)


def test_proofs_from_the_database_verify(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    for number in range(11):
        world.statement(str(number), artifact_id=artifact)
    with world.ledger.reading() as reader:
        store, root = log.node_store(reader), log.log_root(reader, 11)
        for index in range(11):
            proof = tlog.inclusion_proof(store, index, 11)
            leaf = leaf_hash(log.leaf_data(reader, index))
            verify_inclusion(leaf, index, 11, proof, root=root)
        proof = tlog.consistency_proof(store, 5, 11)
        old = log.log_root(reader, 5)
        verify_consistency(5, 11, proof, old_root=old, new_root=root)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=20))
def test_database_and_memory_agree_on_every_root(world: World, leaves: list[bytes]) -> None:
    memory = tlog.MemoryNodeStore()
    with world.ledger.transaction() as tx:
        for size, leaf in enumerate(leaves):
            assert log.append_leaf(tx, leaf, NOW) == size
            tlog.append(memory, size, leaf_hash(leaf))
            assert log.log_root(tx, size + 1) == tlog.root(memory, size + 1)
        tx.session.rollback()


def checkpoint(size: int, root: bytes) -> log.Checkpoint:
    return log.Checkpoint(size, root, b"a note", NOW)


def test_checkpoint_of_another_history_is_refused(world: World) -> None:
    world.statement("x", artifact_id=world.artifact("kiki.safetensors"))
    with world.ledger.transaction() as tx:
        with pytest.raises(VerificationError, match="which is not the log's"):
            log.save_checkpoint(tx, checkpoint(1, bytes(32)))
        with pytest.raises(VerificationError, match="checkpoint of size 2"):
            log.save_checkpoint(tx, checkpoint(2, bytes(32)))
        assert log.latest_checkpoint(tx) is None


def test_second_root_for_a_signed_size_is_refused_with_both(world: World) -> None:
    world.statement("x", artifact_id=world.artifact("kiki.safetensors"))
    with world.ledger.transaction() as tx:
        log.save_checkpoint(tx, checkpoint(1, log.log_root(tx, 1)))
        tx.session.execute(text("UPDATE reg_log_checkpoint SET root = x'abcd'"))
        tx.session.expire_all()
        with pytest.raises(VerificationError, match="size 1 was signed with roots abcd and"):
            log.save_checkpoint(tx, checkpoint(1, log.log_root(tx, 1)))


def test_first_checkpoint_of_a_size_stays_and_the_largest_is_latest(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    for number in range(3):
        world.statement(str(number), artifact_id=artifact)
    with world.ledger.transaction() as tx:
        for size in (3, 1, 3):
            log.save_checkpoint(tx, checkpoint(size, log.log_root(tx, size)))
        assert log.latest_checkpoint(tx) == checkpoint(3, log.log_root(tx, 3))


def test_check_passes_on_a_whole_ledger_and_counts(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    for number in range(5):
        world.statement(str(number), artifact_id=artifact)
    with world.ledger.transaction() as tx:
        log.save_checkpoint(tx, checkpoint(4, log.log_root(tx, 4)))
    with world.ledger.reading() as reader:
        found = check_ledger(reader)
    assert (found.leaves, found.checkpoints, found.statements, found.unreadable) == (5, 1, 5, 0)
    with Ledger(world.ledger.engine).reading() as reader:
        assert check_ledger(reader).unreadable == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE reg_log_leaf SET data = x'00' WHERE \"index\" = 1", "was signed"),
        ("UPDATE reg_log_node SET hash = x'00' WHERE level = 2", "do not belong to its leaves"),
        ("DELETE FROM reg_log_node WHERE level = 2", "the log has no node"),
        ("DELETE FROM reg_statement WHERE leaf_index = 2", "leaf 2 has lost its statement"),
        ('DELETE FROM reg_log_leaf WHERE "index" = 0', "refers to a row that is gone"),
        ("UPDATE reg_statement SET sealed_salt = sealed_envelope", "belongs to another row"),
    ],
)
def test_check_finds_what_was_changed_by_hand(world: World, change: str, message: str) -> None:
    artifact = world.artifact("kiki.safetensors")
    for number in range(4):
        world.statement(str(number), artifact_id=artifact)
    with world.ledger.transaction() as tx:
        log.save_checkpoint(tx, checkpoint(2, log.log_root(tx, 2)))
    with world.ledger.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type='trigger'")):
            connection.exec_driver_sql(f"DROP TRIGGER {name[0]}")
        connection.exec_driver_sql(change)
        connection.commit()
    with world.ledger.reading() as reader, pytest.raises(VerificationError, match=message):
        check_ledger(reader)


def test_check_finds_a_leaf_that_commits_to_something_else(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.transaction() as tx:
        world.statement_in(tx, "x", artifact_id=artifact)
        tx.session.execute(text("DROP TRIGGER reg_log_leaf_refuse_update"))
        tx.session.execute(text("DROP TRIGGER reg_log_node_refuse_update"))
        tx.session.execute(text("UPDATE reg_log_leaf SET data = x'00'"))
        node = leaf_hash(b"\0")
        tx.session.execute(text("UPDATE reg_log_node SET hash = :node"), {"node": node})
    with (
        world.ledger.reading() as reader,
        pytest.raises(VerificationError, match="leaf 0 does not commit to statement"),
    ):
        check_ledger(reader)


def test_check_finds_an_older_database_put_in_place(world: World) -> None:
    world.statement("x", artifact_id=world.artifact("kiki.safetensors"))
    with world.ledger.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO reg_log_checkpoint VALUES (9, x'00', x'00', '2026-11-21 12:00:00')")
        )
    with (
        world.ledger.reading() as reader,
        pytest.raises(VerificationError, match="size 9 was signed, and the log has 1 leaves"),
    ):
        check_ledger(reader)


def test_check_finds_a_leaf_taken_out_with_its_statement(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    for number in range(3):
        world.statement(str(number), artifact_id=artifact)
    with world.ledger.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER reg_log_leaf_refuse_delete"))
        connection.execute(text("DELETE FROM reg_statement WHERE leaf_index = 1"))
        connection.execute(text('DELETE FROM reg_log_leaf WHERE "index" = 1'))
    with (
        world.ledger.reading() as reader,
        pytest.raises(VerificationError, match="the log has no leaf 1"),
    ):
        check_ledger(reader)


def test_check_finds_a_statement_planted_under_another_digest(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.transaction() as tx:
        subject = get_artifact(tx, artifact).subject_id
        planted, envelope, salt = "0" * 64, envelope_of("planted"), bytes(32)
        sealed = [
            seal_column(tx, subject, Cell("reg_statement", planted, column), value)
            for column, value in (("envelope", envelope.to_bytes()), ("salt", salt))
        ]
        index = log.append_leaf(tx, leaf_for(salt, envelope), NOW)
        row = StatementRow(
            digest=planted,
            kind="urn:test",
            subject_id=subject,
            sealed_envelope=sealed[0],
            sealed_salt=sealed[1],
            leaf_index=index,
            at=NOW,
        )
        add_row(tx, row)
    with (
        world.ledger.reading() as reader,
        pytest.raises(VerificationError, match="statement 000000000000 has another digest"),
    ):
        check_ledger(reader)


def test_statements_are_listed_by_kind(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.statement("x", artifact_id=artifact)
    with world.ledger.transaction() as tx:
        other = NewStatement(envelope_of("y"), bytes(32), "urn:other", NOW, artifact)
        append_statement(tx, other)
        assert [item.leaf_index for item in statements_of_kind(tx, "urn:other")] == [1]


def test_node_is_never_overwritten(world: World) -> None:
    with world.ledger.transaction() as tx:
        store = log.SqlNodeStore(tx.session)
        store.put(0, 0, b"one")
        store.put(0, 0, b"one")
        with pytest.raises(VerificationError, match="already has a hash"):
            store.put(0, 0, b"two")
