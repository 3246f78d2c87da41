"""PEFT itself as the oracle: what it saves is an adapter, and its own scale is the one reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

peft = pytest.importorskip("peft", reason="PEFT is the oracle here (extra `audit`)")
transformers = pytest.importorskip("transformers", reason="its models carry PEFT's adapters here")
torch = pytest.importorskip("torch", reason="PEFT needs it")

from registry.artifacts.inspection import Inspection, inspect_path  # noqa: E402 - after the skips

TARGETS = ["q_proj", "v_proj"]


def decoder() -> Any:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
        )
    )


def saved(config: Any, folder: Path) -> tuple[Any, Inspection]:
    """Return what PEFT makes of its own files, and what we say of them.

    Not the model that was saved: PEFT sorts the keys of patterns when it writes them, and the first
    that matches counts, so what it loads may have another scale than what it trained.
    """
    peft.get_peft_model(decoder(), config).save_pretrained(folder)
    model = peft.PeftModel.from_pretrained(decoder(), folder)
    return model, inspect_path(folder, lists_modules=True)


def check_scales(model: Any, found: Inspection) -> int:
    """Compare every scale with PEFT's own; return how many there were."""
    layers = dict(model.named_modules())
    assert found.module_scales
    for row in found.module_scales:
        expected = layers[row.module].scaling["default"]
        if row.method == "adalora":  # there PEFT divides by the rank only when it applies
            expected = float(expected / (layers[row.module].ranknum["default"] + 1e-5))
        assert row.scale == pytest.approx(expected), row
        assert row.source == "adapter_config.json"
    return len(found.module_scales)


PATTERNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "alpha": {"lora_alpha": 7},
    "rslora": {"lora_alpha": 16, "use_rslora": True},
    "dora": {"lora_alpha": 16, "use_dora": True},
    "dora with rslora": {"lora_alpha": 3, "use_dora": True, "use_rslora": True},
    "rank by end": {"rank_pattern": {"q_proj": 2}},
    "alpha by end": {"alpha_pattern": {"v_proj": 32}},
    "a dotted end": {"alpha_pattern": {"0.self_attn.q_proj": 5}},
    "no end at a dot": {"alpha_pattern": {"proj": 5}},
    "the first counts": {"alpha_pattern": {"v_proj": 3, "1.self_attn.v_proj": 5}},
    "the first counts, turned": {"alpha_pattern": {"1.self_attn.v_proj": 5, "v_proj": 3}},
    "from the start": {"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 9}},
    "one of several": {"rank_pattern": {r"layers\.[01]\.self_attn\.(q|v)_proj": 2}},
    "digits": {"rank_pattern": {r"layers\.\d+\.self_attn\.v_proj": 3}, "lora_alpha": 5},
    "anything between": {"alpha_pattern": {r"layers\.1\..*": 2, "q_proj": 12}},
    "both, rooted": {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {r".*v_proj": 11},
        "use_rslora": True,
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", PATTERNS.values(), ids=PATTERNS.keys())
def test_the_scale_of_every_module_is_pefts(options: dict[str, Any], tmp_path: Path) -> None:
    settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **options}
    model, found = saved(peft.LoraConfig(**settings), tmp_path)
    assert check_scales(model, found) == 4
    assert found.is_sound_adapter
    assert sum(count.modules for count in found.found.scales) == 4
    values = {row.scale for row in found.module_scales or ()}
    assert found.scale == (values.pop() if len(values) == 1 else None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "config",
    [
        peft.LoHaConfig(r=4, alpha=3, target_modules=TARGETS, alpha_pattern={"q_proj": 1}),
        # Both factors in full: PEFT still multiplies by alpha / r, where LyCORIS does not.
        peft.LoKrConfig(r=4, alpha=3, target_modules=TARGETS),
        peft.LoKrConfig(r=1, alpha=3, target_modules=TARGETS, rank_pattern={"v_proj": 2}),
        peft.AdaLoraConfig(
            init_r=6, target_r=4, lora_alpha=9, total_step=10, target_modules=TARGETS
        ),
    ],
    ids=["loha", "lokr in full", "lokr", "adalora"],
)
def test_other_methods_have_pefts_scale(config: Any, tmp_path: Path) -> None:
    model, found = saved(config, tmp_path)
    assert check_scales(model, found) == 4


@pytest.mark.filterwarnings("ignore")
def test_pefts_own_alpha_of_embeddings_and_whole_heads(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "embed_tokens"],
        modules_to_save=["lm_head"],
    )
    model, found = saved(config, tmp_path)
    assert check_scales(model, found) == 3
    assert (found.kind, found.method, found.refusals) == ("adapter", "lora", ())
    assert not any("belong to no module" in text for text in found.found.warnings)


@pytest.mark.filterwarnings("ignore")
def test_trained_tokens_beside_factors_are_an_adapter(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [1, 2]}
    )
    _, found = saved(config, tmp_path)
    assert (found.kind, found.method, found.modules, found.refusals) == ("adapter", "lora", 2, ())
    assert not any("belong to no module" in text for text in found.found.warnings)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "ADALORA": ({"total_step": 10}, "adalora"),
    "BEFT": ({}, "peft:BEFT"),
    "BOFT": ({"boft_block_size": 4}, "boft"),
    "C3A": ({"block_size": 4}, "peft:C3A"),
    "DELORA": ({}, "peft:DELORA"),
    "FOURIERFT": ({"n_frequency": 10}, "peft:FOURIERFT"),
    "GRALORA": ({}, "peft:GRALORA"),
    "HIRA": ({}, "peft:HIRA"),
    "HRA": ({}, "peft:HRA"),
    "IA3": ({"feedforward_modules": []}, "ia3"),
    "LN_TUNING": ({"target_modules": ["input_layernorm"]}, "peft:LN_TUNING"),
    "LOHA": ({}, "loha"),
    "LOKR": ({}, "lokr"),
    "LORA": ({}, "lora"),
    "MISS": ({"r": 4}, "peft:MISS"),
    "MULTITASK_PROMPT_TUNING": ({"num_tasks": 2}, "peft:MULTITASK_PROMPT_TUNING"),
    "OFT": ({"oft_block_size": 4, "r": 0}, "oft"),
    "POLY": ({}, "peft:POLY"),
    "PREFIX_TUNING": ({}, "peft:PREFIX_TUNING"),
    "PROMPT_TUNING": ({}, "peft:PROMPT_TUNING"),
    "P_TUNING": ({}, "peft:P_TUNING"),
    "RANDLORA": ({"r": 4}, "peft:RANDLORA"),
    "ROAD": ({"group_size": 4}, "peft:ROAD"),
    "SHIRA": ({"r": 4}, "peft:SHIRA"),
    "TRAINABLE_TOKENS": ({"token_indices": [1, 2]}, "peft:TRAINABLE_TOKENS"),
    "VBLORA": ({"vector_length": 4, "num_vectors": 8}, "peft:VBLORA"),
    "VERA": ({}, "vera"),
    "WAVEFT": ({"n_frequency": 10}, "peft:WAVEFT"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("peft_type", sorted(OTHERS))
def test_whatever_peft_saves_is_an_adapter(peft_type: str, tmp_path: Path) -> None:
    options, method = OTHERS[peft_type]
    config_class = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[getattr(peft.PeftType, peft_type)]
    known = config_class.__dataclass_fields__
    usual = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4, "target_modules": TARGETS}
    settings = {key: value for key, value in usual.items() if key in known}
    if peft_type == "TRAINABLE_TOKENS":
        del settings["target_modules"]
    config = config_class(**{**settings, **options})
    peft.get_peft_model(decoder(), config).save_pretrained(tmp_path)
    found = inspect_path(tmp_path)
    assert (found.kind, found.method, found.refusals) == ("adapter", method, ())
    assert not any("belong to no module" in text for text in found.found.warnings)
    prompts = peft_type.endswith(("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"))
    assert found.modules == (0 if prompts else 1 if "TOKENS" in peft_type else found.modules)
    assert prompts or found.modules > 0
