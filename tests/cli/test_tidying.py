"""`loraseal tidy` from the command line: asks first, says what it did, and opens what it sealed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daemon.cli.root import loraseal
from registry.artifacts.byproducts.names import Trainer
from tests.artifacts.trainer_folders import (
    FOLDERS,
    adapters_of,
    by_products_of,
    loss_database,
    state_of,
    write_folder,
)
from tests.daemon.registry_on_disk import Registry

AT_ONCE = "\n[tidy]\nsettle_seconds = 0\nquiet_seconds = 0\n"
POLICY = AT_ONCE + 'training_log = "redact"\noptimizer_state = "delete"\nsample_image = "seal"\n'
LISTED = FOLDERS[Trainer.AI_TOOLKIT]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "run", LISTED)


def with_policy(registry: Registry, text: str) -> Registry:
    with registry.settings.open("a") as file:
        file.write(text)
    return registry


def asked(registry: Registry, *words: object, code: int = 0) -> dict[str, Any]:
    answer = registry.run("tidy", *words, "--config", registry.settings, "--json", code=code)
    body = json.loads(answer.stdout)
    assert isinstance(body, dict)
    return body


# --- refusals


@pytest.mark.parametrize("words", [("none",), ("run/job/job.safetensors",)])
def test_no_folder_is_said(fresh: Registry, run: Path, words: tuple[str]) -> None:
    code = 3 if words == ("none",) else 2
    body = asked(fresh, run.parent / words[0], code=code)
    assert body["schema"] == "loraseal/error.v1"


def test_script_must_say_yes(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    before = state_of(run)
    body = asked(fresh, run, code=2)
    assert "delete 1" in body["message"]
    assert "--yes" in body["hint"]
    assert state_of(run) == before


def test_folder_that_a_trainer_writes_to_is_refused(fresh: Registry, run: Path) -> None:
    with_policy(fresh, '\n[tidy]\noptimizer_state = "delete"\nsettle_seconds = 0\n')
    before = state_of(run)
    assert asked(fresh, run, "--yes", code=11)["error"] == "BusyError"
    assert state_of(run) == before
    assert asked(fresh, run, "--dry-run")["restless"] == len(LISTED)


def test_young_file_is_left_alone_and_the_answer_is_partly(fresh: Registry, run: Path) -> None:
    with_policy(
        fresh, '\n[tidy]\noptimizer_state = "delete"\nquiet_seconds = 0\nsettle_seconds = 9999\n'
    )
    body = asked(fresh, run, "--yes", code=14)
    assert body["done"] == {}
    assert {row["held"] for row in body["files"]} == {"still being written"}
    assert (run / "job/optimizer.pt").exists()


def test_own_state_is_refused(fresh: Registry) -> None:
    assert "own state" in asked(fresh, fresh.home, "--dry-run", code=2)["message"]


# --- looking


def test_dry_run_reports_every_class_and_changes_nothing(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    before = state_of(run)
    body = asked(fresh, run, "--dry-run")
    assert (body["schema"], body["dry_run"]) == ("loraseal/tidy.v1", True)
    assert body["layouts"] == ["ai-toolkit"]
    wanted = by_products_of(LISTED)
    assert {row["path"]: row["class"] for row in body["files"]} == wanted
    assert {row["class"] for row in body["classes"]} == set(wanted.values())
    assert all(row["leaks"] and row["why"] and row["what_to_do"] for row in body["classes"])
    sizes = sum((run / name).stat().st_size for name in wanted)
    assert body["total"] == {"files": len(wanted), "bytes": sizes}
    assert state_of(run) == before


def test_without_dry_run_the_default_policy_only_reports(fresh: Registry, run: Path) -> None:
    before = state_of(run)
    body = asked(fresh, run)
    assert (body["done"], body["dry_run"]) == ({}, False)
    assert {row["done"] for row in body["files"]} == {"kept"}
    assert state_of(run) == before


def test_looking_needs_no_registry(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.settings.SYSTEM_SETTINGS", tmp_path / "none.toml")
    answer = CliRunner(env={"XDG_CONFIG_HOME": str(tmp_path)}).invoke(
        loraseal, ["tidy", str(run), "--dry-run"]
    )
    assert answer.exit_code == 0, answer.output
    assert "optimizer-state" in answer.stdout
    assert "gradients of the last batches" in answer.stdout


def test_table_says_what_a_person_needs(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    (run / "elsewhere").symlink_to("/")
    (run / "weights.pth").write_bytes(b"x")
    text = fresh.run("tidy", run, "--dry-run", "--config", fresh.settings)
    assert "layouts: ai-toolkit" in text.stdout
    assert "only reported, 1 files: its name alone" in text.stdout
    assert "not looked at: 1 links" in text.stdout
    assert "frees its name, not its bytes" in text.stderr


def test_empty_folder_says_so(fresh: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = fresh.run("tidy", tmp_path / "empty", "--config", fresh.settings)
    assert answer.stdout.strip() == "nothing that training leaves behind was found"


# --- doing


def test_policy_is_carried_out_and_what_was_sealed_opens(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    own = adapters_of(LISTED)
    before = state_of(run, own)
    body = asked(fresh, run, "--yes")
    assert body["done"] == {"deleted": 1, "redacted": 1, "sealed": 1}
    assert state_of(run, own) == before
    assert not (run / "job/optimizer.pt").exists()
    assert json.loads((run / "job/loss_log.db.trend.json").read_bytes())["rows"]
    identity = fresh.home / "state" / "keys" / "vault-identity.txt"
    back = run / "back.db"
    fresh.run("open", run / "job/loss_log.db.age", "-i", identity, "-o", back)
    assert back.read_bytes() == loss_database()


def test_second_run_has_nothing_left_to_do(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    asked(fresh, run, "--yes")
    before = state_of(run)
    assert asked(fresh, run)["done"] == {}
    assert state_of(run) == before


def test_deed_is_in_the_log_without_a_name(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    asked(fresh, run, "--yes")
    answer = fresh.run("log", "--config", fresh.settings, "--json")
    said = [row for row in json.loads(answer.stdout)["events"] if "byproducts" in row["kind"]]
    assert {row["kind"] for row in said} == {
        "byproducts deleted", "byproducts redacted", "byproducts sealed",
    }  # fmt: skip
    assert "job" not in str(said)


def test_what_is_left_makes_the_answer_partly(fresh: Registry, run: Path) -> None:
    with_policy(fresh, POLICY)
    with (run / "job/optimizer.pt").open("r+b"):
        body = asked(fresh, run, "--yes", code=14)
    (left,) = [row for row in body["files"] if row["done"] == "left"]
    assert left["path"] == "job/optimizer.pt"
    assert "writing" in left["reason"]


def test_terminal_is_asked_and_no_means_no(
    fresh: Registry, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(fresh, POLICY)
    monkeypatch.setattr("daemon.cli.tidying._is_terminal", lambda: True)
    before = state_of(run)
    words = ["tidy", str(run), "--config", str(fresh.settings)]
    answer = CliRunner().invoke(loraseal, words, input="n\n")
    assert answer.exit_code == 1
    assert "delete 1, redact 1, seal 1 files" in answer.stderr
    assert state_of(run) == before
    assert CliRunner().invoke(loraseal, words, input="y\n").exit_code == 0
    assert not (run / "job/optimizer.pt").exists()


def test_hard_link_is_said(fresh: Registry, run: Path, tmp_path: Path) -> None:
    with_policy(fresh, POLICY)
    (tmp_path / "other").hardlink_to(run / "job/optimizer.pt")
    text = fresh.run("tidy", run, "--yes", "--config", fresh.settings).stdout
    assert "still there under 1 other names" in text
