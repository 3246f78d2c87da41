from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli.inspecting import inspect_command
from registry.formats.safetensors import dump_header, lay_out

ADAPTER = {"lora_unet_x.lora_down.weight": (4, 8), "lora_unet_x.lora_up.weight": (8, 4)}


def write(
    path: Path, tensors: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None
) -> Path:
    found = lay_out((name, "F16", shape) for name, shape in tensors.items())
    path.write_bytes(dump_header(found, (metadata or {}).items()) + b"\x01" * found[-1].end)
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(inspect_command, arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_file_exits_4_and_says_why(tmp_path: Path, as_json: bool) -> None:
    path = write(tmp_path / "a.safetensors", ADAPTER)
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = run(str(path), *(["--json"] if as_json else []))
    assert code == 4
    assert "cut off" in out
    assert "what" not in out or as_json


def test_a_broken_adapter_exits_4_and_is_not_called_an_adapter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"lora_unet_x.lora_down.weight": (4, 8)})
    code, out, _ = run(str(path))
    assert code == 4
    assert "a broken adapter" in out
    assert "down without up" in out


def test_a_missing_file_exits_3(tmp_path: Path) -> None:
    code, out, err = run(str(tmp_path / "gone"), "--json")
    assert code == 3
    assert json.loads(out)["schema"] == "loraseal/error.v1"
    assert "what to do" in err


def test_another_kind_exits_0_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"emb_params": (8, 768)})
    code, out, _ = run(str(path))
    assert code == 0
    assert "not an adapter, kind textual-inversion" in out


def test_an_adapter_is_shown_as_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", ADAPTER, {"ss_output_name": "alice"})
    code, out, err = run(str(path))
    assert (code, err) == (0, "")
    assert "an adapter" in out
    assert "rank        4" in out
    assert "ss_output_name (high)" in out
    assert "alice" not in out


def test_json_is_one_object_of_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", ADAPTER)
    code, out, _ = run(str(path), "--json", "--check-hash")
    assert code == 0
    found = json.loads(out)
    assert (found["schema"], found["kind"], found["rank"]) == ("loraseal/inspect.v1", "adapter", 4)


def test_names_that_steer_a_terminal_are_not_printed_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a\x1b[2J.safetensors", ADAPTER)
    _, out, _ = run(str(path))
    assert "\x1b" not in out


def test_a_link_that_a_person_names_is_followed(tmp_path: Path) -> None:
    blob = write(tmp_path / "0ab1", ADAPTER)
    link = tmp_path / "a.safetensors"
    link.symlink_to(blob)
    code, out, _ = run(str(link))
    assert code == 0
    assert out.startswith(f"{link}: an adapter")
