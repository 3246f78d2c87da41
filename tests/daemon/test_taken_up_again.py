"""What stands still for a reason outside of it is tried again, and said in `status` meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.custody.status import publish_status
from daemon.pipeline import intake_step
from daemon.pipeline.intake_step import take_in_candidate
from daemon.service import _handler
from registry.artifacts.reading import SourceUnreadableError
from registry.errors import LorasealError, UsageError
from registry.provenance.status import needs_person
from registry.provenance.views import Need
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, artifact_named

pytestmark = pytest.mark.xdist_group("lived")


def needs(rig: Rig) -> list[Need]:
    with rig.shop.ledger.reading() as reader:
        return [need for need in needs_person(reader) if need.kind != "artifact held"]


@pytest.mark.parametrize("kind", ["gone", "unreadable"])
def test_candidate_that_is_seen_again_is_taken_up(
    rig: Rig, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that was not mounted when the daemon came up, for one; or another user's daemon."""
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    error = {"gone": intake_step.SourceVanishedError, "unreadable": SourceUnreadableError}[kind]

    def refuse(*_arguments: object) -> object:
        raise error(f"cannot read {str(path)!r}")

    with monkeypatch.context() as patch:
        patch.setattr(intake_step, "take_in", refuse)
        assert rig.work() == [("intake", kind)]
    assert len(needs(rig)) == (kind == "unreadable")
    assert rig.drop(path) == candidate
    assert ("intake", "sealed") in rig.work()
    assert rig.candidate(candidate)[0] == "taken"
    assert needs(rig) == []
    assert rig.drop(path) == candidate
    assert rig.work() == []


def test_refusal_for_good_is_not_taken_up(rig: Rig) -> None:
    path = rig.registry.watched / "lora.safetensors"
    path.write_bytes(b"")
    rig.drop(path)
    assert rig.work() == [("intake", "refused")]
    rig.drop(path)
    assert rig.work() == []


def test_job_that_breaks_says_so_in_status_until_it_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_adapter(rig.registry.watched / "secret-name.safetensors")
    candidate = rig.drop(path)

    def full(*_arguments: object) -> object:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("daemon.pipeline.intake_step.take_in", full)
        assert _handler(rig.shop, "intake")(candidate) == "broke: OSError (ENOSPC)"
    (need,) = needs(rig)
    assert (need.kind, need.reason) == ("file noted", "intake broke: OSError (ENOSPC)")
    assert "loraseal doctor" in need.what_to_do
    take_in_candidate(rig.shop, candidate)
    assert needs(rig) == []
    (artifact,) = rig.one("select id from reg_artifact")
    _handler(replace(rig.shop, audits=None), "audit")(str(artifact))  # type: ignore[arg-type] # breaks
    (need,) = needs(rig)
    assert (need.kind, need.reason) == ("artifact sealed", "audit broke: AttributeError")
    rig.work()
    assert needs(rig) == []


def test_policy_that_requires_an_audit_that_there_is_not_stops_the_start(fresh: Registry) -> None:
    policy = fresh.settings.with_name("policy.toml")
    policy.write_text('name = "mine"\nrequired = ["nosuchrule"]\n')
    text = fresh.settings.read_text()
    fresh.settings.write_text(f'policy = "policy.toml"\n{text}')
    result = fresh.run("up", "--once", "--config", fresh.settings, code=UsageError.exit_code)
    assert "nosuchrule" in result.stderr


def test_reason_of_a_refusal_does_not_hold_the_files_name(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "patient Jane\x07.safetensors")
    candidate = rig.drop(path)
    rig.work()
    state, reason = rig.candidate(candidate)
    assert (state, "Jane" in str(reason)) == ("refused", False)
    assert all("Jane" not in str(row) for row in rig.rows("select detail from reg_event"))


@pytest.mark.parametrize("reason", ["", "  "])
def test_release_without_a_reason_is_refused_and_nothing_is_signed(
    lived: Registry, reason: str
) -> None:
    held = artifact_named(lived, "held")
    for verb in ("release", "reject"):
        result = lived.run(*(verb, held, "--reason", reason, "--config", lived.settings), code=2)
        assert "reason" in result.stderr
    assert '"held"' in lived.run("ls", "--json", "--config", lived.settings).stdout


def test_damaged_status_list_is_named_before_anything_is_revoked(lived_rig: Rig) -> None:
    custody, registry = lived_rig.shop.custody, lived_rig.registry
    path = custody.paths.status_list
    publish_status(custody, lived_rig.clock(), lived_rig.shop.delivery_terms().status_valid_for)
    before = path.read_bytes()
    path.write_bytes(b"x")
    with pytest.raises(LorasealError, match="status list"):
        custody.status.read()
    good = artifact_named(registry, "good")
    result = registry.run(
        *("revoke", good, "--reason", "consent-withdrawn", "--yes", "--config", registry.settings),
        code=1,
    )
    assert "what to do" in result.stderr
    assert lived_rig.rows("select * from reg_revocation") == []
    fsck = registry.run("fsck", "--config", registry.settings, code=4)
    assert "FAIL  status list" in fsck.stdout
    path.write_bytes(before)
