"""`loraseal audit`: exit codes and output, on real files and in a real child."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
from click.testing import CliRunner

from registry.audits.catalog import DEFAULT_RULES
from registry.cli.auditing import audit_command

pytest.importorskip("torch")

PLACE = "lora_unet_down_blocks_{}_attentions_0_proj_in"


def _adapter(modules=10, *, dead=0, poison=False, peft=False):
    header: dict[str, object] = {}
    body = b""
    names = ("lora_A", "lora_B") if peft else ("lora_down", "lora_up")
    for number in range(modules):
        for role, shape in zip(names, ((4, 16), (12, 4)), strict=True):
            place = PLACE.format(number) if not peft else f"base_model.model.layers.{number}.q_proj"
            values = [((5 * i * i + number) % 97 - 48) / 400 for i in range(shape[0] * shape[1])]
            if role == names[1] and number < dead:
                values = [0.0] * len(values)
            if poison and number == 0:
                values[3] = float("nan")
            content = struct.pack(f"<{len(values)}f", *values)
            header[f"{place}.{role}.weight"] = {
                "dtype": "F32",
                "shape": list(shape),
                "data_offsets": [len(body), len(body) + len(content)],
            }
            body += content
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + body


def _audit(path, *options):
    result = CliRunner().invoke(audit_command, [str(path), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"dead": 2}, 8), ({"poison": True}, 7)])
def test_the_exit_code_is_that_of_the_worst_verdict(tmp_path, changes, code):
    path = tmp_path / "a.safetensors"
    path.write_bytes(_adapter(**changes))
    result = _audit(path, "--json")
    assert result.exit_code == code
    value = json.loads(result.stdout)
    assert value["schema"] == "loraseal/audit.v1"
    assert value["exit"] == code
    assert [report["rule"] for report in value["reports"]] == list(DEFAULT_RULES)


@pytest.mark.parametrize("damage", ["cut", "pickle"])
def test_a_broken_file_exits_4_and_says_what_to_do(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    good = _adapter()
    path.write_bytes(
        {"cut": good[:-5], "pickle": b"\x80\x02}q\x00.", "empty": b"", "trailing": good + b"x"}[
            damage
        ]
    )
    result = _audit(path)
    assert result.exit_code == 4
    assert "what to do" in result.stderr


def test_a_file_that_is_not_there_exits_3(tmp_path):
    assert _audit(tmp_path / "none.safetensors").exit_code == 3


def test_a_link_that_a_person_names_is_followed_and_one_in_a_folder_is_not(tmp_path):
    """A model cache holds links to files that are named by their digest."""
    blob, folder = tmp_path / "0ab1", tmp_path / "snapshot"
    blob.write_bytes(_adapter())
    folder.mkdir()
    (folder / "adapter_model.safetensors").symlink_to(blob)
    assert _audit(folder / "adapter_model.safetensors").exit_code == 0
    assert _audit(folder).exit_code == 4


def test_an_unknown_rule_is_a_usage_error(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(_adapter())
    result = _audit(path, "--rule", "no_such")
    assert result.exit_code == 2
    assert "known audits" in result.stderr


def test_a_peft_folder_is_audited_with_its_config(tmp_path):
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_model.safetensors").write_bytes(_adapter(peft=True))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02.")
    assert _audit(tmp_path).exit_code == 0
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    result = _audit(tmp_path)
    assert result.exit_code == 7
    assert "adapter_config.json says 8" in result.stdout


def test_a_folder_without_weights_is_refused(tmp_path):
    result = _audit(tmp_path)
    assert result.exit_code == 4
    assert "adapter_model.safetensors" in result.stderr


@pytest.mark.parametrize(("lang", "word"), [("en", "Verdicts"), ("zh", "判定")])
def test_a_page_is_written_for_its_owner_only_and_the_exit_code_stays(tmp_path, lang, word):
    path, page = tmp_path / "a.safetensors", tmp_path / "out.html"
    path.write_bytes(_adapter(dead=2))
    result = _audit(path, "--report", str(page), "--lang", lang, "--json")
    assert result.exit_code == 8
    assert json.loads(result.stdout)["verdict"] == "review"
    text = page.read_text("utf-8")
    assert page.stat().st_mode & 0o777 == 0o600
    assert word in text
    assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" in text
    assert PLACE.format(0) in text
    assert 'class="heat"' in text  # the numbers came back from the child


def test_a_page_that_is_there_already_is_not_replaced(tmp_path):
    path, page = tmp_path / "a.safetensors", tmp_path / "out.html"
    path.write_bytes(_adapter())
    page.write_text("of yesterday")
    assert _audit(path, "--report", str(page)).exit_code == 2
    assert page.read_text() == "of yesterday"


def test_a_broken_file_has_a_page_too(tmp_path):
    path, page = tmp_path / "a.safetensors", tmp_path / "out.html"
    path.write_bytes(_adapter()[:-5])
    assert _audit(path, "--report", str(page), "--lang", "zh").exit_code == 4
    assert "文件被截断" in page.read_text("utf-8")


def test_the_page_of_a_folder_names_the_digest_of_each_file(tmp_path):
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    folder, page = tmp_path / "adapter", tmp_path / "out.html"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(_adapter(peft=True))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert _audit(folder, "--report", str(page)).exit_code == 0
    text = page.read_text("utf-8")
    for file in folder.iterdir():
        assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" in text


def test_the_words_promise_no_more_than_was_seen(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(_adapter())
    output = _audit(path, "--rule", "structure").stdout
    assert "do not show that an adapter is harmless" in output
    assert "backdoor" not in output
    assert "safe" not in output.replace("safetensors", "")
