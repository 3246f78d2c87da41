"""Sketches, their pages and features: what is refused, what an erasure takes, who is a peer."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from registry.errors import NotFoundError
from registry.fingerprints.code_pages import CODE_BYTES, PAGE_CODES, VACANT
from registry.provenance.cohorts import keep_features, note_cohort, peers_in, peers_of
from registry.provenance.sketches import (
    NewSketch,
    code_pages,
    keep_sketch,
    read_sketch,
    sketch_count,
    sketch_key,
    sketched_artifacts,
)
from registry.provenance.subjects import erase_subject
from tests.provenance.world import World, at

NOW = at(0)
COHORT = "ab" * 32


def code(number: int) -> bytes:
    return number.to_bytes(2, "big") * (CODE_BYTES // 2)


def sketched(world: World, name: str, number: int) -> str:
    artifact = world.artifact(name, name)
    with world.ledger.transaction() as tx:
        keep_sketch(tx, artifact, NewSketch(b"sketch of " + name.encode(), code(number)), NOW)
        note_cohort(tx, artifact, "lora for sd15", COHORT, NOW)
        keep_features(tx, artifact, [("attn.q: norm", str(number))])
        tx.session.execute(text("UPDATE reg_artifact SET state = 'released'"))
    return artifact


def erase(world: World, artifact: str) -> None:
    with world.ledger.transaction() as tx:
        subject = tx.session.scalar(
            text("SELECT subject_id FROM reg_artifact WHERE id = :id"), {"id": artifact}
        )
        erase_subject(tx, subject, NOW)


def test_code_of_another_length_and_unknown_artifact_are_refused(world: World) -> None:
    artifact = world.artifact("a.safetensors")
    with world.ledger.transaction() as tx:
        with pytest.raises(ValueError, match="256 bytes"):
            keep_sketch(tx, artifact, NewSketch(b"x", b"short"), NOW)
        with pytest.raises(NotFoundError):
            keep_sketch(tx, "00" * 32, NewSketch(b"x", code(1)), NOW)


def test_codes_stand_in_their_slots_over_pages(world: World) -> None:
    made = [sketched(world, f"{n}.safetensors", n + 1) for n in range(3)]
    with world.ledger.transaction() as tx:
        # As if a page had been filled before.
        tx.session.execute(
            text("UPDATE reg_sketch_page SET codes = :codes"),
            {"codes": bytes(CODE_BYTES * PAGE_CODES)},
        )
        tx.session.expire_all()
    last = sketched(world, "last.safetensors", 9)
    with world.ledger.reading() as reader:
        pages = list(code_pages(reader))
        assert sketched_artifacts(reader, [0, PAGE_CODES, 7]) == {0: made[0], PAGE_CODES: last}
        assert pages[1] == code(9)
        assert read_sketch(reader, last) == b"sketch of last.safetensors"


def test_erasure_takes_sketch_code_and_features_and_its_slot_is_not_given_again(
    world: World,
) -> None:
    first, second = sketched(world, "a.safetensors", 1), sketched(world, "b.safetensors", 2)
    erase(world, second)
    third = sketched(world, "c.safetensors", 3)
    with world.ledger.reading() as reader:
        assert sketch_count(reader) == 2
        assert read_sketch(reader, second) is None
        assert next(code_pages(reader)) == code(1) + VACANT + code(3)
        assert sketched_artifacts(reader, [0, 1, 2]) == {0: first, 2: third}
        assert peers_of(reader, second) is None
        found = peers_of(reader, third)
    assert found is not None
    assert found.features == ({"attn.q: norm": 1.0},)


def test_features_changed_by_hand_are_left_out(world: World) -> None:
    first, second = sketched(world, "a.safetensors", 1), sketched(world, "b.safetensors", 2)
    third = sketched(world, "c.safetensors", 3)
    with world.ledger.transaction() as tx:
        tx.session.execute(
            text("UPDATE reg_features SET sealed_features = :bad WHERE artifact_id = :id"),
            {"bad": b"\x00" * 64, "id": first},
        )
        # Sealed for another row: a value moved here says nothing of this artifact.
        tx.session.execute(
            text(
                "UPDATE reg_features SET sealed_features ="
                " (SELECT sealed_features FROM reg_features WHERE artifact_id = :third)"
                " WHERE artifact_id = :second"
            ),
            {"third": third, "second": second},
        )
    with world.ledger.reading() as reader:
        assert peers_in(reader, "lora for sd15", COHORT).features == ({"attn.q: norm": 3.0},)


def test_one_content_is_one_peer_and_what_is_not_released_is_none(world: World) -> None:
    sketched(world, "a.safetensors", 1)
    sketched(world, "b.safetensors", 1)
    held = sketched(world, "c.safetensors", 5)
    with world.ledger.transaction() as tx:
        tx.session.execute(
            text("UPDATE reg_artifact SET state = 'held' WHERE id = :id"), {"id": held}
        )
    with world.ledger.reading() as reader:
        assert len(peers_in(reader, "lora for sd15", COHORT).features) == 1
        assert peers_in(reader, "lora for sd15", "cd" * 32).features == ()


def test_nothing_of_features_or_sketches_stands_in_the_clear(world: World) -> None:
    sketched(world, "a.safetensors", 7)
    with world.ledger.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        path = connection.exec_driver_sql("PRAGMA database_list").one()[2]
    with open(path, "rb") as file:  # noqa: PTH123 - the path is SQLite's own
        data = file.read()
    assert b"attn.q: norm" not in data
    assert b"sketch of" not in data
    with world.ledger.reading() as reader:
        assert sketch_key(reader) not in data
