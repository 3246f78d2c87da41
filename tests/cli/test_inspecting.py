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
    assert "ss_output_name (high, output-name): " in out
    assert "-> " in out
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


def test_modules_are_listed_with_their_scales(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {**ADAPTER, "lora_unet_x.alpha": ()})
    code, out, _ = run(str(path), "--modules")
    assert code == 0
    table = [line.split() for line in out.splitlines()]
    assert ["module", "method", "rank", "alpha", "scale", "source"] in table
    assert any(row[:3] == ["lora_unet_x", "lora", "4"] and row[-1] == "tensors" for row in table)


def test_json_lists_modules_only_if_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", ADAPTER)
    found = json.loads(run(str(path), "--json", "--modules")[1])
    assert found["module_scales"] == [
        {
            "module": "lora_unet_x",
            "method": "lora",
            "rank": 4,
            "alpha": None,
            "scale": 1.0,
            "source": "default",
        }
    ]
    assert found["scales"] == [{"scale": 1.0, "source": "default", "modules": 1}]
    assert (found["scale"], found["modules"]) == (1.0, 1)
    assert (found["base_guess"]["certain"], found["base_guess"]["candidates"]) == (False, [])
    assert "module_scales" not in json.loads(run(str(path), "--json")[1])


def test_a_guess_is_called_one(tmp_path: Path) -> None:
    block = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{block}.lora_down.weight": (4, 2048), f"{block}.lora_up.weight": (640, 4)}
    _, out, _ = run(str(write(tmp_path / "a.safetensors", tensors)))
    assert "made for    a guess: Stable Diffusion XL 1.0 or Pony" in out
    assert "scale       1 in 1 modules (default)" in out
    assert "scale unverified: guessed for 1 modules" in out


def test_what_was_merged_exits_4_and_says_what_it_means(tmp_path: Path) -> None:
    tensors = {"model.diffusion_model.x.weight": (8, 8), "first_stage_model.y.weight": (8, 8)}
    (tmp_path / "base").mkdir()
    clean = write(tmp_path / "base" / "base.safetensors", tensors)
    assert run(str(clean))[0] == 0
    merged = write(tmp_path / "base" / "a.safetensors", tensors, {"modelspec.merged_from": "alice"})
    code, out, _ = run(str(merged))
    assert code == 4
    assert "not an adapter, kind full-checkpoint" in out
    assert "a merge cannot be undone" in out
    assert "personal data" in out
    assert "alice" not in out
