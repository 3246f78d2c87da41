"""`loraseal convert`: what people see, and what is on the disk afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli.root import loraseal
from registry.conversion import scanning
from tests.conversion.building import program, state_dict, tensor, text, torch_zip
from tests.conversion.evasions import EVASIONS
from tests.conversion.layers import converted

pytest.importorskip("picklescan")


@pytest.fixture
def pickle_file(tmp_path: Path) -> Path:
    path = tmp_path / "lora.pt"
    path.write_bytes(torch_zip())
    return path


def _convert(*arguments: object) -> Result:
    return CliRunner().invoke(loraseal, ["convert", *map(str, arguments)])


def test_it_never_runs_without_a_name_for_the_result(pickle_file: Path) -> None:
    done = _convert(pickle_file)
    assert done.exit_code == 2
    assert "-o" in done.stderr
    assert list(pickle_file.parent.iterdir()) == [pickle_file]


def test_a_result_that_exists_is_not_replaced(pickle_file: Path) -> None:
    out = pickle_file.with_suffix(".safetensors")
    out.write_bytes(b"mine")
    assert _convert(pickle_file, "-o", out).exit_code == 2
    assert out.read_bytes() == b"mine"


def test_an_attack_exits_4_with_the_reason_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(EVASIONS["call-os.system"])
    done = _convert(path, "-o", tmp_path / "out.safetensors", "--json")
    assert done.exit_code == 4
    error = json.loads(done.stdout)
    assert error["error"] == "PickleRefusedError"
    assert "os.system" in error["message"]
    assert "nothing in it was run" in error["hint"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_exits_3(tmp_path: Path) -> None:
    assert _convert(tmp_path / "none.pt", "-o", tmp_path / "out.safetensors").exit_code == 3


def test_without_picklescan_it_says_what_to_install(
    pickle_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_PACKAGE", "picklescan_that_is_not_here")
    done = _convert(pickle_file, "-o", pickle_file.with_suffix(".safetensors"))
    assert done.exit_code == 1
    assert "loraseal[host]" in done.stderr


def test_counts_and_both_digests_are_printed(pickle_file: Path) -> None:
    out = pickle_file.with_suffix(".safetensors")
    done = _convert(pickle_file, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert out.read_bytes() == converted(torch_zip())
    assert "1 tensors" in done.stdout
    for path in (pickle_file, out):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in done.stdout


def test_json_holds_the_same_and_names_what_was_left_out(tmp_path: Path) -> None:
    inner = text("state_dict") + b"}" + text("w") + tensor() + b"s"
    path, out = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    path.write_bytes(torch_zip(program(state_dict(inner + text("epoch") + b"K\x07"))))
    done = _convert(path, "-o", out, "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == "loraseal/convert.v1"
    assert (found["unwrapped"], found["dropped"], found["tensors"]) == ("state_dict", ["epoch"], 1)
    assert found["converted_sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert "left out" in _convert(path, "-o", tmp_path / "b.safetensors").stdout
