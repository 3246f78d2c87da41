from __future__ import annotations

import json
from typing import Any

import pytest

from registry.artifacts.claims import ClaimStatus
from registry.artifacts.classifying.classify import Classification, classify
from registry.formats.adapter_config import AdapterConfig, parse_adapter_config
from registry.formats.safetensors import SafetensorsHeader, dump_header, lay_out, parse_header
from tests.sheet import header, make_header, rows


def config_of(fixture: dict[str, Any]) -> AdapterConfig | None:
    if "adapter_config" not in fixture:
        return None
    return parse_adapter_config(json.dumps(fixture["adapter_config"]).encode())


def alphas_of(fixture: dict[str, Any], found: SafetensorsHeader) -> dict[str, float]:
    value = fixture["alpha"]
    if not isinstance(value, int | float):
        return {}
    return {item.name: float(value) for item in found.tensors if item.name.endswith(".alpha")}


def status_of(found: Classification, field: str) -> set[ClaimStatus]:
    return {claim.status for claim in found.claims if claim.field == field}


def lora(*modules: str, inputs: int = 64, outputs: int = 64, **metadata: str) -> SafetensorsHeader:
    tensors = {}
    for module in modules:
        tensors[f"{module}.lora_A.weight"] = (4, inputs)
        tensors[f"{module}.lora_B.weight"] = (outputs, 4)
    return make_header(tensors, **metadata)


# What the sheet rounds: DESIGN wants null where modules differ.
MIXED_RANKS = {"kohya-sdxl-locon": (8, 16), "bfl-flux-control-lora": (64, 128)}


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: str(row["id"]))
def test_real_adapters_are_known(fixture: dict[str, Any]) -> None:
    parsed = header(fixture)
    found = classify(parsed, config=config_of(fixture), alphas=alphas_of(fixture, parsed))
    assert (found.kind, found.dialect, found.method, found.family) == (
        fixture["kind"],
        fixture["dialect"],
        fixture["method"],
        fixture["family"],
    )
    assert (found.modules, found.tensors) == (fixture["n_modules"], fixture["n_tensors"])
    assert found.refusals == ()
    if fixture["id"] in MIXED_RANKS:
        assert (found.rank, found.ranks) == (None, MIXED_RANKS[fixture["id"]])
    else:
        assert found.rank == fixture["rank"]
    if isinstance(fixture["alpha"], int | float) or fixture["alpha"] is None:
        assert found.alpha == fixture["alpha"]
    assert (found.alpha is None) == (ClaimStatus.UNKNOWN in status_of(found, "alpha"))


# Of these another model has the same shapes; without its claims the header does not say which.
UNDECIDED = {"kohya-sd15-oft", "kohya-sd15-ia3", "peft-llama31-8b", "peft-llama31-8b-qv"}


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: str(row["id"]))
def test_tensors_alone_decide_and_nothing_is_guessed(fixture: dict[str, Any]) -> None:
    found = classify(header(fixture, metadata=False))
    assert (found.dialect, found.method) == (fixture["dialect"], fixture["method"])
    if fixture["id"] in UNDECIDED:
        assert found.family is None
        assert status_of(found, "family") == {ClaimStatus.UNKNOWN}
    else:
        assert found.family == fixture["family"]


@pytest.mark.parametrize(
    "negative",
    [row for row in rows("negatives") if row["sample_keys"]],
    ids=lambda row: str(row["id"]),
)
def test_what_is_no_adapter_is_named(negative: dict[str, Any]) -> None:
    tensors = lay_out((name, dtype, tuple(shape)) for name, dtype, shape in negative["sample_keys"])
    parsed = parse_header(dump_header(tensors, []), file_size=None)
    hint = "out/alice-state/model.safetensors" if negative["kind"] == "training-state" else None
    assert classify(parsed, name_hint=hint).kind == negative["kind"]


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        ("alice-000004-state/model.safetensors", "training-state"),
        ("ws/backup/2026-backup-1/lora/lora.safetensors", "training-state"),
        ("C:\\out\\a-state\\model.safetensors", "training-state"),
        ("alice-state/alice.safetensors", "adapter"),
        ("model.safetensors", "adapter"),
        ("alice.safetensors", "adapter"),
        (None, "adapter"),
    ],
)
def test_training_state_is_told_by_its_place(hint: str | None, kind: str) -> None:
    assert classify(lora("lora_unet_a"), name_hint=hint).kind == kind


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"model.diffusion_model.x.weight": (8, 8)}, "full-checkpoint"),
        ({"w.weight": (900, 900)}, "full-model-part"),
        ({"model.layers.0.q.weight.absmax": (9,)}, "quantised-model"),
        ({"lm_head.weight": (900, 900)}, "adapter"),
        ({"bundle_emb.token.x": (8, 768)}, "adapter"),
        ({"x.input_layernorm.weight": (900,)}, "adapter"),
    ],
)
def test_factors_within_something_larger_do_not_make_it_an_adapter(
    tensors: dict[str, tuple[int, ...]], kind: str
) -> None:
    factors = {"m.lora_A.weight": (4, 64), "m.lora_B.weight": (64, 4)}
    assert classify(make_header({**factors, **tensors})).kind == kind


def test_a_cache_is_told_by_its_metadata_and_norms_by_themselves() -> None:
    found = classify(make_header({"x": (16, 64)}, width="64", height="64", format_version="1"))
    assert found.kind == "dataset-cache"
    assert classify(make_header({"lycoris_x.w_norm": (8,)})).method == "norm"


def test_files_without_factors_and_too_many_vectors_are_no_embedding() -> None:
    many = {f"t{number}": (768,) for number in range(65)}
    assert classify(make_header(many)).kind is None


def test_names_of_no_known_trainer_have_no_dialect() -> None:
    found = classify(lora("something.else"))
    assert (found.dialect, found.family) == (None, None)


def test_an_unknown_tensor_is_a_warning() -> None:
    found = classify(
        make_header({"m.lora_A.weight": (4, 64), "m.lora_B.weight": (64, 4), "odd": (1,)})
    )
    assert found.kind == "adapter"
    assert "1 tensors belong to no module, such as 'odd'" in found.warnings


def test_names_that_look_like_paths_are_a_warning() -> None:
    found = classify(
        make_header({"m.lora_A.weight": (4, 64), "m.lora_B.weight": (64, 4), "../x": (1,)})
    )
    assert "a tensor name looks like a path" in found.warnings


def test_what_no_rule_knows_has_no_kind_and_a_reason() -> None:
    found = classify(make_header({"odd": (5, 5)}))
    assert (found.kind, found.modules) == (None, 0)
    assert status_of(found, "kind") == {ClaimStatus.UNKNOWN}


def test_half_a_pair_and_ranks_that_differ_are_refused() -> None:
    found = classify(make_header({"m.lora_A.weight": (4, 64)}))
    assert [(item.code, item.place) for item in found.refusals] == [("half-pair", "m")]
    found = classify(make_header({"m.lora_A.weight": (16, 64), "m.lora_B.weight": (64, 8)}))
    assert [(item.code, item.place) for item in found.refusals] == [("misfit", "m")]


def test_many_refusals_are_cut_and_counted() -> None:
    found = classify(make_header({f"m{number}.lora_A.weight": (4, 64) for number in range(80)}))
    assert len(found.refusals) == 51
    assert "30 further faults" in found.refusals[-1].message


def test_a_peft_method_without_known_factors_is_named_after_its_config() -> None:
    parsed = make_header({"base_model.model.x.vera_A": (4, 4)})
    config = parse_adapter_config(b'{"peft_type": "ROAD"}')
    found = classify(parsed, config=config)
    assert (found.kind, found.method, found.dialect) == ("adapter", "peft:ROAD", "peft")
    assert classify(parsed).kind is None


def test_prompt_tuning_is_an_adapter_without_modules() -> None:
    found = classify(make_header({"prompt_embeddings": (8, 4096)}))
    assert (found.kind, found.method, found.modules) == ("adapter", "peft:PROMPT_TUNING", 0)


def test_kohyas_own_oft_has_as_many_blocks_as_its_rank() -> None:
    assert classify(make_header({"oft_unet_x.oft_blocks": (4, 80, 80)})).rank == 4
    assert classify(make_header({"lora_unet_x.oft_blocks": (4, 80, 80)})).rank == 80


@pytest.mark.parametrize(
    ("values", "alpha", "warning"),
    [
        ((8.0, 8.0), 8.0, None),
        ((8.0, 4.0), None, None),
        ((0.0, 0.0), 0.0, "alpha is 0"),
        ((-1.0, -1.0), -1.0, "negative"),
        ((9000.0, 9000.0), 9000.0, "more than 1000 times"),
        ((float("nan"), 8.0), None, "not a finite"),
        ((float("inf"), 8.0), None, "not a finite"),
    ],
)
def test_alpha_is_one_number_or_none(
    values: tuple[float, float], alpha: float | None, warning: str | None
) -> None:
    tensors = {}
    for name in ("lora_unet_a", "lora_unet_b"):
        tensors |= {
            f"{name}.lora_down.weight": (4, 8),
            f"{name}.lora_up.weight": (8, 4),
            f"{name}.alpha": (),
        }
    alphas = {"lora_unet_a.alpha": values[0], "lora_unet_b.alpha": values[1]}
    found = classify(make_header(tensors), alphas=alphas)
    assert found.alpha == alpha
    assert any(warning in text for text in found.warnings) if warning else not found.warnings
    assert classify(make_header(tensors)).alpha is None


def test_alpha_of_peft_comes_from_its_config() -> None:
    parsed = lora("base_model.model.a")
    config = parse_adapter_config(b'{"peft_type":"LORA","r":4,"lora_alpha":8}')
    assert classify(parsed, config=config).alpha == 8
    patterned = b'{"peft_type":"LORA","r":4,"lora_alpha":8,"alpha_pattern":{"a":2}}'
    found = classify(parsed, config=parse_adapter_config(patterned))
    assert (found.alpha, found.alphas) == (None, (2, 8))


def test_claims_that_disagree_with_the_tensors_are_named() -> None:
    parsed = lora(
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k",
        inputs=768,
        ss_network_dim="32",
        ss_base_model_version="sdxl_base_v1-0",
    )
    found = classify(parsed)
    assert found.family == "sd1"
    assert status_of(found, "family") == {ClaimStatus.DISAGREES}
    assert status_of(found, "rank") == {ClaimStatus.DISAGREES}


def test_a_config_that_disagrees_is_named() -> None:
    config = parse_adapter_config(b'{"peft_type":"LORA","r":64,"use_dora":true,"lora_alpha":1}')
    found = classify(lora("base_model.model.a"), config=config)
    assert status_of(found, "rank") == {ClaimStatus.DISAGREES}
    assert status_of(found, "method") == {ClaimStatus.DISAGREES}


def test_values_of_metadata_are_never_repeated() -> None:
    private = "alice-of-example-road"
    parsed = lora("lora_unet_a", ss_network_dim=private, ss_base_model_version=private)
    assert private not in repr(classify(parsed))
