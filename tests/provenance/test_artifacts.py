from __future__ import annotations

import pytest
from sqlalchemy import text

from registry.errors import FormatError, LostRaceError, NotFoundError
from registry.provenance.artifacts import (
    NewPayload,
    add_artifact,
    artifacts_in,
    count_audit_death,
    find_payload,
    get_artifact,
    move_artifact,
    note_key_class,
    payload_digests,
)
from registry.provenance.candidates import get_candidate
from registry.provenance.counts import artifact_count
from registry.provenance.events import EventQuery, recent_events
from registry.provenance.lineage import Edge, add_edge, edges_of
from registry.provenance.moves import Move
from registry.provenance.show import read_inspection
from registry.provenance.states import ArtifactState, CandidateState, EdgeGrade
from tests.provenance.world import NOW, World, at, digest_of, new_artifact

AUDITED = Move((ArtifactState.SEALED,), ArtifactState.AUDITED, at(1))


def test_artifact_of_an_unknown_candidate_is_refused(world: World) -> None:
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError, match="no candidate"):
        add_artifact(tx, new_artifact("kiki.safetensors", "c1", "0" * 32))


def test_hash_that_is_not_hex_is_refused_and_nothing_stays(world: World) -> None:
    with pytest.raises(FormatError, match="autov2 hash of the artifact is not hex"):
        world.artifact("kiki.safetensors", hashes=(("autov2", "nothex!"),))
    with world.ledger.reading() as reader:
        assert artifacts_in(reader, ArtifactState.SEALED) == ()
        assert payload_digests(reader) == ()


def test_move_from_another_state_is_refused(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.move_artifact(artifact, AUDITED)
    with pytest.raises(LostRaceError, match=r"artifact .* is audited, expected sealed"):
        world.move_artifact(artifact, AUDITED)


def test_unknown_artifact_is_not_found(world: World) -> None:
    with world.ledger.transaction() as tx:
        with pytest.raises(NotFoundError):
            get_artifact(tx, "0" * 64)
        with pytest.raises(NotFoundError):
            move_artifact(tx, "0" * 64, AUDITED)
        with pytest.raises(NotFoundError):
            count_audit_death(tx, "0" * 64, NOW)
        with pytest.raises(NotFoundError):
            note_key_class(tx, "0" * 64, "x25519")
        with pytest.raises(NotFoundError):
            read_inspection(tx, "0" * 64)
        assert find_payload(tx, "0" * 64) is None


def test_same_content_again_keeps_the_first_payload(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    again = NewPayload(digest_of("second seal"), "raw", 1016, ("x25519",))
    assert world.artifact("kiki.safetensors", payload=again) == artifact
    with world.ledger.reading() as reader:
        payload = find_payload(reader, artifact)
        assert payload is not None
        assert payload_digests(reader) == (payload.digest,)
        assert artifact_count(reader) == 1
        assert payload.digest != again.digest
        assert len(recent_events(reader, EventQuery(artifact_id=artifact))) == 1


def test_adding_marks_the_candidate_taken_in_the_same_commit(world: World) -> None:
    candidate = world.candidate("kiki.safetensors")
    with world.ledger.transaction() as tx:
        noted = add_artifact(tx, new_artifact("kiki.safetensors", "c1", candidate))
        found = get_candidate(tx, candidate)
    assert noted.is_new
    assert (found.state, found.artifact_id) == (CandidateState.TAKEN, noted.id)


def test_artifact_moves_and_says_so_in_the_events(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.move_artifact(artifact, AUDITED)
    with world.ledger.reading() as reader:
        assert get_artifact(reader, artifact).state is ArtifactState.AUDITED
        assert artifacts_in(reader, ArtifactState.SEALED) == ()
        assert [item.id for item in artifacts_in(reader, ArtifactState.AUDITED)] == [artifact]
        kinds = [event.kind for event in recent_events(reader, EventQuery())]
    assert kinds == ["artifact sealed", "artifact audited"]


def test_deaths_of_the_audit_are_counted_across_transactions(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    counts = []
    for minute in range(3):
        with world.ledger.transaction() as tx:
            counts.append(count_audit_death(tx, artifact, at(minute)))
    assert counts == [1, 2, 3]
    with world.ledger.reading() as reader:
        assert get_artifact(reader, artifact).audit_deaths == 3


def test_key_classes_of_a_payload_only_grow(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.transaction() as tx:
        payload = find_payload(tx, artifact)
        assert payload is not None
        for _ in range(2):
            note_key_class(tx, payload.digest, "scrypt")
        after = find_payload(tx, artifact)
        assert after is not None
        assert after.key_classes == ("scrypt", "x25519")


def test_inspection_is_kept_whole(world: World) -> None:
    artifact = world.artifact("kiki.safetensors", inspection='{"leaks": ["é"]}')
    bare = world.artifact("other.safetensors", "c2", inspection=None)
    with world.ledger.reading() as reader:
        assert read_inspection(reader, artifact) == '{"leaks": ["é"]}'
        assert read_inspection(reader, bare) is None


def test_sizes_beyond_32_bits_are_kept(world: World) -> None:
    huge = NewPayload(digest_of("huge"), "raw", 2**40, ("x25519",))
    artifact = world.artifact("huge.safetensors", payload=huge)
    with world.ledger.reading() as reader:
        payload = find_payload(reader, artifact)
    assert payload is not None
    assert payload.size == 2**40


def test_lineage_fact_is_kept_once_per_grade(world: World) -> None:
    child, parent = world.artifact("a.safetensors"), digest_of("base model")
    facts = [
        Edge(child, "trained-on", parent, grade, "header", NOW)
        for grade in (EdgeGrade.DECLARED, EdgeGrade.OBSERVED, EdgeGrade.DECLARED)
    ]
    with world.ledger.transaction() as tx:
        for fact in facts:
            add_edge(tx, fact)
        assert edges_of(tx, child) == tuple(facts[:2])
        assert edges_of(tx, parent) == tuple(facts[:2])


def test_foreign_keys_are_enforced(world: World) -> None:
    fact = Edge("0" * 64, "trained-on", "x", EdgeGrade.DECLARED, "header", NOW)
    with pytest.raises(Exception, match="FOREIGN KEY"), world.ledger.transaction() as tx:
        add_edge(tx, fact)
    with world.ledger.reading() as reader:
        assert reader.session.execute(text("SELECT count(*) FROM reg_edge")).scalar() == 0
