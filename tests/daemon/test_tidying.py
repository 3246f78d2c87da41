"""Tidying on a host: policy from the settings, what the ledger is told, and what is refused."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.custody.tidying import field_name, policy_of, refuse_own_state, seal_keys, tidy
from daemon.settings import TidySettings, load_settings
from registry.artifacts.byproducts.looking import look_at
from registry.artifacts.byproducts.names import Category, Trainer
from registry.artifacts.byproducts.tidying import Action, Outcome, TidyPolicy, plan_tidying
from registry.errors import BusyError, FormatError, LorasealError, UsageError
from registry.sealing.identities import X25519Identity
from registry.settings import RegistryPaths, load_paths
from tests.artifacts.trainer_folders import FOLDERS, SECRETS, write_folder
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import sql

POLICY = TidyPolicy(
    {Category.TRAINING_LOG: Action.REDACT, Category.OPTIMIZER_STATE: Action.DELETE},
    settle_seconds=0,
    quiet_seconds=0,
)
DAY_NS = 86_400 * 10**9


@pytest.fixture
def paths(fresh: Registry) -> RegistryPaths:
    return load_paths(fresh.settings)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "run", FOLDERS[Trainer.AI_TOOLKIT])


def later(run: Path) -> int:
    return max(path.lstat().st_ctime_ns for path in run.rglob("*")) + DAY_NS


def done(
    run: Path, paths: RegistryPaths | None, policy: TidyPolicy = POLICY
) -> tuple[Outcome, ...]:
    plan = plan_tidying(look_at(run), policy, later(run))
    return tidy(plan, policy, seal_keys(TidySettings(), paths), paths)


def events(fresh: Registry) -> list[tuple[object, ...]]:
    query = "select kind, detail from reg_event where kind like 'tidy%' or kind like 'byproducts%' order by id"
    return sql(fresh, query)


# --- settings


def test_every_class_has_a_setting_and_all_of_them_keep() -> None:
    policy = policy_of(TidySettings())
    assert set(policy.actions.values()) == {Action.KEEP}
    assert set(policy.actions) == set(Category) - {Category.TRAINING_DATA}
    assert (policy.redacted_originals, policy.least_records) == (Action.SEAL, 8)


@pytest.mark.parametrize("category", sorted(set(Category) - {Category.TRAINING_DATA}))
def test_setting_of_a_class_is_its_action(category: Category) -> None:
    policy = policy_of(TidySettings.model_validate({field_name(category): "delete"}))
    assert policy.action_for(category) is Action.DELETE
    assert sum(action is Action.DELETE for action in policy.actions.values()) == 1


@pytest.mark.parametrize(
    "line",
    ['optimizer_state = "redact"', 'training_data = "delete"', 'gradients = "burn"', "least_records = 1",
     'redacted_originals = "keep"', "settle_seconds = -1"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(fresh: Registry, line: str) -> None:
    with fresh.settings.open("a") as file:
        file.write(f"\n[tidy]\n{line}\n")
    with pytest.raises(UsageError, match="tidy"):
        load_settings(fresh.settings)


def test_keys_are_the_registrys_unless_the_settings_name_a_recipient(paths: RegistryPaths) -> None:
    other = str(X25519Identity.generate().recipient())
    own, named = seal_keys(TidySettings(), paths), seal_keys(TidySettings(recipient=other), paths)
    assert own is not None
    assert own.identity is not None
    assert named is not None
    assert (str(named.recipient), named.identity) == (other, None)
    assert seal_keys(TidySettings(), None) is None
    with pytest.raises(FormatError):
        seal_keys(TidySettings(recipient="nobody"), paths)


# --- refusals


def test_restless_folder_is_not_touched(run: Path, paths: RegistryPaths, fresh: Registry) -> None:
    policy = replace(POLICY, quiet_seconds=60)
    plan = plan_tidying(look_at(run), policy, later(run) - DAY_NS + 10**9)
    assert plan.acting
    with pytest.raises(BusyError, match="changed within 60 s"):
        tidy(plan, policy, seal_keys(TidySettings(), paths), paths)
    assert (run / "job/optimizer.pt").exists()
    assert events(fresh) == []


def test_two_at_once_are_refused(run: Path, paths: RegistryPaths) -> None:
    with (paths.state / "tidy.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another tidying"):
            done(run, paths)
    assert (run / "job/optimizer.pt").exists()


def test_registrys_own_state_is_refused(paths: RegistryPaths, tmp_path: Path) -> None:
    for folder in (paths.state, paths.state.parent, paths.keys, paths.state / "vault"):
        with pytest.raises(UsageError, match="own state"):
            refuse_own_state(folder, paths)
    link = tmp_path / "link"
    link.symlink_to(paths.keys)
    with pytest.raises(UsageError, match="own state"):
        refuse_own_state(link, paths)
    refuse_own_state(tmp_path / "elsewhere", paths)
    refuse_own_state(paths.state, None)


# --- what the ledger is told


def test_events_have_counts_and_bytes_and_no_name(
    run: Path, paths: RegistryPaths, fresh: Registry
) -> None:
    size = (run / "job/optimizer.pt").stat().st_size
    log = (run / "job/loss_log.db").stat().st_size
    assert {outcome.done for outcome in done(run, paths)} == {"redacted", "deleted"}
    told = events(fresh)
    assert told == [
        ("tidy started", "optimizer-state: delete 1; training-log: redact 1"),
        ("byproducts deleted", f"optimizer-state: 1 files, {size} bytes"),
        ("byproducts redacted", f"training-log: 1 files, {log} bytes"),
    ]
    words = str(told)
    assert not any(word in words for word in (*SECRETS, "job", str(run), "loss_log"))


def test_what_was_done_before_an_end_is_told(
    run: Path, paths: RegistryPaths, fresh: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("registry.artifacts.byproducts.tidying.remove_emptied", interrupted)
    monkeypatch.setattr("registry.artifacts.byproducts.tidying.seal_beside", interrupted)
    policy = replace(POLICY, actions={**POLICY.actions, Category.TRAINING_CONFIG: Action.DELETE})
    with pytest.raises(KeyboardInterrupt):
        done(run, paths, policy)
    assert [kind for kind, _ in events(fresh)] == ["tidy started", "byproducts deleted"]


def test_without_a_registry_nothing_is_recorded_and_deleting_works(run: Path) -> None:
    policy = replace(POLICY, actions={Category.OPTIMIZER_STATE: Action.DELETE})
    assert [outcome.done for outcome in done(run, None, policy)] == ["deleted"]
    with pytest.raises(UsageError, match="nobody to seal to"):
        done(run, None, replace(POLICY, actions={Category.TRAINING_LOG: Action.SEAL}))


def test_ledger_that_cannot_be_told_stops_before_the_first_file(
    run: Path, paths: RegistryPaths
) -> None:
    paths.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(LorasealError):
        done(run, paths)
    assert (run / "job/optimizer.pt").exists()
