"""`loraseal base`: caches of base models, added, listed and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli.bases import base
from registry.formats.safetensors import dump_header, lay_out

pytest.importorskip("torch")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "loraseal.toml"
    state = json.dumps(str(tmp_path / "state"))
    path.write_text(f'registry = "studio.example"\nstate = {state}\n')
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tensors = lay_out([(f"blocks.{n}.to_q.weight", "F32", (6, 4)) for n in range(3)])
    body = b"".join(bytes([1, 2, 3, 60 + n % 2]) * 24 for n, _ in enumerate(tensors))
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump_header(tensors, []) + body)
    return path


def _run(settings: Path, *words: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(base, [*words, "--config", str(settings), "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "UPPER"])
def test_a_name_that_leads_elsewhere_is_refused(settings: Path, model: Path, name: str) -> None:
    code, answer = _run(settings, "add", str(model), "--name", name)
    assert (code, answer["error"]) == (2, "UsageError")
    assert not (settings.parent / "state").exists()


def test_a_missing_model_is_refused_and_nothing_is_stored(settings: Path, tmp_path: Path) -> None:
    code, _ = _run(settings, "add", str(tmp_path / "none.safetensors"), "--name", "sd15")
    assert code == 3
    assert list((tmp_path / "state" / "bases").iterdir()) == []


def test_what_is_no_model_is_refused(settings: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"PK\x03\x04 not a model")
    assert _run(settings, "add", str(path), "--name", "sd15")[0] == 4


def test_removing_what_is_not_there_is_refused(settings: Path) -> None:
    assert _run(settings, "remove", "sd15")[0] == 3


def test_nothing_is_listed_before_anything_was_added(settings: Path) -> None:
    assert _run(settings, "list") == (0, {"schema": "loraseal/base-list.v1", "bases": []})


def test_a_base_is_added_listed_replaced_and_removed(settings: Path, model: Path) -> None:
    code, added = _run(settings, "add", str(model), "--name", "sd15")
    assert code == 0
    assert (added["parts"], added["skipped"]) == (3, 0)
    stored = settings.parent / "state" / "bases" / "sd15.safetensors"
    assert stored.stat().st_size == added["bytes"]
    assert stored.stat().st_mode & 0o777 == 0o600
    assert _run(settings, "add", str(model), "--name", "sd15")[0] == 2
    assert _run(settings, "add", str(model), "--name", "sd15", "--replace")[0] == 0
    _, listed = _run(settings, "list")
    [one] = listed["bases"]
    assert (one["name"], one["cache"]["parts"]) == ("sd15", 3)
    assert _run(settings, "remove", "sd15")[0] == 0
    assert not stored.exists()


def test_people_are_told_size_and_time(settings: Path, model: Path) -> None:
    words = ["add", str(model), "--name", "sd15", "--config", str(settings)]
    done = CliRunner().invoke(base, words)
    assert done.exit_code == 0
    assert "3 weights in" in done.stdout
    assert "times the base" in done.stdout
    shown = CliRunner().invoke(base, ["list", "--config", str(settings)])
    assert shown.stdout.startswith("sd15 ")
