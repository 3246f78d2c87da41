from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from registry.errors import FormatError
from registry.formats.adapter_config import (
    AdapterConfig,
    parse_adapter_config,
    parse_adapter_metadata,
)
from registry.limits import ADAPTER_CONFIG_BYTES
from tests.flood import flood
from tests.mutants import mutants
from tests.sheet import rows


def config(**members: Any) -> bytes:
    return json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16, **members}).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"r":1,"r":2}', "stands twice"),
        (b'{"peft_type":"LORA","a":{"b":1,"b":2}}', "stands twice"),
        (b'{"peft_type":"LORA","lora_alpha":NaN}', "not a number"),
        (b'{"peft_type":"LORA","lora_alpha":1e999}', "within 2"),
        (b" " * (ADAPTER_CONFIG_BYTES + 1), "more than"),
        (b"{}", "names no peft_type"),
        (config(peft_type="lora;"), "names no peft_type"),
        (config(peft_type=["LORA"]), "'peft_type' is not a text"),
        (config(r="8"), "'r' is not a whole number"),
        (config(r=True), "'r' is not a whole number"),
        (config(r=-1), "'r' is not a whole number"),
        (config(lora_alpha="16"), "'lora_alpha' is not a number"),
        (config(lora_alpha=True), "'lora_alpha' is not a number"),
        (config(lora_alpha=1e300), "within 2"),
        (config(use_rslora="yes"), "true or false"),
        (config(target_modules=[1]), "list of names"),
        (config(target_modules={"a": 1}), "list of at most"),
        (config(rank_pattern={"a": "b"}), "'rank_pattern' is not a number"),
        (config(alpha_pattern=["a"]), "object of at most"),
        (config(base_model_name_or_path="x" * 20_000), "text of at most"),
        (config(base_model_name_or_path="\ud800"), "surrogate"),
    ],
)
def test_a_malformed_config_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_adapter_config(data)


@pytest.mark.parametrize(
    "members",
    [
        {"auto_mapping": {"base_model_class": "A", "parent_library": "os"}},
        {"auto_mapping": {"parent_library": "transformers_modules.evil"}},
        {"auto_mapping": {"parent_library": 1}},
        {"auto_mapping": "os"},
        {"megatron_core": "evil.module"},
        {"megatron_core": ["megatron.core"]},
        {"corda_config": {"cache_file": "cache/x.pt"}},
        {"corda_config": {"covariance_file": "x"}},
        {"lora_ga_config": {"cache_file": "x"}},
    ],
)
def test_what_would_run_code_in_peft_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="makes PEFT") as caught:
        parse_adapter_config(config(**members))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"target_modules": "(a+)+$"}, "target_modules is a regular expression"),
        ({"exclude_modules": ".*"}, "exclude_modules is a regular expression"),
        ({"layers_pattern": "(x|y)"}, "layers_pattern is a regular expression"),
        ({"rank_pattern": {"^a.*": 4}}, "rank_pattern has keys that are regular expressions"),
        ({"alpha_pattern": {"(a+)+": 4}}, "alpha_pattern has keys"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"),
        ({"peft_type": "NEWTYPE"}, "not known to PEFT"),
    ],
)
def test_what_is_risky_to_load_is_reported(members: dict[str, Any], words: str) -> None:
    assert any(words in hazard for hazard in parse_adapter_config(config(**members)).hazards)


def test_the_configs_of_real_trainers_are_read_without_hazard() -> None:
    configs = [row["adapter_config"] for row in rows("adapters") if "adapter_config" in row]
    if not configs:
        pytest.skip("needs the fixture sheet in ../shared")
    for original in configs:
        found = parse_adapter_config(json.dumps(original).encode())
        assert found.hazards == ()
        assert (found.r, found.lora_alpha) == (original["r"], original["lora_alpha"])
        assert found.base_model_name_or_path == original["base_model_name_or_path"]
        assert found.target_modules == tuple(sorted(original["target_modules"]))


def test_target_modules_are_a_set_whatever_their_order() -> None:
    first = parse_adapter_config(config(target_modules=["q", "k"]))
    assert first == parse_adapter_config(config(target_modules=["k", "q"]))


@pytest.mark.parametrize("pattern", ["all-linear", "q_proj"])
def test_plain_words_are_no_hazard(pattern: str) -> None:
    found = parse_adapter_config(config(target_modules=pattern))
    assert (found.target_pattern, found.hazards) == (pattern, ())


def test_patterns_and_flags_are_read() -> None:
    found = parse_adapter_config(
        config(
            rank_pattern={"b": 4, "a": 2},
            alpha_pattern={"a": 1.5},
            use_rslora=True,
            use_dora=True,
            fan_in_fan_out=None,
            modules_to_save=["lm_head"],
            auto_mapping={"parent_library": "diffusers.models.unets"},
            megatron_core="megatron.core",
        )
    )
    # The first key that matches counts, so their order is kept.
    assert found.rank_pattern == (("b", 4), ("a", 2))
    assert found.alpha_pattern == (("a", 1.5),)
    assert (found.use_rslora, found.use_dora, found.modules_to_save) == (True, True, ("lm_head",))


def test_ranks_of_other_methods_are_left_alone() -> None:
    assert parse_adapter_config(config(peft_type="RANDLORA", r={"a": 1})).r is None


def test_metadata_of_diffusers_is_split_by_component() -> None:
    text = json.dumps(
        {
            "unet.peft_type": "LORA",
            "unet.r": 4,
            "text_encoder.peft_type": "LORA",
            "text_encoder.r": 2,
        }
    )
    found = parse_adapter_metadata(text)
    assert [(name, settings.r) for name, settings in found] == [("text_encoder", 2), ("unet", 4)]


@pytest.mark.parametrize("text", ['{"r":1}', "[]", '{"unet.r":1}', "\ud800", "x" * 2_000_000])
def test_malformed_metadata_of_diffusers_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_adapter_metadata(text)


GOOD = config(target_modules=["q"], rank_pattern={"a": 2}, use_dora=False, revision=None)


@settings(max_examples=400, deadline=None)
@given(mutants(GOOD))
def test_damage_raises_only_our_error(data: bytes) -> None:
    try:
        found = parse_adapter_config(data)
    except FormatError:
        return
    assert isinstance(found, AdapterConfig)


def test_a_hundred_thousand_damaged_configs_raise_only_our_error() -> None:
    for data in flood(GOOD, 100_000):
        try:
            parse_adapter_config(data)
        except FormatError:
            continue
