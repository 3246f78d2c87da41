"""Content under a second name: what was withdrawn does not come back by renaming, and repeats are noted."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from daemon.custody.copies import hold_copy
from registry.formats.findings import Decision, Outcome
from registry.provenance.artifacts import Artifact
from registry.provenance.states import ArtifactState
from tests.daemon.rig import Rig, artifact_named

pytestmark = pytest.mark.xdist_group("lived")

RELEASED = Decision(Outcome.RELEASED, ("all is well",), ("rule",), privacy_audited=False)


def copy(state: ArtifactState) -> Artifact:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    return Artifact("ab" * 32, "cd" * 16, state, None, "adapter", 0, moment)


def drop_copy(rig: Rig, name: str, new_name: str) -> tuple[object, ...]:
    """Take in the named artifact's file under another name; return the new one's id, state, reason."""
    target = rig.registry.watched / f"{new_name}.safetensors"
    shutil.copyfile(rig.registry.watched / f"{name}.safetensors", target)
    candidate = rig.drop(target)
    rig.work()
    return rig.one(
        "select a.id, a.state, a.reason from reg_artifact a join reg_candidate c "
        "on c.artifact_id = a.id where c.id = ?",
        candidate,
    )


def revoke(rig: Rig, artifact_id: str) -> None:
    rig.registry.run("revoke", artifact_id, "--yes", "--config", rig.registry.settings)


@pytest.mark.parametrize(
    "state", [ArtifactState.REVOKED, ArtifactState.REJECTED, ArtifactState.SET_ASIDE]
)
def test_release_is_held_where_a_copy_was_withdrawn(state: ArtifactState) -> None:
    held = hold_copy(RELEASED, [copy(ArtifactState.RELEASED), copy(state)])
    assert held.outcome is Outcome.HELD
    assert held.reasons == (
        f"same content as artifact abababababab, which was {state.value.replace('_', ' ')}",
    )


def test_copy_of_a_released_artifact_is_released() -> None:
    assert hold_copy(RELEASED, [copy(ArtifactState.RELEASED)]) == RELEASED


def test_what_policy_rejects_stays_rejected_and_doubts_are_kept() -> None:
    rejected = Decision(Outcome.REJECTED, ("broken",), (), privacy_audited=False)
    assert hold_copy(rejected, [copy(ArtifactState.REVOKED)]) == rejected
    doubted = Decision(Outcome.HELD, ("a doubt",), (), privacy_audited=False)
    assert hold_copy(doubted, [copy(ArtifactState.REVOKED)]).reasons[0] == "a doubt"


def test_renamed_copy_of_a_revoked_artifact_is_held_and_not_delivered(lived_rig: Rig) -> None:
    good = artifact_named(lived_rig.registry, "good")
    revoke(lived_rig, good)
    before = lived_rig.carried()
    found, state, reason = drop_copy(lived_rig, "good", "renamed")
    assert found != good
    assert state == "held"
    assert reason == f"same content as artifact {good[:12]}, which was revoked"
    assert lived_rig.rows("select id from reg_delivery where artifact_id = ?", found) == []
    assert lived_rig.carried() == before


def test_renamed_copy_of_an_artifact_that_a_person_rejected_is_not_released(
    lived_rig: Rig,
) -> None:
    held, settings = artifact_named(lived_rig.registry, "held"), lived_rig.registry.settings
    lived_rig.registry.run("reject", held, "--reason", "no", "--config", settings)
    _, state, reason = drop_copy(lived_rig, "held", "renamed")
    assert state == "held"
    assert f"same content as artifact {held[:12]}, which was rejected" in str(reason)


def test_second_name_of_the_same_content_is_linked_and_its_delivery_noted_as_a_repeat(
    lived_rig: Rig,
) -> None:
    good = artifact_named(lived_rig.registry, "good")
    found, state, _ = drop_copy(lived_rig, "good", "renamed")
    assert state == "released"
    edge = lived_rig.one("select relation, parent, grade from reg_edge where child_id = ?", found)
    assert edge == ("same-content-as", good, "observed")
    repeats = lived_rig.rows(
        "select r.id, e.detail from reg_event e join reg_delivery d on d.id = e.delivery_id "
        "join reg_recipient r on r.id = d.recipient_id where e.kind = 'content repeated'"
    )
    # Bob never had it: for him it is no repeat.
    assert len(repeats) == 1
    assert repeats[0][1] == f"repeats content of artifact {good[:12]}"


def test_delivery_by_hand_says_that_the_recipient_had_the_content(lived_rig: Rig) -> None:
    registry, good = lived_rig.registry, artifact_named(lived_rig.registry, "good")
    found, _, _ = drop_copy(lived_rig, "good", "renamed")
    words = ("deliver", found, "--to", "Alice", "--by", "folder", "--again", "--config")
    answer = registry.run(*words, registry.settings)
    assert f"Alice got the same content before, as artifact {good[:12]}" in answer.stderr


def test_revoking_names_the_other_artifacts_of_the_same_content(lived_rig: Rig) -> None:
    registry, good = lived_rig.registry, artifact_named(lived_rig.registry, "good")
    found, _, _ = drop_copy(lived_rig, "good", "renamed")
    words = ("revoke", good, "--dry-run", "--config")
    answer = registry.run(*words, registry.settings)
    assert f"the same content is also artifact {str(found)[:12]} (released)" in answer.stderr


def test_show_names_the_copy_and_says_that_privacy_was_not_audited(lived_rig: Rig) -> None:
    registry, good = lived_rig.registry, artifact_named(lived_rig.registry, "good")
    found, _, _ = drop_copy(lived_rig, "good", "renamed")
    shown = registry.run("show", found, "--config", registry.settings).stdout
    assert f"lineage   {str(found)[:12]} same-content-as {good[:12]} (observed)" in shown
    assert "decision  released by policy, privacy not audited" in shown
