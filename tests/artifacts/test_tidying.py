"""Tidying: adapters untouched, nothing lost at any instant, and nothing done that was not said."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path, PurePosixPath

import pytest

from registry import durable
from registry.artifacts.byproducts import sealed_beside
from registry.artifacts.byproducts.looking import look_at
from registry.artifacts.byproducts.names import Category, Trainer
from registry.artifacts.byproducts.removal import remove_emptied, remove_exactly
from registry.artifacts.byproducts.sealed_beside import SealKeys, write_beside
from registry.artifacts.byproducts.tidying import (
    STILL_WRITTEN,
    Action,
    TidyPolicy,
    carry_out,
    plan_tidying,
)
from registry.artifacts.reading import (
    SourceChangedError,
    SourceRefusedError,
    SourceVanishedError,
    Stamp,
)
from registry.errors import UsageError
from registry.sealing.seal import seal_bytes
from tests.artifacts.tidy_rig import (
    DAY_NS,
    DELETING,
    EVERYTHING,
    KEYS,
    ME,
    PUBLIC,
    REDACTING,
    SEALING,
    opened,
    planned,
    tidied,
)
from tests.artifacts.trainer_folders import (
    FOLDERS,
    SECRETS,
    Listed,
    adapters_of,
    by_products_of,
    loss_database,
    state_of,
    write_folder,
)
from tests.weights_files import write_lora


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def small(run: Path) -> Path:
    """An adapter and the state of its optimizer."""
    write_lora(run / "kiki.safetensors")
    (run / "optimizer.pt").write_bytes(b"moments" * 100)
    return run


# --- what is left alone


def test_by_default_everything_is_kept(run: Path) -> None:
    write_folder(run, FOLDERS[Trainer.LLAMA_FACTORY])
    before = state_of(run)
    plan = planned(run, TidyPolicy())
    assert plan.steps
    assert plan.acting == ()
    assert tidied(run, TidyPolicy(), None) == ()
    assert state_of(run) == before


@pytest.mark.parametrize("policy", [SEALING, DELETING, REDACTING])
def test_planning_changes_nothing(run: Path, policy: TidyPolicy) -> None:
    write_folder(run, FOLDERS[Trainer.AI_TOOLKIT])
    before = state_of(run)
    assert planned(run, policy).acting
    assert state_of(run) == before


@pytest.mark.parametrize("trainer", Trainer)
@pytest.mark.parametrize("policy", [SEALING, DELETING])
def test_adapter_stays_byte_for_byte_and_stat_for_stat(
    trainer: Trainer, policy: TidyPolicy, run: Path
) -> None:
    listed: Listed = FOLDERS[trainer]
    own = adapters_of(write_and_return(run, listed))
    before = state_of(run, own)
    outcomes = tidied(run, policy)
    assert {outcome.done for outcome in outcomes} <= {"sealed", "deleted"}, outcomes
    assert state_of(run, own) == before
    gone = {
        name for name, kind in by_products_of(listed).items() if kind is not Category.TRAINING_DATA
    }
    assert not any((run / name).exists() for name in gone)


def write_and_return(root: Path, listed: Listed) -> Listed:
    write_folder(root, listed)
    return listed


def test_what_is_not_sure_is_left_alone(run: Path) -> None:
    write_folder(run, {"samples/me.png": (b"x", None), "weights.pt": (b"x", None)})
    assert len(planned(run, DELETING).steps) == 2
    assert planned(run, DELETING).acting == ()


def test_young_files_are_left_alone_and_make_the_folder_restless(small: Path) -> None:
    now = max(path.lstat().st_ctime_ns for path in small.iterdir())
    policy = TidyPolicy(DELETING.actions, settle_seconds=60, quiet_seconds=30)
    plan = plan_tidying(look_at(small), policy, now + 20 * 10**9)
    assert [step.held for step in plan.steps] == [STILL_WRITTEN]
    assert plan.restless == 2
    assert plan_tidying(look_at(small), policy, now + 40 * 10**9).restless == 0
    assert plan_tidying(look_at(small), policy, now + 70 * 10**9).acting


def test_time_in_the_future_counts_as_young_by_the_systems_own_clock(small: Path) -> None:
    ctime = (small / "optimizer.pt").lstat().st_ctime_ns
    os.utime(small / "optimizer.pt", ns=(ctime + 90 * DAY_NS, ctime + 90 * DAY_NS))
    assert plan_tidying(look_at(small), DELETING, ctime - 10**9).acting == ()
    assert plan_tidying(look_at(small), DELETING, ctime + DAY_NS).acting


def test_nobody_to_seal_to_is_said_before_anything_is_done(small: Path) -> None:
    before = state_of(small)
    with pytest.raises(UsageError, match="nobody to seal to"):
        tidied(small, SEALING, None)
    assert state_of(small) == before


def test_file_that_changed_between_is_left(small: Path) -> None:
    plan = planned(small, SEALING)
    (small / "optimizer.pt").write_bytes(b"newer")
    (outcome,) = carry_out(plan, SEALING, KEYS)
    assert (outcome.done, "changed" in outcome.reason) == ("left", True)
    assert sorted(path.name for path in small.iterdir()) == ["kiki.safetensors", "optimizer.pt"]


def test_file_that_vanished_between_is_said(small: Path) -> None:
    plan = planned(small, DELETING)
    (small / "optimizer.pt").unlink()
    (outcome,) = carry_out(plan, DELETING, KEYS)
    assert (outcome.done, "not there" in outcome.reason) == ("left", True)


def test_file_that_became_a_link_is_left_with_its_target(small: Path, tmp_path: Path) -> None:
    plan = planned(small, DELETING)
    target = tmp_path / "target"
    (small / "optimizer.pt").rename(target)
    (small / "optimizer.pt").symlink_to(target)
    (outcome,) = carry_out(plan, DELETING, KEYS)
    assert outcome.done == "left"
    assert target.exists()


def test_folder_that_became_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    write_folder(run, {"s-state/optimizer.bin": (b"x", None)})
    plan = planned(run, DELETING)
    (run / "s-state").rename(tmp_path / "moved")
    (run / "s-state").symlink_to(tmp_path / "moved")
    (outcome,) = carry_out(plan, DELETING, KEYS)
    assert outcome.done == "left"
    assert (tmp_path / "moved" / "optimizer.bin").exists()
    stamp = Stamp.of((tmp_path / "moved" / "optimizer.bin").stat())
    with pytest.raises(SourceRefusedError):
        remove_exactly(run, PurePosixPath("s-state/optimizer.bin"), stamp)


def test_file_that_is_open_for_writing_is_left(small: Path) -> None:
    plan = planned(small, DELETING)
    with (small / "optimizer.pt").open("r+b"):
        (outcome,) = carry_out(plan, DELETING, KEYS)
    assert (outcome.done, "writing" in outcome.reason) == ("left", True)
    assert (small / "optimizer.pt").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_that_may_not_be_read_is_left(small: Path) -> None:
    (small / "optimizer.pt").chmod(0)
    (outcome,) = tidied(small, DELETING)
    assert outcome.done == "left"


def test_one_file_that_fails_does_not_stop_the_others(small: Path) -> None:
    (small / "scheduler.pt").write_bytes(b"x")
    plan = planned(small, DELETING)
    (small / "optimizer.pt").unlink()
    assert [outcome.done for outcome in carry_out(plan, DELETING, KEYS)] == ["left", "deleted"]


def test_removal_of_something_else_is_refused(small: Path) -> None:
    stamp = Stamp.of((small / "kiki.safetensors").stat())
    with pytest.raises(SourceChangedError):
        remove_exactly(small, PurePosixPath("optimizer.pt"), stamp)
    for gone in ("none", "no/folder"):
        with pytest.raises(SourceVanishedError):
            remove_exactly(small, PurePosixPath(gone), stamp)
    assert not remove_emptied(small, PurePosixPath())


# --- sealing


@pytest.mark.parametrize("keys", [KEYS, PUBLIC])
def test_sealed_copy_opens_to_the_same_bytes_and_is_for_its_owner_alone(
    small: Path, keys: SealKeys
) -> None:
    plain = (small / "optimizer.pt").read_bytes()
    (outcome,) = tidied(small, SEALING, keys)
    assert outcome.done == "sealed"
    sealed = small / "optimizer.pt.age"
    assert opened(sealed) == plain
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert not (small / "optimizer.pt").exists()


def test_empty_file_can_be_sealed(small: Path) -> None:
    (small / "optimizer.pt").write_bytes(b"")
    assert [outcome.done for outcome in tidied(small, SEALING)] == ["sealed"]
    assert opened(small / "optimizer.pt.age") == b""


def test_older_sealed_copy_is_never_replaced(small: Path) -> None:
    older = seal_bytes(b"moments" * 99 + b"another", [ME.recipient()])
    (small / "optimizer.pt.age").write_bytes(older)
    (small / "optimizer.pt.2.age").symlink_to("nowhere")
    tidied(small, SEALING)
    assert (small / "optimizer.pt.age").read_bytes() == older
    assert opened(small / "optimizer.pt.3.age") == b"moments" * 100


def test_copy_of_a_killed_run_is_found_again(small: Path) -> None:
    copy = seal_bytes(b"moments" * 100, [ME.recipient()])
    (small / "optimizer.pt.age").write_bytes(copy)
    (small / ".optimizer.pt.age.0123456789ab.part").write_bytes(copy[:50])
    (small / ".optimizer.ptx.age.0123456789ab.part").write_bytes(b"another's")
    tidied(small, SEALING)
    assert sorted(path.name for path in small.iterdir()) == [
        ".optimizer.ptx.age.0123456789ab.part", "kiki.safetensors", "optimizer.pt.age",
    ]  # fmt: skip
    assert (small / "optimizer.pt.age").read_bytes() == copy


def test_second_run_finds_nothing_to_do(run: Path) -> None:
    write_folder(run, FOLDERS[Trainer.LLAMA_FACTORY])
    policy = TidyPolicy({**EVERYTHING, Category.TRAINING_LOG: Action.REDACT})
    assert tidied(run, policy)
    before = state_of(run)
    assert tidied(run, policy) == ()
    assert state_of(run) == before


@pytest.mark.parametrize("keys", [KEYS, PUBLIC])
def test_copy_that_the_disk_gives_back_wrong_costs_nothing(
    small: Path, keys: SealKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = durable.PendingFile.commit

    def damaging(pending: durable.PendingFile, target: Path) -> None:
        real(pending, target)
        data = bytearray(target.read_bytes())
        data[-1] ^= 1
        target.write_bytes(data)

    monkeypatch.setattr(durable.PendingFile, "commit", damaging)
    (outcome,) = tidied(small, SEALING, keys)
    assert outcome.done == "left"
    assert sorted(path.name for path in small.iterdir()) == ["kiki.safetensors", "optimizer.pt"]


def test_full_disk_costs_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealed_beside, "seal", full)
    (outcome,) = tidied(small, SEALING)
    assert (outcome.done, "no space left" in outcome.reason) == ("left", True)
    assert sorted(path.name for path in small.iterdir()) == ["kiki.safetensors", "optimizer.pt"]


# --- redacting


def test_redacted_log_is_a_trend_and_a_sealed_original(run: Path) -> None:
    write_folder(run, FOLDERS[Trainer.AI_TOOLKIT])
    (outcome,) = tidied(run, REDACTING)
    assert outcome.done == "redacted"
    body = json.loads((run / "job/loss_log.db.trend.json").read_bytes())
    assert body["schema"] == "loraseal/trend.v1"
    assert opened(run / "job/loss_log.db.age") == loss_database()
    assert not (run / "job/loss_log.db").exists()


@pytest.mark.parametrize("trainer", Trainer)
def test_no_secret_of_a_log_stays_in_clear(trainer: Trainer, run: Path) -> None:
    listed = FOLDERS[trainer]
    write_folder(run, listed)
    tidied(run, REDACTING)
    for path in run.rglob("*.trend.json"):
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS)
    logs = {name for name, kind in by_products_of(listed).items() if kind is Category.TRAINING_LOG}
    assert not any((run / name).exists() for name in logs)
    others = by_products_of(listed).keys() - logs
    assert all((run / name).exists() for name in others)


def test_log_without_a_trend_is_sealed_and_never_deleted(run: Path) -> None:
    write_lora(run / "kiki.safetensors")
    (run / "running_log.txt").write_bytes(b"epoch 1")
    (run / "trainer_state.json").write_bytes(b"not json")
    deleting = TidyPolicy(REDACTING.actions, redacted_originals=Action.DELETE)
    plan = planned(run, deleting)
    assert (
        "nothing is deleted" in {str(s.product.path): s.held for s in plan.steps}["running_log.txt"]
    )
    (outcome,) = carry_out(plan, deleting, None)
    assert (outcome.done, "cannot be read" in outcome.reason) == ("left", True)
    assert (run / "trainer_state.json").exists()
    assert [outcome.done for outcome in tidied(run, REDACTING)] == ["sealed", "sealed"]
    assert opened(run / "trainer_state.json.age") == b"not json"


def test_database_with_rows_outside_of_it_is_sealed_whole(run: Path) -> None:
    write_folder(run, FOLDERS[Trainer.AI_TOOLKIT])
    (run / "job/loss_log.db-wal").write_bytes(b"newest rows")
    assert {outcome.done for outcome in tidied(run, REDACTING)} == {"sealed"}
    assert not (run / "job/loss_log.db.trend.json").exists()


def test_newer_log_does_not_replace_the_trend_of_an_older_one(run: Path) -> None:
    write_folder(run, {"x/loss_log.db": (loss_database(64), None)})
    tidied(run, REDACTING)
    write_folder(run, {"x/loss_log.db": (loss_database(128), None)})
    tidied(run, REDACTING)
    trends = sorted(path.name for path in run.rglob("*.trend.json"))
    assert trends == ["loss_log.db.2.trend.json", "loss_log.db.trend.json"]


def test_same_bytes_are_written_once(tmp_path: Path) -> None:
    names = {write_beside(tmp_path / "a", data, ".x").name for data in (b"1", b"1", b"2", b"2")}
    assert names == {"a.x", "a.2.x"}


# --- deleting


def test_deleted_file_is_gone_and_its_hard_links_are_counted(small: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").hardlink_to(small / "optimizer.pt")
    (outcome,) = tidied(small, DELETING)
    assert (outcome.done, outcome.links) == ("deleted", 1)
    assert (tmp_path / "elsewhere").exists()


def test_both_names_of_one_file_are_removed_in_one_run(small: Path) -> None:
    (small / "scheduler.pt").hardlink_to(small / "optimizer.pt")
    outcomes = tidied(small, DELETING)
    assert [(outcome.done, outcome.links) for outcome in outcomes] == [
        ("deleted", 1),
        ("deleted", 0),
    ]


def test_folder_whose_name_tells_goes_with_its_last_file(run: Path) -> None:
    write_folder(run, FOLDERS[Trainer.ONE_TRAINER])
    (run / "samples/kept.md").write_bytes(b"x")
    tidied(run, DELETING)
    assert [path.name for path in (run / "samples").iterdir()] == ["kept.md"]
    assert (run / "config").is_dir()


def test_nothing_outside_of_the_folder_is_touched(run: Path, tmp_path: Path) -> None:
    outside = write_folder(tmp_path / "outside", FOLDERS[Trainer.TRANSFORMERS])
    write_folder(run, FOLDERS[Trainer.TRANSFORMERS])
    (run / "checkpoint-40").symlink_to(outside / "checkpoint-20")
    before = state_of(outside)
    tidied(run, DELETING)
    assert state_of(outside) == before


def test_digest_of_what_is_sealed_stands_nowhere_in_clear(small: Path) -> None:
    """Who guesses a file could tell by its digest that it was there."""
    digest = hashlib.sha256((small / "optimizer.pt").read_bytes()).hexdigest()
    tidied(small, SEALING)
    assert all(digest.encode() not in path.read_bytes() for path in small.iterdir())
