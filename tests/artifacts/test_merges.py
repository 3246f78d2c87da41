from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.artifacts.classifying.classify import classify
from registry.artifacts.inspection import Inspection, inspect_path
from registry.artifacts.merges import reason_not_an_adapter
from registry.formats.adapter_config import AdapterConfig, parse_adapter_config
from registry.formats.safetensors import dump_header, lay_out, parse_header
from tests.sheet import make_header, rows

CHECKPOINT = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
PART = {"model.layers.0.self_attn.q_proj.weight": (64, 64), "model.norm.weight": (64,)}
FACTORS = {"m.lora_A.weight": (4, 64), "m.lora_B.weight": (64, 4)}
PRIVATE = "alice-of-example-road"
CONSEQUENCES = ("cannot be undone", "withdrawn, audited or traced", "personal data", "public base")


def reason(tensors: dict[str, tuple[int, ...]], place: str | None = None, **metadata: str) -> str:
    found = classify(make_header(tensors, **metadata), name_hint=place)
    return reason_not_an_adapter(Inspection(found)) or ""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("modelspec.merged_from", PRIVATE),
        ("sd_merge_models", json.dumps({"ab": {"name": PRIVATE}})),
        ("sd_merge_recipe", PRIVATE),
        ("ss_network_dim", "32"),
        ("ss_network_module", "networks.lora"),
        ("lora_adapter_metadata", "{}"),
        ("prompt", json.dumps({"7": {"class_type": "LoraLoader", "inputs": {"name": PRIVATE}}})),
        ("workflow", json.dumps({"nodes": [{"type": "ModelMergeSimple", "name": PRIVATE}]})),
    ],
)
@pytest.mark.parametrize("tensors", [CHECKPOINT, PART], ids=["checkpoint", "part"])
def test_metadata_of_a_merge_refuses_a_whole_model(
    tensors: dict[str, tuple[int, ...]], key: str, text: str
) -> None:
    found = classify(make_header(tensors, **{key: text}))
    assert found.kind in ("full-checkpoint", "full-model-part")
    assert [item.code for item in found.refusals] == ["merged-checkpoint"]
    message = found.refusals[0].message
    assert all(words in message for words in CONSEQUENCES)
    assert f"the metadata key {key}" in message
    assert PRIVATE not in repr(found)
    assert len(message) <= 500


@pytest.mark.parametrize(
    ("place", "merged"),
    [
        ("out/merged/model-00001-of-00004.safetensors", True),
        ("alice_merged_16bit/model.safetensors", True),
        ("out/alice-merged.safetensors", True),
        ("out/merge/model.safetensors", True),
        ("out/emerged.safetensors", False),
        ("out/submerged/model.safetensors", False),
        ("merged/of/old/model.safetensors", False),
        ("model.safetensors", False),
        (None, False),
    ],
)
def test_a_name_that_says_merged_is_evidence(place: str | None, merged: bool) -> None:
    found = classify(make_header(PART), name_hint=place)
    assert (found.kind, bool(found.refusals)) == ("full-model-part", merged)
    assert place is None or not found.refusals or place not in found.refusals[0].message


def test_leftover_factors_are_evidence() -> None:
    found = classify(make_header({**FACTORS, "w.weight": (900, 900)}))
    assert found.kind == "full-model-part"
    assert [item.code for item in found.refusals] == ["merged-checkpoint"]
    assert "factors of 1 modules" in found.refusals[0].message


def test_a_raw_dump_of_a_peft_model_is_refused_as_one() -> None:
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{layer}.base_layer.weight": (64, 64),
        f"{layer}.lora_A.default.weight": (4, 64),
        f"{layer}.lora_B.default.weight": (64, 4),
    }
    found = classify(make_header(tensors))
    assert [item.code for item in found.refusals] == ["not-an-adapter"]
    assert "save_pretrained" in found.refusals[0].message


@pytest.mark.parametrize("tensors", [CHECKPOINT, PART], ids=["checkpoint", "part"])
def test_a_clean_base_is_named_and_not_refused(tensors: dict[str, tuple[int, ...]]) -> None:
    found = classify(make_header(tensors, format="pt", prompt="a cat", **{"modelspec.title": "x"}))
    assert found.refusals == ()
    words = reason(tensors)
    assert words.startswith("not an adapter but a whole")
    assert all(part in words for part in CONSEQUENCES)
    assert "if an adapter was merged into it" in words
    assert len(words) <= 500


def test_an_adapter_of_merged_adapters_stays_one() -> None:
    found = classify(
        make_header(FACTORS, **{"modelspec.merged_from": PRIVATE}), name_hint="merged/a"
    )
    assert (found.kind, found.refusals) == ("adapter", ())
    assert any("made of other adapters" in text for text in found.warnings)
    assert reason_not_an_adapter(Inspection(found)) is None


def test_a_broken_adapter_is_still_one() -> None:
    found = classify(make_header({"m.lora_A.weight": (4, 64)}))
    assert found.refusals
    assert reason_not_an_adapter(Inspection(found)) is None


def test_what_is_unknown_says_so() -> None:
    assert "unknown kind" in reason({"odd": (5, 5)})


@pytest.mark.parametrize("negative", rows("negatives"), ids=lambda row: str(row["id"]))
def test_every_negative_of_the_sheet_has_a_reason(negative: dict[str, object]) -> None:
    samples = negative["sample_keys"]
    if not samples:
        pytest.skip("no safetensors; other containers are inspected elsewhere")
    laid = lay_out((name, dtype, tuple(shape)) for name, dtype, shape in samples)  # type: ignore[attr-defined]
    place = "a-state/model.safetensors" if negative["kind"] == "training-state" else None
    header = parse_header(dump_header(laid, []), file_size=None)
    words = reason_not_an_adapter(Inspection(classify(header, name_hint=place)))
    assert words is not None
    assert str(negative["kind"]) in words


def test_inspecting_a_merged_folder_refuses_it(tmp_path: Path) -> None:
    folder = tmp_path / "merged"
    folder.mkdir()
    laid = lay_out((name, "BF16", shape) for name, shape in PART.items())
    path = folder / "model.safetensors"
    path.write_bytes(dump_header(laid, []) + b"\1" * laid[-1].end)
    assert [item.code for item in inspect_path(folder).refusals] == ["merged-checkpoint"]
    clean = tmp_path / "base" / "model.safetensors"
    clean.parent.mkdir()
    clean.write_bytes(path.read_bytes())
    assert inspect_path(clean).refusals == ()


# --- whole models that a config calls an adapter


def _whole(*, factors: bool, base: str, layers: int = 6) -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {}
    for number in range(layers):
        name = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        tensors[f"{name}{base}.weight"] = (32, 32)
        if factors:
            tensors |= {f"{name}.lora_A.weight": (16, 32), f"{name}.lora_B.weight": (32, 16)}
    return tensors


def _config(**more: object) -> AdapterConfig:
    settings = {"peft_type": "LORA", "r": 16, "lora_alpha": 16, **more}
    return parse_adapter_config(json.dumps(settings).encode())


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        (_whole(factors=True, base=".base_layer"), _config(modules_to_save=["model"])),
        (_whole(factors=True, base=".base_layer"), None),
        (_whole(factors=True, base=""), _config(modules_to_save=["model"])),
        (_whole(factors=False, base=""), _config()),
        (_whole(factors=False, base=".base_layer"), _config()),
        (_whole(factors=False, base=""), _config(peft_type="BONE")),
        (
            {
                **_whole(factors=True, base="_lora_only"),
                **{f"base_model.model.score{n}.dense.weight": (64, 64) for n in range(40)},
            },
            _config(),
        ),
        (
            {
                **_whole(factors=True, base="_x", layers=1),
                **{f"base_model.model.model.block.{n}.weight": (64, 64) for n in range(80)},
            },
            _config(modules_to_save=["model"]),
        ),
        (
            {
                **_whole(factors=True, base="_x", layers=1),
                **{
                    f"base_model.model.transformer.h.{n}.attn.c_proj.weight": (64, 64)
                    for n in range(24)
                },
            },
            _config(modules_to_save=["transformer"]),
        ),
        (
            {f"base_model.model.backbone.layers.{n}.mixer.in_proj.weight": (64, 64) for n in range(4)},
            _config(peft_type="SHIRA"),
        ),
    ],
    ids=[
        "dump-saved-as-module", "dump-small", "weights-beside-factors", "merged-no-factors",
        "base-layers-alone", "other-type-claimed", "many-heads", "everything-saved",
        "small-model-saved", "mamba-claimed",
    ],
)  # fmt: skip
def test_config_that_calls_a_whole_model_an_adapter_is_not_believed(
    tensors: dict[str, tuple[int, ...]], config: AdapterConfig | None
) -> None:
    assert classify(make_header(tensors), config=config).kind != "adapter"


@pytest.mark.parametrize(
    "extra",
    [
        {"base_model.model.lm_head.weight": (900, 64)},
        {"base_model.model.model.embed_tokens.base_layer.weight": (900, 64)},
        {"base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias": (32,)},
        {"base_model.model.classifier.dense.weight": (64, 64)},
        {"base_model.model.model.embed_tokens.token_adapter.base_layer.weight": (900, 64)},
    ],
    ids=["head", "resized-embedding", "trained-bias", "saved-classifier", "trained-tokens"],
)
def test_adapter_with_trained_heads_stays_one(extra: dict[str, tuple[int, ...]]) -> None:
    tensors = {
        name: shape for name, shape in _whole(factors=True, base="").items() if "lora_" in name
    }
    config = _config(modules_to_save=["classifier", "lm_head"])
    assert classify(make_header({**tensors, **extra}), config=config).kind == "adapter"
