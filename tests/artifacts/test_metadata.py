from __future__ import annotations

import json
from typing import Any

import pytest

from registry.artifacts.metadata import (
    Sensitivity,
    base_model_of,
    find_leaks,
    leaks_of_config,
    leaks_of_files,
)
from registry.formats.adapter_config import parse_adapter_config
from tests.sheet import rows


def sensitivity(key: str, text: str = "x") -> str:
    found = find_leaks([(key, text)])
    return str(found[0].sensitivity) if found else "low"


def header_keys() -> list[dict[str, Any]]:
    return [row for row in rows("metadata_keys") if row["writer"] != "side files"]


@pytest.mark.parametrize("row", header_keys(), ids=lambda row: str(row["key"]))
def test_every_known_key_has_the_sensitivity_of_the_table(row: dict[str, Any]) -> None:
    assert sensitivity(row["key"].replace("*", "dropout_rate")) == row["sensitivity"]


@pytest.mark.parametrize(
    "key",
    [row["key"] for row in rows("metadata_keys") if row["writer"] == "side files"],
)
def test_every_known_side_file_is_a_leak(key: str) -> None:
    names = {
        "runs/*hostname*": None,  # a folder: only files of the adapter's own folder are looked at
        "samples/, sample/, validation_images/, image_*.png": "image_0.png",
        "optimizer.pt/.bin, scheduler.pt, rng_state*.pth, random_states_*.pkl": "random_states_0.pkl",
    }
    name = names.get(key, key)
    if name is None or name.startswith("adapter_config.json:"):
        return
    assert leaks_of_files([name])


def test_a_key_in_no_table_is_a_leak() -> None:
    assert sensitivity("client_17_notes") == "unknown"


def test_empty_values_tell_nothing() -> None:
    assert find_leaks([("ss_tag_frequency", "{}"), ("ss_training_comment", "None")]) == ()


def test_an_access_token_is_found_under_any_key() -> None:
    token = "hf_" + "a" * 34
    (leak,) = find_leaks([("ss_network_args", f'{{"x": "{token}"}}')])
    assert leak.sensitivity is Sensitivity.HIGH
    assert token not in repr(leak)


def test_values_are_never_repeated() -> None:
    assert "alice" not in repr(find_leaks([("ss_output_name", "alice"), ("odd", "alice")]))


def test_leaks_come_worst_first() -> None:
    found = find_leaks([("zzz", "x"), ("ss_session_id", "1"), ("ss_output_name", "a")])
    assert [leak.key for leak in found] == ["ss_output_name", "ss_session_id", "zzz"]


@pytest.mark.parametrize(
    "path", ["/home/alice/m", "C:\\models\\m", "~/m", "./m", "../m", "\\\\host\\m"]
)
def test_a_path_of_the_base_model_is_a_leak(path: str) -> None:
    text = json.dumps({"peft_type": "LORA", "base_model_name_or_path": path})
    config = parse_adapter_config(text.encode())
    assert leaks_of_config(config)
    metadata = json.dumps({"unet.peft_type": "LORA", "unet.base_model_name_or_path": path})
    assert sensitivity("lora_adapter_metadata", metadata) == "high"
    assert base_model_of({}, config) == "m"
    assert base_model_of({"lora_adapter_metadata": metadata}, None) == "m"


def test_a_public_name_of_the_base_model_is_kept() -> None:
    config = parse_adapter_config(
        b'{"peft_type":"LORA","base_model_name_or_path":"meta-llama/Llama-3.1-8B"}'
    )
    assert leaks_of_config(config) == ()
    assert base_model_of({"ss_sd_model_name": "other"}, config) == "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize("name", ["", "None", "a\x1bb", "x" * 300])
def test_no_name_is_made_up_for_the_base_model(name: str) -> None:
    assert base_model_of({"ss_sd_model_name": name}, None) is None


def test_malformed_metadata_is_no_leak_by_itself() -> None:
    assert sensitivity("lora_adapter_metadata", "{") == "low"
