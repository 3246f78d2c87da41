from __future__ import annotations

import pytest

from registry.errors import LostRaceError, NotFoundError
from registry.formats.findings import Outcome
from registry.formats.status_list import StatusEntry, StatusState
from registry.provenance.artifacts import get_artifact
from registry.provenance.deliveries import begin_attempt, get_delivery
from registry.provenance.moves import Move
from registry.provenance.revocations import (
    ArtifactRevocation,
    NewRevocation,
    StoredStatusList,
    is_revoked,
    latest_status_list,
    next_status_counter,
    revoke_artifact,
    revoke_status,
    save_status_list,
    status_entries,
    status_ids_of,
)
from registry.provenance.states import ArtifactState, DeliveryState
from tests.provenance.world import NOW, World, at, id_of


def issued(counter: int, envelope: bytes = b"{}") -> StoredStatusList:
    return StoredStatusList(counter, NOW, at(60), 7, envelope)


def revocation(world: World, artifact: str) -> ArtifactRevocation:
    statement = world.statement(f"revoke {artifact}", artifact_id=artifact)
    return ArtifactRevocation(artifact, "subject-withdrew", statement, at(5))


def test_unknown_artifact_is_not_revoked(world: World) -> None:
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError):
        revoke_artifact(tx, ArtifactRevocation("0" * 64, "x", "0" * 64, NOW))


def test_status_list_out_of_turn_is_refused(world: World) -> None:
    with world.ledger.transaction() as tx:
        assert next_status_counter(tx) == 1
        for counter in (0, 2):
            with pytest.raises(LostRaceError, match=f"counter {counter}, expected 1"):
                save_status_list(tx, issued(counter))
        save_status_list(tx, issued(1))
        with pytest.raises(LostRaceError, match="counter 1, expected 2"):
            save_status_list(tx, issued(1, b"another"))
        assert latest_status_list(tx) == issued(1)


def test_same_status_list_again_is_nothing_new(world: World) -> None:
    with world.ledger.transaction() as tx:
        assert latest_status_list(tx) is None
        for _ in range(2):
            save_status_list(tx, issued(1))
        save_status_list(tx, issued(2))
        assert next_status_counter(tx) == 3
        assert latest_status_list(tx) == issued(2)


def test_revoked_artifact_takes_releases_and_deliveries_with_it(world: World) -> None:
    artifact, recipient = world.artifact("kiki.safetensors"), world.recipient("Li")
    release = world.decision(artifact, Outcome.RELEASED)
    unsent = world.prepared(artifact, recipient)
    sent = world.prepared(artifact, world.recipient("Zhang"))
    with world.ledger.transaction() as tx:
        move = Move((DeliveryState.PREPARED,), DeliveryState.SENDING, at(1))
        begin_attempt(tx, sent, 1, move)
    expected = tuple(sorted(id_of("status", name) for name in (release, unsent, sent)))
    order = revocation(world, artifact)
    with world.ledger.transaction() as tx:
        assert status_ids_of(tx, artifact) == expected
        assert revoke_artifact(tx, order) == expected
        assert revoke_artifact(tx, order) == ()
        assert get_artifact(tx, artifact).state is ArtifactState.REVOKED
        assert get_delivery(tx, unsent).state is DeliveryState.CANCELLED
        assert get_delivery(tx, sent).state is DeliveryState.SENDING
        assert status_entries(tx) == tuple(
            StatusEntry(status_id, StatusState.REVOKED, "2026-11-21T12:05:00Z")
            for status_id in expected
        )


def test_delivery_made_after_a_revocation_is_revoked_by_the_next_run(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    order = revocation(world, artifact)
    with world.ledger.transaction() as tx:
        assert revoke_artifact(tx, order) == ()
    late = world.prepared(artifact, world.recipient("Li"))
    with world.ledger.transaction() as tx:
        assert revoke_artifact(tx, order) == (id_of("status", late),)


def test_revocation_is_never_undone(world: World) -> None:
    statement = world.statement("r", artifact_id=world.artifact("kiki.safetensors"))
    status_id = id_of("enrolment")
    with world.ledger.transaction() as tx:
        assert not is_revoked(tx, status_id)
        revoked = NewRevocation(status_id, StatusState.REVOKED, "key-lost", statement, NOW)
        assert revoke_status(tx, revoked)
        softer = NewRevocation(
            status_id, StatusState.SUPERSEDED, "x", statement, NOW, superseded_by=id_of("new")
        )
        assert not revoke_status(tx, softer)
        assert is_revoked(tx, status_id)
        (entry,) = status_entries(tx)
    assert entry.state is StatusState.REVOKED
