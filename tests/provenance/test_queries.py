from __future__ import annotations

import json

import pytest

from registry.errors import NotFoundError
from registry.formats.findings import Outcome
from registry.provenance.cursors import read_cursor, write_cursor
from registry.provenance.events import (
    EventQuery,
    Heartbeat,
    NewEvent,
    beat,
    note_event,
    recent_events,
)
from registry.provenance.find import MATCHES_SHOWN, find_artifact, find_matches
from registry.provenance.ledger import Ledger
from registry.provenance.log import Checkpoint, log_root, save_checkpoint
from registry.provenance.moves import Move
from registry.provenance.revocations import (
    ArtifactRevocation,
    StoredStatusList,
    revoke_artifact,
    save_status_list,
)
from registry.provenance.show import ArtifactQuery, list_artifacts, show_artifact, summarise
from registry.provenance.states import ArtifactState, CandidateState
from registry.provenance.status import ledger_status
from registry.provenance.tracing import trace
from registry.provenance.views import as_json
from tests.provenance.world import NOW, World, at, digest_of, id_of, preparation


@pytest.mark.parametrize(
    "reference", ["nothing.safetensors", "abc", "0000", "f" * 64, "", "%", "DROP TABLE", "é" * 40]
)
def test_what_is_not_there_is_not_found(world: World, reference: str) -> None:
    world.artifact("kiki.safetensors")
    with (
        world.ledger.reading() as reader,
        pytest.raises(NotFoundError, match="no artifact answers"),
    ):
        find_artifact(reader, reference)


def test_short_hash_is_no_answer(world: World) -> None:
    world.artifact("kiki.safetensors", "c1")
    with world.ledger.reading() as reader:
        assert find_matches(reader, digest_of("file", "c1")[:7]) == ()


def test_name_of_two_artifacts_is_ambiguous_and_names_both(world: World) -> None:
    ids = [world.artifact("kiki.safetensors", content) for content in ("c1", "c2")]
    with world.ledger.reading() as reader, pytest.raises(NotFoundError) as caught:
        find_artifact(reader, "kiki")
    assert str(caught.value).startswith("2 artifacts answer to that: ")
    assert all(artifact[:12] in str(caught.value) for artifact in ids)


def test_without_keys_names_are_not_found_and_hashes_are(world: World) -> None:
    artifact = world.artifact("kiki.safetensors", "c1")
    with Ledger(world.ledger.engine).reading() as reader:
        assert find_artifact(reader, digest_of("file", "c1")) == artifact
        with pytest.raises(NotFoundError):
            find_artifact(reader, "kiki.safetensors")


@pytest.mark.parametrize(
    ("reference", "matched_by"),
    [
        (digest_of("file", "c1"), "sha256"),
        (digest_of("file", "c1").upper(), "sha256"),
        (f"sha256:{digest_of('file', 'c1')}", "sha256"),
        (digest_of("file", "c1")[:10].upper(), "sha256"),  # AutoV2
        (digest_of("autov3", "c1")[:12].upper(), "autov3"),
        (digest_of("autov1", "c1")[:8], "autov1"),
        (digest_of("blake3", "c1"), "blake3"),
        (digest_of("tensors", "c1"), "tensors"),
        ("kiki.safetensors", "name"),
        ("KIKI", "name"),
        ("/train/out/kiki.safetensors", "path"),
    ],
)
def test_artifact_answers_to_any_of_its_names(
    world: World, reference: str, matched_by: str
) -> None:
    artifact = world.artifact("kiki.safetensors", "c1")
    world.artifact("other.safetensors", "c2")
    with world.ledger.reading() as reader:
        assert find_artifact(reader, reference) == artifact
        assert matched_by in {match.matched_by for match in find_matches(reader, reference)}


def test_artifact_answers_to_the_beginning_of_its_id(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.reading() as reader:
        for length in (4, 12, 64):
            assert find_artifact(reader, artifact[:length].upper()) == artifact
        with pytest.raises(NotFoundError):
            find_artifact(reader, artifact[:3])


def test_artifact_answers_to_what_was_delivered(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    delivery = world.prepared(artifact, world.recipient("Li"))
    made = preparation(delivery, "", "")
    from registry.digest import sha256_of
    from registry.provenance.parcels import NewParcel, ParcelKey, intend_parcel

    with world.ledger.transaction() as tx:
        parcel = NewParcel(ParcelKey(delivery, 1, 1), 1, digest_of("sealed file"), 9)
        intend_parcel(tx, parcel, NOW)
        for value, way in (
            (sha256_of(made.header).value, "header"),
            (sha256_of(made.bundle).value, "bundle"),
            (digest_of("sealed file"), "parcel"),
            (digest_of("payload", artifact), "payload"),
        ):
            (match,) = find_matches(tx, value)
            assert (match.artifact_id, match.matched_by) == (artifact, way)


def test_trace_says_among_how_many_it_found_nothing(world: World) -> None:
    world.artifact("kiki.safetensors")
    with world.ledger.reading() as reader:
        answer = trace(reader, ["f" * 64])
    assert answer.matches == ()
    assert answer.artifacts_searched == 1
    assert answer.compared == ("f" * 64,)


def test_trace_keeps_exact_and_same_tensors_apart(world: World) -> None:
    original = world.artifact("kiki.safetensors", "c1")
    shared = (("tensors", digest_of("tensors", "c1")), ("sha256", digest_of("file", "c2")))
    resaved = world.artifact("kiki_v2.safetensors", "c2", hashes=shared)
    evidence = [digest_of("file", "c2"), digest_of("tensors", "c1")]
    with world.ledger.reading() as reader:
        answer = trace(reader, evidence)
        by_tensors = trace(reader, [digest_of("tensors", "c1")])
    assert [(match.artifact.id, match.answer) for match in answer.matches] == [
        (resaved, "exact"),
        (original, "same_tensors"),
    ]
    assert {match.answer for match in by_tensors.matches} == {"same_tensors"}


def test_trace_tells_the_whole_story(world: World) -> None:
    artifact = world.artifact("kiki.safetensors", "c1")
    world.decision(artifact, Outcome.RELEASED)
    delivery = world.prepared(artifact, world.recipient("Li"))
    statement = world.statement("revoke", artifact_id=artifact)
    with world.ledger.transaction() as tx:
        revoke_artifact(tx, ArtifactRevocation(artifact, "withdrawn", statement, at(5)))
    with world.ledger.reading() as reader:
        (match,) = trace(reader, [digest_of("file", "c1")]).matches
    assert match.artifact.name == "kiki.safetensors"
    assert match.artifact.state == "revoked"
    assert [item.outcome for item in match.decisions] == ["released"]
    (delivered,) = match.deliveries
    assert (delivered.id, delivered.recipient, delivered.revoked) == (delivery, "Li", True)
    assert match.log_leaves == (0, 2, 3)


def test_popular_short_hash_is_bounded(world: World) -> None:
    hashes = (("autov1", "e3b0c442"),)
    for number in range(MATCHES_SHOWN + 5):
        world.artifact(f"a{number}.safetensors", f"c{number}", hashes=hashes)
    with world.ledger.reading() as reader:
        assert len(find_matches(reader, "e3b0c442")) == MATCHES_SHOWN


def test_ls_filters_and_puts_the_newest_first(world: World) -> None:
    old = world.artifact("old.safetensors", "c1")
    new = world.artifact("new.safetensors", "c2", taken_at=at(5))
    world.move_artifact(old, Move((ArtifactState.SEALED,), ArtifactState.HELD, at(6), "20 % dead"))
    with world.ledger.reading() as reader:
        assert [item.id for item in list_artifacts(reader, ArtifactQuery())] == [new, old]
        assert [item.id for item in list_artifacts(reader, ArtifactQuery(limit=1))] == [new]
        (held,) = list_artifacts(reader, ArtifactQuery((ArtifactState.HELD,)))
        assert list_artifacts(reader, ArtifactQuery(family="sd15")) == ()
        assert len(list_artifacts(reader, ArtifactQuery(family="sdxl"))) == 2
    assert (held.id, held.reason) == (old, "20 % dead")


def test_show_is_json_of_the_same_fields(world: World) -> None:
    artifact = world.artifact("kiki.safetensors", "c1")
    world.audit(artifact)
    world.decision(artifact, Outcome.HELD)
    world.prepared(artifact, world.recipient("Li"))
    with world.ledger.reading() as reader:
        detail = show_artifact(reader, artifact)
        with pytest.raises(NotFoundError):
            summarise(reader, "0" * 64)
    data = json.loads(json.dumps(as_json(detail)))
    assert data["summary"]["name"] == "kiki.safetensors"
    assert data["files"] == [
        {"path": "kiki.safetensors", "size": 1000, "sha256": digest_of("file", "c1")}
    ]
    assert {"algorithm": "autov3", "value": digest_of("autov3", "c1")} in data["hashes"]
    assert data["audits"][0]["metrics"] == [{"name": "modules", "value": "722"}]
    assert data["audits"][0]["findings"][0]["place"] == "lora_te_kiki"
    assert data["decisions"][0]["reasons"] == ["because of kiki"]
    assert data["deliveries"][0]["acknowledge_by"] == "2026-11-21T13:00:00Z"
    assert [item["leaf_index"] for item in data["statements"]] == [0, 1, 3]
    assert "kiki" not in repr(detail)


def test_as_json_takes_views_only() -> None:
    assert as_json(NOW) == "2026-11-21T12:00:00Z"
    assert as_json(ArtifactState.HELD) == "held"
    with pytest.raises(TypeError, match="float is no view"):
        as_json((1.5,))


def test_status_counts_and_lists_what_needs_a_person(world: World) -> None:
    held = world.artifact("kiki.safetensors", "c1")
    world.artifact("fine.safetensors", "c2")
    aside = world.artifact("poison.safetensors", "c3")
    moves = ((held, ArtifactState.HELD), (aside, ArtifactState.SET_ASIDE))
    for artifact, state in moves:
        world.move_artifact(artifact, Move((ArtifactState.SEALED,), state, at(1), "why"))
    broken = world.candidate("broken.safetensors")
    delivery = world.prepared(held, world.recipient("Li"))
    from registry.provenance.candidates import move_candidate
    from registry.provenance.deliveries import move_delivery
    from registry.provenance.states import DeliveryState

    with world.ledger.transaction() as tx:
        refuse = Move((CandidateState.NOTED,), CandidateState.REFUSED, at(2), "truncated")
        move_candidate(tx, broken, refuse)
        wait = Move((DeliveryState.PREPARED,), DeliveryState.WAITING, at(3), "captcha")
        move_delivery(tx, delivery, wait)
        beat(tx, Heartbeat("one", "all", at(4)))
        save_checkpoint(tx, Checkpoint(1, log_root(tx, 1), b"note", NOW))
        save_status_list(tx, StoredStatusList(1, NOW, at(60), 1, b"{}"))
    with world.ledger.reading() as reader:
        status = ledger_status(reader)
    counts = {item.state: item.count for item in status.artifacts}
    assert counts == {"held": 1, "sealed": 1, "set_aside": 1}
    assert {item.state: item.count for item in status.candidates} == {"refused": 1, "taken": 3}
    assert (status.log_size, status.checkpoint_size, status.recipients) == (2, 1, 1)
    assert status.last_beat == "2026-11-21T12:04:00Z"
    assert status.status_list_valid_until == "2026-11-21T13:00:00Z"
    assert {(need.kind, need.id, need.name, need.reason) for need in status.needs} == {
        ("artifact held", held, "kiki.safetensors", "why"),
        ("artifact set_aside", aside, "poison.safetensors", "why"),
        ("delivery waiting", delivery, "Li", "captcha"),
        ("file refused", broken, "/train/out/broken.safetensors", "truncated"),
    }
    assert held[:12] in status.needs[0].what_to_do


def test_status_of_a_new_ledger_is_empty(world: World) -> None:
    with world.ledger.reading() as reader:
        status = ledger_status(reader)
    assert status.needs == ()
    assert (status.log_size, status.last_beat, status.status_list_valid_until) == (0, None, None)


def test_events_follow_a_cursor_and_keep_their_order(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    delivery = id_of("delivery")
    with world.ledger.transaction() as tx:
        for number in range(5):
            note_event(tx, NewEvent(f"test {number}", at(number), delivery_id=delivery))
        every = recent_events(tx, EventQuery())
        assert recent_events(tx, EventQuery(after=every[2].id)) == every[3:]
        assert recent_events(tx, EventQuery(limit=2)) == every[-2:]
        assert recent_events(tx, EventQuery(artifact_id=artifact)) == every[:1]
        assert recent_events(tx, EventQuery(delivery_id=delivery)) == every[1:]
    assert [event.at for event in every] == sorted(event.at for event in every)


def test_cursor_of_each_channel_is_its_own(world: World) -> None:
    with world.ledger.transaction() as tx:
        assert read_cursor(tx, "folder") is None
        write_cursor(tx, "folder", "12")
        write_cursor(tx, "signal", "x")
        write_cursor(tx, "folder", "13")
        assert (read_cursor(tx, "folder"), read_cursor(tx, "signal")) == ("13", "x")
