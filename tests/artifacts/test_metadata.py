from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from registry.artifacts.leaks.kinds import KINDS
from registry.artifacts.metadata import (
    Leak,
    Sensitivity,
    base_model_of,
    find_leaks,
    leaks_of_config,
    leaks_of_files,
    leaks_of_tensors,
    scan_side_file,
)
from registry.formats.adapter_config import parse_adapter_config
from registry.limits import LEAK_HEADER_CHARS
from tests.artifacts.planted import png_with_text, secrets
from tests.sheet import rows


def sensitivity(key: str, text: str = "x") -> str:
    found = find_leaks([(key, text)])
    return str(found[0].sensitivity) if found else "low"


def header_keys() -> list[dict[str, Any]]:
    return [row for row in rows("metadata_keys") if row["writer"] != "side files"]


@pytest.mark.parametrize("row", header_keys(), ids=lambda row: str(row["key"]))
def test_every_known_key_has_the_sensitivity_of_the_table(row: dict[str, Any]) -> None:
    assert sensitivity(row["key"].replace("*", "dropout_rate")) == row["sensitivity"]


# What a row of the sheet names, as files: folders and lists are written out.
SIDE_FILES = {
    "runs/*hostname*": [
        "runs/Feb16_10-26-39_gpu-box-3/events.out.tfevents.1771234567.gpu-box-3.1.0"
    ],
    "samples/, sample/, validation_images/, image_*.png": [
        "samples/1771234567890__000000250_0.jpg",
        "sample/alice_e000010_00_20260216102639.png",
        "samples/0 - a photo of alice/2026-training-sample-1",
        "validation_images/step_1_a.png",
        "image_0.png",
    ],
    "optimizer.pt/.bin, scheduler.pt, rng_state*.pth, random_states_*.pkl": [
        "optimizer.pt",
        "optimizer.bin",
        "scheduler.pt",
        "rng_state_0.pth",
        "random_states_0.pkl",
    ],
}
SETTINGS = {
    "adapter_config.json:base_model_name_or_path": {"base_model_name_or_path": "/home/alice/m"},
    "adapter_config.json:revision/auto_mapping": {
        "revision": "client-17",
        "auto_mapping": {"base_model_class": "SecretModel", "parent_library": "secret"},
    },
}


@pytest.mark.parametrize(
    "row",
    [row for row in rows("metadata_keys") if row["writer"] == "side files"],
    ids=lambda row: str(row["key"]),
)
def test_every_known_side_file_is_a_leak(row: dict[str, Any]) -> None:
    key = row["key"]
    if key in SETTINGS:
        config = json.dumps({"peft_type": "LORA", **SETTINGS[key]}).encode()
        found = scan_side_file("adapter_config.json", config)
        settings = SETTINGS[key]
        assert {f"adapter_config.json:{name}" for name in settings} <= {leak.key for leak in found}
    else:
        names = SIDE_FILES.get(key, [key])
        found = leaks_of_files(names)
        assert len(found) == len(names)
    assert row["sensitivity"] in {leak.sensitivity for leak in found}


def test_the_sheet_is_known_to_the_last_row() -> None:
    keys = {row["key"] for row in rows("metadata_keys")}
    assert {*SIDE_FILES, *SETTINGS} <= keys or not keys


@pytest.mark.parametrize("row", header_keys(), ids=lambda row: str(row["key"]))
def test_every_finding_says_what_it_is_and_what_to_do(row: dict[str, Any]) -> None:
    for leak in find_leaks([(row["key"].replace("*", "dropout_rate"), "x")]):
        assert leak.kind in KINDS
        assert leak.advice == KINDS[leak.kind].advice
        assert KINDS[leak.kind].why in leak.reason
        assert (leak.count, leak.certainty) == (1, "table")


def test_a_leak_can_be_made_of_what_it_had_to_have() -> None:
    leak = Leak("key", Sensitivity.HIGH, "reason")
    assert (leak.kind, leak.advice, leak.count) == ("unknown", "", 1)


@pytest.mark.parametrize("row", rows("adapters"), ids=lambda row: str(row["id"]))
def test_values_of_real_headers_add_no_findings(row: dict[str, Any]) -> None:
    found = find_leaks(row["metadata"].items())
    assert all(leak.certainty == "table" for leak in found)
    assert len({leak.key for leak in found}) == len(found)


def test_values_of_harmless_keys_are_read_too() -> None:
    found = find_leaks([("ss_network_args", '{"cache": "/home/aliddell/x"}')])
    assert {(leak.key, leak.kind) for leak in found} == {
        ("ss_network_args", "path"),
        ("ss_network_args", "user-name"),
    }


@pytest.mark.parametrize("kind", secrets())
def test_folders_and_tags_are_read_wherever_they_are_nested(kind: str) -> None:
    text = json.dumps({f"10_x {secrets()[kind]} y": {"tag": 1}})
    assert kind in {leak.kind for leak in find_leaks([("ss_tag_frequency", text)])}


def test_a_number_in_a_key_is_not_repeated_by_naming_the_key() -> None:
    found = find_leaks([("format", "pt"), ("client_13812345678", "x")])
    assert {leak.kind for leak in found} == {"unknown-key", "cn-mobile"}
    assert "13812345678" not in repr(found)
    assert {leak.key for leak in found} == {"key number 2 (18 characters)"}


def test_an_embedded_image_is_read() -> None:
    url = "data:image/png;base64," + base64.b64encode(png_with_text(b"parameters\0alice")).decode()
    found = find_leaks([("modelspec.thumbnail", url)])
    assert {leak.kind for leak in found} == {"image", "prompt"}
    assert find_leaks([("modelspec.thumbnail", "data:image/png;base64,!!!")])


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


def test_header_beyond_what_is_searched_is_named_and_not_searched() -> None:
    """The bound is on work: whoever fills a header with megabytes must not hold up intake."""
    mail = "eve.meyer@posteo.de"
    long = ("a" * 64 + " ") * (LEAK_HEADER_CHARS // 64)
    found = find_leaks([("first", f"{long} {mail}"), ("second", mail)])
    kinds = {(leak.key, leak.kind) for leak in found}
    assert {("first", "not-scanned"), ("second", "not-scanned")} <= kinds
    assert not {("first", "e-mail"), ("second", "e-mail")} & kinds
    assert ("second", "e-mail") in {
        (leak.key, leak.kind) for leak in find_leaks([("second", mail)])
    }


def test_names_of_tensors_that_name_people_are_told() -> None:
    names = [
        "lora_unet_a.lora_down.weight",
        "bundle_emb.mrs_example.clip_l",
        "eve.meyer@posteo.de x",
    ]
    found = leaks_of_tensors(names)
    assert {leak.kind for leak in found} == {"content-words", "e-mail"}
    assert not any(word in repr(found) for word in ("example", "eve"))
    assert leaks_of_tensors(names[:1]) == ()
