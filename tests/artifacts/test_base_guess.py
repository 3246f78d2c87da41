from __future__ import annotations

import json

import pytest

from registry.artifacts.classifying.base_guess import MEMBERS, BaseGuess, expert_in
from registry.artifacts.classifying.classify import classify
from registry.artifacts.classifying.merging import merge_classifications
from registry.formats.adapter_config import parse_adapter_config
from tests.sheet import header, make_header, rows

Layers = dict[str, tuple[int, int]]

SDXL: Layers = {"unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k": (2048, 640)}
FLUX: Layers = {f"lora_unet_double_blocks_{n}_img_attn_qkv": (3072, 9216) for n in range(19)}
WAN: Layers = {"diffusion_model.blocks.0.self_attn.q": (5120, 5120)}


def guess(
    layers: Layers, *, base: str | None = None, place: str | None = None, **metadata: str
) -> BaseGuess:
    tensors: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        tensors[f"{name}.lora_A.weight"] = (4, inputs)
        tensors[f"{name}.lora_B.weight"] = (outputs, 4)
    settings = {"peft_type": "LORA", "base_model_name_or_path": base}
    config = parse_adapter_config(json.dumps(settings).encode()) if base else None
    found = classify(make_header(tensors, **metadata), config=config, name_hint=place).base_guess
    assert found is not None
    return found


def decoder(hidden: int, queries: int, keys: int, wide: int, layers: int) -> Layers:
    base = "base_model.model.model.layers.{}."
    found: Layers = {}
    for n in range(layers):
        found |= {
            base.format(n) + "self_attn.q_proj": (hidden, queries),
            base.format(n) + "self_attn.k_proj": (hidden, keys),
            base.format(n) + "mlp.up_proj": (hidden, wide),
        }
    return found


def test_nothing_is_guessed_where_nothing_is_known() -> None:
    found = guess({"something.else": (64, 64)})
    assert (found.family, found.candidates, found.certain) == (None, (), False)
    assert found.why == "no model that is known has these layers"


def test_what_shapes_do_not_tell_has_all_candidates() -> None:
    found = guess(SDXL)
    assert found.family == "sdxl"
    assert {
        "Stable Diffusion XL 1.0",
        "Pony Diffusion V6 XL",
        "Illustrious XL",
        "NoobAI XL",
    } <= set(found.candidates)
    assert "nothing in it says which" in found.why


@pytest.mark.parametrize(
    ("layers", "word", "candidate"),
    [
        (SDXL, "ponyDiffusionV6XL_v6.safetensors", "Pony Diffusion V6 XL"),
        (SDXL, "/home/alice/Illustrious-XL-v1.0.safetensors", "Illustrious XL"),
        (SDXL, "C:\\models\\noobaiXLNAIXL_vPred10.safetensors", "NoobAI XL"),
        (FLUX, "flux1-dev.safetensors", "FLUX.1 dev"),
        (FLUX, "flux1-schnell.safetensors", "FLUX.1 schnell"),
        (FLUX, "flux1-kontext-dev.safetensors", "FLUX.1 Kontext dev"),
        (WAN, "wan2.1_i2v_480p_14B.safetensors", "Wan 2.1 I2V 14B"),
    ],
)
def test_a_claim_narrows_it_and_stays_a_guess(layers: Layers, word: str, candidate: str) -> None:
    found = guess(layers, ss_sd_model_name=word)
    assert found.candidates == (candidate,)
    assert not found.certain
    assert "ss_sd_model_name" in found.why
    assert "not proved" in found.why
    assert "alice" not in repr(found)


def test_a_claim_of_another_family_narrows_nothing() -> None:
    assert guess(SDXL, ss_sd_model_name="flux1-dev") == guess(SDXL)


def test_two_claims_that_differ_leave_both() -> None:
    name = "sd_xl_base_1.0.safetensors"
    found = guess(SDXL, base="/models/ponyDiffusionV6XL", ss_sd_model_name=name)
    assert set(found.candidates) == {"Stable Diffusion XL 1.0", "Pony Diffusion V6 XL"}


def test_the_architecture_that_trainers_write_for_a_whole_family_narrows_nothing() -> None:
    words = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    assert guess(SDXL, ss_base_model_version="sdxl_base_v1-0", **words) == guess(SDXL)


@pytest.mark.parametrize(
    ("place", "expert"),
    [
        ("out/alice_high_noise.safetensors", "high noise"),
        ("out/wan22-low-noise-000010.safetensors", "low noise"),
        ("out/wan22_HIGH.safetensors", "high noise"),
        ("out/highres.safetensors", None),
        ("high/alice.safetensors", None),
        ("out/high_low.safetensors", None),
        (None, None),
    ],
)
def test_which_expert_of_wan_it_is_stands_in_the_name_only(
    place: str | None, expert: str | None
) -> None:
    assert expert_in(place) == expert
    found = guess(WAN, place=place)
    assert (len(found.candidates) == 1) == (expert is not None)
    assert expert is None or expert.replace(" ", "-") in found.candidates[0]


def test_layers_that_one_member_has_tell_it() -> None:
    image = guess(WAN | {"diffusion_model.blocks.0.cross_attn.k_img": (5120, 5120)})
    assert image.candidates == ("Wan 2.1 I2V 14B",)
    fill = guess({**FLUX, "lora_unet_img_in": (384, 3072)})
    assert fill.candidates == ("FLUX.1 Fill dev",)
    control = guess({**FLUX, "lora_unet_img_in": (128, 3072)})
    assert control.candidates == ("FLUX.1 Depth or Canny (control)",)


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ((2048, 2048, 512, 8192, 16), "Llama 3.2 1B"),
        ((4096, 4096, 1024, 12288, 36), "Qwen3 8B"),
        ((2304, 2048, 1024, 9216, 26), "Gemma 2 2B"),
        ((5120, 4096, 1024, 14336, 40), "Mistral Nemo 12B"),
        ((4096, 4096, 4096, 11008, 32), "Llama 2 7B"),
    ],
)
def test_language_models_without_a_family_have_candidates(
    shape: tuple[int, int, int, int, int], model: str
) -> None:
    found = guess(decoder(*shape))
    assert (found.family, found.candidates) == (None, (model,))
    assert "fine-tunes share them" in found.why


def test_llama_and_mistral_are_one_to_shapes() -> None:
    layers = decoder(4096, 4096, 1024, 14336, 32)
    assert {"Llama 3.1 8B", "Mistral 7B v0.3"} <= set(guess(layers).candidates)
    named = guess(layers, base="mistralai/Mistral-7B-Instruct-v0.3")
    assert (named.family, named.candidates) == ("llm-mistral", ("Mistral 7B v0.3",))


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: str(row["id"]))
def test_every_adapter_of_the_sheet_has_candidates_and_a_reason(fixture: dict[str, object]) -> None:
    found = classify(header(fixture)).base_guess
    assert found is not None
    assert found.why
    assert found.candidates
    assert not found.certain


def test_a_pair_of_experts_names_both() -> None:
    tensors = {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": (4, 5120)}
    tensors["diffusion_model.blocks.0.self_attn.q.lora_B.weight"] = (5120, 4)
    parts = [
        classify(make_header(tensors), name_hint=f"a_{expert}_noise.safetensors")
        for expert in ("high", "low")
    ]
    found = merge_classifications(parts)
    assert found.base_guess is not None
    assert found.base_guess.candidates == (
        "Wan 2.2 A14B, high-noise expert",
        "Wan 2.2 A14B, low-noise expert",
    )
    assert [(count.scale, count.modules) for count in found.scales] == [(1.0, 2)]


def test_every_family_of_the_sheet_has_members() -> None:
    assert {str(row["family"]) for row in rows("adapters")} <= MEMBERS.keys()
