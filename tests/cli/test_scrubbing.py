"""`loraseal scrub` and back: a diff, a new file, the original kept sealed, and never lost in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli.root import loraseal
from registry.sealing.identities import X25519Identity
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import sql
from tests.weights_files import lora_bytes

pytestmark = pytest.mark.xdist_group("lived")

NAME = "Mrs Example of Bergen"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(lora_bytes(metadata={"ss_output_name": NAME, "ss_network_dim": "4"}))
    return path


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(loraseal, ["scrub", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_without_a_place_for_the_original_nothing_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    found = run(source, "-o", tmp_path / "b.safetensors", code=2)
    assert "no ledger here" in found.output
    assert "--original FILE" in found.output
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "-o is missing"),
        (("-o", "b", "--original", "o.age"), "needs a recipient"),
        (("-o", "b", "--original", "o.age", "--forget-original"), "contradict"),
        (("-o", "b", "--restore", "--original", "o.age"), "no identity is given"),
    ],
)
def test_what_is_missing_is_named(source: Path, words: tuple[str, ...], said: str) -> None:
    assert said in run(source, *words, code=2).output


def test_dry_run_shows_the_diff_and_no_value(source: Path, tmp_path: Path) -> None:
    found = run(source, "--dry-run").output
    assert "dropped   ss_output_name" in found
    assert "memorised" in found
    assert NAME not in found
    assert NAME in run(source, "--dry-run", "--show-values").output
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_json_names_every_key_and_no_value(source: Path) -> None:
    found = run(source, "--dry-run", "--json").stdout
    body = json.loads(found)
    assert body["schema"] == "loraseal/scrub.v1"
    assert {row["key"]: row["action"] for row in body["changes"]} == {
        "ss_output_name": "dropped",
        "ss_network_dim": "kept",
    }
    assert NAME not in found


def test_original_in_a_sealed_file_and_back(source: Path, tmp_path: Path) -> None:
    me = X25519Identity.generate()
    key, kept = tmp_path / "key.txt", tmp_path / "original.age"
    key.write_text(me.to_text() + "\n")
    scrubbed, back = tmp_path / "b.safetensors", tmp_path / "c.safetensors"
    run(source, "-o", scrubbed, "--original", kept, "-r", me.recipient())
    assert NAME.encode() not in scrubbed.read_bytes() + kept.read_bytes()
    run("--restore", scrubbed, "-o", back, "--original", kept, "-i", key)
    assert back.read_bytes() == source.read_bytes()
    # The original is there once: a second scrub must not replace it.
    run(source, "-o", tmp_path / "d", "--original", kept, "-r", me.recipient(), code=2)


def test_original_in_the_ledger_is_sealed_and_comes_back(
    lived: Registry, source: Path, tmp_path: Path
) -> None:
    where = ("--config", lived.settings)
    scrubbed, back = tmp_path / "b.safetensors", tmp_path / "c.safetensors"
    assert "in the ledger" in run(source, "-o", scrubbed, *where).output
    (row,) = sql(lived, "select sealed_header, artifact_id from reg_header")
    assert NAME.encode() not in bytes(row[0])  # type: ignore[arg-type]
    body = json.loads(run("--restore", scrubbed, "-o", back, "--json", *where).stdout)
    assert body["schema"] == "loraseal/restore.v1"
    assert back.read_bytes() == source.read_bytes()


def test_two_originals_of_one_body_are_told_apart(
    lived: Registry, source: Path, tmp_path: Path
) -> None:
    where = ("--config", lived.settings)
    other = tmp_path / "other.safetensors"
    other.write_bytes(lora_bytes(metadata={"ss_output_name": "someone else"}))
    scrubbed, back = tmp_path / "b.safetensors", tmp_path / "c.safetensors"
    run(source, "-o", scrubbed, *where)
    run(other, "-o", tmp_path / "e.safetensors", *where)
    found = run("--restore", scrubbed, "-o", back, *where, code=3).output
    assert "2 original headers" in found
    digits = found.rpartition(": ")[0].rpartition("weights: ")[2]
    for each in digits.split("\n")[0].split(", "):
        run("--restore", scrubbed, "-o", tmp_path / each, "--sha256", each, *where)
        assert (tmp_path / each).read_bytes() in (source.read_bytes(), other.read_bytes())


def test_header_of_weights_that_were_never_scrubbed_is_not_found(
    lived: Registry, source: Path, tmp_path: Path
) -> None:
    found = run("--restore", source, "-o", tmp_path / "c", "--config", lived.settings, code=3)
    assert "no original header is kept" in found.output


def test_original_whose_subject_was_erased_is_kept_anew(
    lived: Registry, source: Path, tmp_path: Path
) -> None:
    where = ("--config", lived.settings)
    run(source, "-o", tmp_path / "b.safetensors", *where)
    sql(
        lived,
        "delete from reg_subject_key where subject_id in (select subject_id from reg_header)",
    )
    run(source, "-o", tmp_path / "c.safetensors", *where)
    run("--restore", tmp_path / "c.safetensors", "-o", tmp_path / "d", *where)
    assert (tmp_path / "d").read_bytes() == source.read_bytes()


def test_misspelt_key_is_refused_with_the_nearest_one(source: Path) -> None:
    found = run(source, "--dry-run", "--drop", "ss_output_nam", code=2).output
    assert "no key 'ss_output_nam'" in found
    assert "did you mean 'ss_output_name'" in found
