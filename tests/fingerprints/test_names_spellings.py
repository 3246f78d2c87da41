"""Spellings of one layer by hand, fused weights of language models, and payloads of several files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from registry.artifacts.classifying.modules import pair_tensors
from registry.fingerprints.layouts import layout_of
from registry.fingerprints.names import canonical_parts
from registry.fingerprints.origins import BARE
from registry.formats.safetensors import dump_header, parse_header
from registry.updates.files import Payload, WeightFile
from tests.fingerprints.names_rig import names_of, parts_by_name, rows_by_name
from tests.sheet import make_header

SD = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
SPELLINGS = {
    f"{SD}.attn1.to_q": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
        f"base_model.model.{SD.removeprefix('unet.')}.attn1.to_q",
        f"{SD.removeprefix('unet.')}.attn1.processor.to_q_lora",
        f"{SD}.attn1.processor.to_q_lora",
        "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
    ),
    f"{SD}.attn2.to_out.0": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0",
        f"{SD}.attn2.processor.to_out_lora",
        f"{SD}.attn2.to_out.0.base_layer",
    ),
    "unet.down_blocks.0.resnets.1.time_emb_proj": (
        "lora_unet_input_blocks_2_0_emb_layers_1",
        "lora_unet_down_blocks_0_resnets_1_time_emb_proj",
    ),
    "unet.up_blocks.0.upsamplers.0.conv": (
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_2_1_conv",
        "lora_unet_up_blocks_0_upsamplers_0_conv",
    ),
    "text_encoder.text_model.encoder.layers.3.self_attn.q_proj": (
        "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
        "lora_te1_text_model_encoder_layers_3_self_attn_q_proj",
        "text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora",
        "text_encoder.encoder.layers.3.self_attn.q_proj",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.3.self_attn.q_proj",
        "base_model.model.text_model.encoder.layers.3.self_attn.q_proj",
    ),
    "text_encoder.text_model.encoder.layers.3.self_attn.out_proj": (
        "text_encoder.text_model.encoder.layers.3.self_attn.to_out_lora",
        "lora_te_transformer_resblocks_3_attn_out_proj",
    ),
    "text_encoder_2.text_model.encoder.layers.30.mlp.fc2": (
        "lora_te2_text_model_encoder_layers_30_mlp_fc2",
        "text_encoders.clip_g.transformer.text_model.encoder.layers.30.mlp.fc2",
        "lora_te2_transformer_resblocks_30_mlp_c_proj",
    ),
    "text_encoder_3.encoder.block.2.layer.1.DenseReluDense.wi_0": (
        "lora_te3_encoder_block_2_layer_1_DenseReluDense_wi_0",
        "text_encoders.t5xxl.transformer.encoder.block.2.layer.1.DenseReluDense.wi_0",
    ),
    "model.layers.0.self_attn.q_proj": (
        "base_model.model.model.layers.0.self_attn.q_proj",
        "base_model.model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.q_proj",
    ),
    "model.language_model.layers.0.mlp.up_proj": (
        "base_model.model.model.language_model.layers.0.mlp.up_proj",
        "base_model.model.language_model.model.layers.0.mlp.up_proj",
    ),
    "model.h.0.mlp.c_fc": (
        "base_model.model.transformer.h.0.mlp.c_fc",
        "base_model.model.h.0.mlp.c_fc",
    ),
    "lm_head": ("base_model.model.lm_head", "lm_head"),
}


@pytest.mark.parametrize("canonical", SPELLINGS)
def test_every_spelling_of_a_layer_is_one_name(canonical: str) -> None:
    for name in (canonical, *SPELLINGS[canonical]):
        assert names_of([name]) == {name: canonical}


def test_the_t5_of_flux_is_its_second_text_encoder() -> None:
    name = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    for block in (
        "lora_unet_double_blocks_0_img_mod_lin",
        "transformer.single_transformer_blocks.0.x",
    ):
        found = names_of([name, block])
        assert found[name] == "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"


def test_openclips_fused_attention_is_cut() -> None:
    (parts,) = parts_by_name({"lora_te2_transformer_resblocks_1_attn_in_proj": (192, 64)}).values()
    start = "text_encoder_2.text_model.encoder.layers.1.self_attn"
    assert rows_by_name(parts) == {
        f"{start}.q_proj": range(64),
        f"{start}.k_proj": range(64, 128),
        f"{start}.v_proj": range(128, 192),
    }


def test_language_models_that_fuse_are_those_that_do_not() -> None:
    layer = "base_model.model.model.layers.0"
    found = parts_by_name(
        {f"{layer}.self_attn.qkv_proj": (96, 64), f"{layer}.mlp.gate_up_proj": (320, 64)}
    )
    rows_of = rows_by_name(part for parts in found.values() for part in parts)
    assert rows_of == {
        "model.layers.0.self_attn.q_proj": range(64),
        "model.layers.0.self_attn.k_proj": range(64, 80),
        "model.layers.0.self_attn.v_proj": range(80, 96),
        "model.layers.0.mlp.gate_proj": range(160),
        "model.layers.0.mlp.up_proj": range(160, 320),
    }


def test_gpt2_has_thirds_that_no_one_splits() -> None:
    name = "base_model.model.transformer.h.0.attn.c_attn"
    parts = parts_by_name({name: (192, 64)})[name]
    assert [(part.kind, part.rows) for part in parts] == [
        ("attn.q", range(64)),
        ("attn.k", range(64, 128)),
        ("attn.v", range(128, 192)),
    ]


def test_the_last_norms_halves_are_told_in_diffusers_order() -> None:
    native = ("diffusion_model.final_layer.adaLN_modulation.1", "diffusion_model.double_blocks.0.x")
    ours = parts_by_name(
        {
            native[0]: (128, 64),
            native[1]: (8, 8),
            "diffusion_model.single_blocks.0.linear2": (64, 320),
        }
    )
    theirs = parts_by_name({"transformer.norm_out.linear": (128, 64)})
    scale, shift = "transformer.norm_out.linear[0]", "transformer.norm_out.linear[1]"
    assert rows_by_name(ours[native[0]]) == {shift: range(64), scale: range(64, 128)}
    assert rows_by_name(*theirs.values()) == {scale: range(64), shift: range(64, 128)}


def test_img_in_is_the_layer_of_the_model_whose_blocks_are_there() -> None:
    blocks = {
        "lora_unet_double_blocks_0_img_mod_lin": "transformer.x_embedder",
        "lora_unet_transformer_blocks_0_img_mod_1": "transformer.img_in",
        "lora_unet_down_blocks_0_resnets_0_conv1": "unet.img_in",
    }
    for block, expected in blocks.items():
        assert names_of(["lora_unet_img_in", block])["lora_unet_img_in"] == expected


def test_bare_names_follow_the_blocks_beside_them() -> None:
    assert (
        names_of(["proj_out", "transformer_blocks.0.attn.to_q"])["proj_out"]
        == "transformer.proj_out"
    )
    assert names_of(["conv_in"]) == {"conv_in": "unet.conv_in"}
    assert names_of(["proj_out"]) == {"proj_out": "proj_out"}


@pytest.mark.parametrize("width", [6144, 4096])
def test_flux2_is_told_by_its_width_where_ratios_say_nothing(width: int) -> None:
    layers = {
        "lora_unet_double_blocks_0_img_attn_qkv": (3 * width, width),
        "lora_unet_time_in_in_layer": (width, 256),
    }
    names = [part.name for parts in parts_by_name(layers).values() for part in parts]
    assert "transformer.time_guidance_embed.timestep_embedder.linear_1" in names


def test_a_layer_of_lumina_alone_is_told_by_its_width() -> None:
    assert names_of({"diffusion_model.layers.0.feed_forward.w1": (9216, 2304)}) == {
        "diffusion_model.layers.0.feed_forward.w1": "transformer.layers.0.feed_forward.linear_1"
    }
    assert names_of({"diffusion_model.layers.0.feed_forward.w1": (10240, 3840)}) == {
        "diffusion_model.layers.0.feed_forward.w1": "transformer.layers.0.feed_forward.w1"
    }


# --- payloads --------------------------------------------------------------------------------------


def weight_file(path: str, names: list[str]) -> WeightFile:
    shapes = {f"{n}.{end}": (8, 8) for n in names for end in ("lora_A.weight", "lora_B.weight")}
    made = make_header(shapes)
    raw = dump_header(made.tensors, ())
    parsed = parse_header(raw, file_size=None)
    body = bytes(max(tensor.end for tensor in made.tensors))
    return WeightFile(path, memoryview(raw + body), parsed, pair_tensors(parsed))


def test_parts_stand_in_the_order_of_the_payloads_modules() -> None:
    names = [f"transformer.blocks.0.attn1.to_{letter}" for letter in "qkv"]
    payload = Payload(
        (
            weight_file("high.safetensors", names),
            WeightFile("notes.txt", memoryview(b"")),
            weight_file("low.safetensors", names[:2]),
        )
    )
    found = canonical_parts(payload)
    # The second file holds no other half of the same network: its layers are others.
    spelt = [one.module.name for one in payload.modules]
    assert [parts[0].name for parts in found] == [*spelt[:3], *(f"2:{name}" for name in spelt[3:])]


def test_a_low_noise_expert_has_the_same_names_alone_and_in_a_set() -> None:
    names = ["transformer.blocks.0.attn1.to_q"]
    high = weight_file("wan_high_noise.safetensors", names)
    low = weight_file("wan_low_noise.safetensors", names)
    alone = canonical_parts(Payload((low,)))
    assert canonical_parts(Payload((high, low))) == (*canonical_parts(Payload((high,))), *alone)
    assert canonical_parts(Payload((low, high))) == (*alone, *canonical_parts(Payload((high,))))
    assert alone[0][0].name == f"2:{names[0]}"


def test_a_second_file_of_other_layers_is_the_rest_of_one_network() -> None:
    files = [weight_file(f"{c}.safetensors", [f"transformer.blocks.0.attn1.to_{c}"]) for c in "qk"]
    found = canonical_parts(Payload(tuple(files)))
    assert not any(part.name.startswith("2:") for own in found for part in own)


def test_a_payload_without_modules_has_no_parts() -> None:
    assert canonical_parts(Payload((WeightFile("a.txt", memoryview(b"")),))) == ()


def test_a_layout_of_nothing_is_nothing() -> None:
    layout = layout_of((), ())
    assert (layout.home, dict(layout.blocks), dict(layout.outside)) == (BARE, {}, {})


def test_names_load_no_torch() -> None:
    code = "import sys, registry.fingerprints.names; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
