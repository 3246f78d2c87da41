from __future__ import annotations

import pytest

from registry.errors import LostRaceError, NotFoundError
from registry.provenance.artifacts import get_artifact
from registry.provenance.candidates import (
    NewCandidate,
    candidates_in,
    get_candidate,
    move_candidate,
    note_candidate,
    paths_of,
)
from registry.provenance.moves import Move
from registry.provenance.states import CandidateState
from tests.provenance.world import NOW, World, at

REFUSE = Move((CandidateState.NOTED,), CandidateState.REFUSED, at(1), "truncated")


def test_unknown_candidate_is_not_found(world: World) -> None:
    with world.ledger.reading() as reader, pytest.raises(NotFoundError, match="no candidate"):
        get_candidate(reader, "0" * 32)
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError, match="no candidate"):
        move_candidate(tx, "0" * 32, REFUSE)


def test_move_from_another_state_is_refused_and_names_both(world: World) -> None:
    candidate = world.candidate("kiki.safetensors")
    with world.ledger.transaction() as tx:
        move_candidate(tx, candidate, REFUSE)
    with (
        world.ledger.transaction() as tx,
        pytest.raises(LostRaceError, match="is refused, expected noted"),
    ):
        move_candidate(tx, candidate, REFUSE)


def test_same_path_and_content_is_one_candidate(world: World) -> None:
    first = world.candidate("kiki.safetensors", "s1")
    assert world.candidate("kiki.safetensors", "s1") == first
    assert world.candidate("kiki.safetensors", "s2") != first
    assert world.candidate("Kiki.safetensors", "s1") != first


def test_candidate_is_read_as_it_was_noted(world: World) -> None:
    files = (("a.safetensors", "/train/out/x/a.safetensors"), ("b.json", "/train/out/x/b.json"))
    with world.ledger.transaction() as tx:
        noted = note_candidate(tx, NewCandidate("/train/out/x", "peft", files, "s"), NOW)
    with world.ledger.reading() as reader:
        found = get_candidate(reader, noted.id)
        assert candidates_in(reader, CandidateState.NOTED) == (found,)
    assert noted.is_new
    assert (found.path, found.files, found.layout) == ("/train/out/x", files, "peft")
    assert (found.state, found.noted_at) == (CandidateState.NOTED, NOW)
    assert "/train" not in repr(found)


def test_refused_candidate_keeps_its_reason(world: World) -> None:
    candidate = world.candidate("kiki.safetensors")
    with world.ledger.transaction() as tx:
        move_candidate(tx, candidate, REFUSE)
        found = get_candidate(tx, candidate)
    assert (found.state, found.reason) == (CandidateState.REFUSED, "truncated")


def test_paths_of_an_artifact_are_all_places_where_it_was_seen(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.transaction() as tx:
        copy = note_candidate(
            tx, NewCandidate("/train/copy/kiki.safetensors", "kohya", (), "s"), at(1)
        )
        from registry.provenance.artifacts import add_artifact
        from tests.provenance.world import new_artifact

        assert not add_artifact(tx, new_artifact("kiki.safetensors", "c1", copy.id)).is_new
        assert get_candidate(tx, copy.id).state is CandidateState.TAKEN
        assert get_artifact(tx, artifact).taken_at == NOW
        paths = paths_of(tx, artifact)
    assert paths == ("/train/out/kiki.safetensors", "/train/copy/kiki.safetensors")
