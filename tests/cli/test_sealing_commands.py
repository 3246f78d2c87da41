"""`loraseal seal`: exit codes, hints, JSON, and files that age opens."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.cli.sealing_commands import seal_command
from registry.sealing.identities import ScryptIdentity, X25519Identity
from registry.sealing.seal import open_bytes

ME, YOU = X25519Identity.generate(), X25519Identity.generate()
DATA = b"weights" * 1000


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(DATA)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(seal_command, [str(argument) for argument in arguments])


def test_no_recipient_exits_2(plain: Path) -> None:
    result = run(plain, "-o", plain.with_suffix(".age"))
    assert result.exit_code == 2
    assert "no recipient" in result.stderr
    assert "what to do" in result.stderr


def test_secret_key_given_as_recipient_is_refused_unseen(plain: Path) -> None:
    result = run(plain, "-r", ME.to_text(), "-o", plain.with_suffix(".age"))
    assert result.exit_code == 4
    assert ME.to_text()[16:30] not in result.output + result.stderr


@pytest.mark.parametrize("output", ["pipe", "."])
def test_output_that_is_no_place_for_a_file_exits_2_and_stays(
    plain: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename over a device or pipe would take it away from everybody else."""
    monkeypatch.chdir(plain.parent)
    os.mkfifo("pipe")
    result = run(plain, "-r", ME.recipient(), "-o", output)
    assert result.exit_code == 2
    assert "what to do" in result.stderr
    assert Path("pipe").is_fifo()


def test_passphrase_beside_a_recipient_exits_2(plain: Path, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("a phrase\n", encoding="ascii")
    output = plain.with_suffix(".age")
    result = run(plain, "-r", ME.recipient(), "--passphrase-file", phrase, "-o", output)
    assert result.exit_code == 2
    assert not output.exists()


def test_missing_files_are_named(plain: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "nothing", "-r", ME.recipient(), "-o", tmp_path / "o.age")
    assert result.exit_code == 3
    assert "nothing" in result.stderr
    result = run(plain, "-R", tmp_path / "nobody", "-o", tmp_path / "o.age")
    assert result.exit_code == 2
    assert "nobody" in result.stderr


def test_error_is_json_when_asked(plain: Path) -> None:
    result = run(plain, "-o", plain.with_suffix(".age"), "--json")
    assert json.loads(result.stdout)["exit"] == 2


def test_all_recipients_of_options_and_files_open_it(plain: Path, tmp_path: Path) -> None:
    listed, output = tmp_path / "team.txt", plain.with_suffix(".age")
    listed.write_text(f"# team\n{YOU.recipient()}\n", encoding="ascii")
    result = run(plain, "-r", ME.recipient(), "-R", listed, "-o", output, "--json")
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert (body["schema"], body["recipients"], body["form"]) == ("loraseal/seal.v1", 2, "raw")
    assert body["bytes"] == output.stat().st_size
    for identity in (ME, YOU):
        assert open_bytes(output.read_bytes(), [identity], max_bytes=10**6) == DATA


def test_passphrase_file_seals_under_its_line(plain: Path, tmp_path: Path) -> None:
    phrase, output = tmp_path / "phrase", plain.with_suffix(".age")
    phrase.write_text("a phrase\n", encoding="ascii")
    assert run(plain, "--passphrase-file", phrase, "-o", output).exit_code == 0
    identity = ScryptIdentity(b"a phrase")
    assert open_bytes(output.read_bytes(), [identity], max_bytes=10**6) == DATA


def test_link_that_a_person_names_is_followed(plain: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(plain)
    result = run(link, "-r", ME.recipient(), "-o", tmp_path / "o.age")
    assert result.exit_code == 0
    assert "opens for 1 recipient;" in result.stdout


def test_age_opens_armored_output(
    plain: Path, tmp_path: Path, oracle: Callable[[str], str]
) -> None:
    key, output = tmp_path / "key", tmp_path / "o.age"
    key.write_text(ME.to_text(), encoding="ascii")
    assert run(plain, "-r", ME.recipient(), "-a", "-o", output).exit_code == 0
    opened = subprocess.run(
        [oracle("age"), "-d", "-i", key, output], capture_output=True, check=True
    )
    assert opened.stdout == DATA
