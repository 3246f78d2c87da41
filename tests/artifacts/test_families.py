"""Families that look alike: each pair that block names alone would confuse."""

from __future__ import annotations

import pytest

from registry.artifacts.classifying.classify import classify
from registry.formats.adapter_config import parse_adapter_config
from tests.sheet import make_header


def family(
    modules: dict[str, tuple[int, int]], *, base: str | None = None, **metadata: str
) -> str | None:
    tensors: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in modules.items():
        tensors[f"{name}.lora_A.weight"] = (4, inputs)
        tensors[f"{name}.lora_B.weight"] = (outputs, 4)
    text = f'{{"peft_type":"LORA","base_model_name_or_path":"{base}"}}'
    config = parse_adapter_config(text.encode()) if base else None
    return classify(make_header(tensors, **metadata), config=config).family


def block(template: str, last: int, inputs: int, outputs: int) -> dict[str, tuple[int, int]]:
    return {template.format(number): (inputs, outputs) for number in range(last + 1)}


SD = "unet.down_blocks.0.attentions.0.transformer_blocks.0."


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({SD + "attn2.to_k": (768, 320)}, "sd1"),
        ({SD + "attn2.to_k": (1024, 320)}, "sd2"),
        ({SD + "attn2.to_k": (2048, 640)}, "sdxl"),
        ({SD + "attn1.to_q": (320, 320)}, None),
        ({"unet.up_blocks.0.attentions.0.transformer_blocks.9.attn1.to_q": (640, 640)}, "sdxl"),
        ({"lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q": (1280, 1280)}, "sdxl"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1": (768, 3072)}, "sd1"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1": (1024, 4096)}, "sd2"),
        ({"lora_te1_text_model_encoder_layers_0_mlp_fc1": (768, 3072)}, None),
    ],
)
def test_unets(modules: dict[str, tuple[int, int]], expected: str | None) -> None:
    assert family(modules) == expected


KOHYA_FLUX = "lora_unet_double_blocks_{}_img_attn_qkv"


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (block(KOHYA_FLUX, 18, 3072, 9216), "flux1"),
        (block(KOHYA_FLUX, 19, 3072, 9216), "hunyuan-video"),
        (block(KOHYA_FLUX, 3, 3072, 9216), None),
        (block("lora_unet_single_blocks_{}_linear1", 39, 3072, 21504), "hunyuan-video"),
        (block("lora_unet_single_blocks_{}_linear1", 37, 3072, 21504), "flux1"),
        ({"lora_unet_double_blocks_0_img_mlp_fc1": (3072, 12288)}, "hunyuan-video"),
        ({"lora_unet_double_blocks_0_img_mlp_0": (3072, 12288)}, "flux1"),
        ({"lora_unet_double_blocks_0_img_mlp_0": (3072, 18432)}, "flux2"),
        ({"lora_unet_double_blocks_0_img_attn_qkv": (6144, 18432)}, "flux2"),
        ({"diffusion_model.double_blocks.0.img_attn.qkv": (3072, 9216)}, "flux1"),
        (
            {
                "lora_unet_double_blocks_0_img_attn_qkv": (3072, 9216),
                "lora_unet_distilled_guidance_layer_in_proj": (64, 64),
            },
            "chroma",
        ),
        (
            block("transformer.single_transformer_blocks.{}.attn.to_q", 39, 3072, 3072),
            "hunyuan-video",
        ),
        (block("transformer.single_transformer_blocks.{}.attn.to_q", 37, 3072, 3072), "flux1"),
        (block("transformer.single_transformer_blocks.{}.attn.to_q", 3, 3072, 3072), None),
        ({"transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj": (3072, 9)}, "flux2"),
        ({"transformer.single_transformer_blocks.0.attn.to_q": (4096, 4096)}, "flux2"),
        ({"transformer.single_transformer_blocks.0.attn.to_q": (999, 999)}, None),
    ],
)
def test_flux_and_its_relatives(modules: dict[str, tuple[int, int]], expected: str | None) -> None:
    assert family(modules) == expected


ADD = "transformer.transformer_blocks.{}.attn.add_q_proj"


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (block(ADD, 23, 1536, 1536), "sd3-medium"),
        (block(ADD, 37, 2432, 2432), "sd3.5-large"),
        (block(ADD, 19, 3072, 3072), "qwen-image"),
        (block(ADD, 18, 3072, 3072), None),
        (
            block(ADD, 5, 3072, 3072)
            | {"transformer.transformer_blocks.0.ff.net.2": (12288, 3072)},
            "flux1",
        ),
        (
            block(ADD, 5, 3072, 3072)
            | {"transformer.transformer_blocks.0.img_mlp.net.2": (12288, 3072)},
            "qwen-image",
        ),
        ({"lora_unet_joint_blocks_0_x_block_attn_qkv": (2432, 7296)}, "sd3.5-large"),
        ({"lora_unet_joint_blocks_0_x_block_attn_qkv": (99, 99)}, None),
        ({"transformer.transformer_blocks.0.attn1.to_q": (2048, 2048)}, "ltx-video"),
        ({"transformer.transformer_blocks.0.attn1.to_q": (1152, 1152)}, "pixart"),
        ({"transformer.transformer_blocks.0.ff.conv_inverted": (2240, 11200)}, "sana"),
        ({"transformer.transformer_blocks.0.attn1.to_q": (77, 77)}, None),
    ],
)
def test_joint_and_plain_transformers(
    modules: dict[str, tuple[int, int]], expected: str | None
) -> None:
    assert family(modules) == expected


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"lora_unet_blocks_0_self_attn_q": (5120, 5120)}, "wan-14b"),
        ({"lora_unet_blocks_0_ffn_0": (3072, 14336)}, "wan-5b"),
        ({"transformer.blocks.0.attn1.to_q": (1536, 1536)}, "wan-1.3b"),
        ({"diffusion_model.blocks.0.cross_attn.k": (5120, 5120)}, "wan-14b"),
        ({"diffusion_model.blocks.0.cross_attn.q_proj": (2048, 2048)}, "anima/cosmos"),
        ({"lora_unet_blocks_0_attn_wq": (6144, 6144)}, "krea2"),
        ({"lora_unet_blocks_0_self_attn_q": (77, 77)}, None),
        ({"diffusion_model.layers.0.attention.to_q": (3840, 3840)}, "z-image"),
        ({"diffusion_model.layers.0.feed_forward.w1": (2304, 9216)}, "lumina2"),
        ({"diffusion_model.layers.0.attention.to_q": (77, 77)}, None),
    ],
)
def test_video_and_layer_models(modules: dict[str, tuple[int, int]], expected: str | None) -> None:
    assert family(modules) == expected


def decoder(hidden: int, keys: int, wide: int, last: int = 3) -> dict[str, tuple[int, int]]:
    layer = "base_model.model.model.layers.{}."
    return {
        **block(layer + "self_attn.q_proj", last, hidden, hidden),
        **block(layer + "self_attn.v_proj", last, hidden, keys),
        **block(layer + "mlp.up_proj", last, hidden, wide),
    }


@pytest.mark.parametrize(
    ("modules", "base", "expected"),
    [
        (decoder(4096, 1024, 14336), None, None),
        (decoder(4096, 1024, 14336), "meta-llama/Llama-3.1-8B", "llm-llama31"),
        (decoder(4096, 1024, 14336), "/models/Mistral-7B-v0.3", "llm-mistral"),
        (decoder(4096, 1024, 14336), "/models/Llama-3.1-8B/", "llm-llama31"),
        (decoder(4096, 1024, 14336), "/home/llama-3/other", None),
        (decoder(4096, 1024, 12288), "meta-llama/Llama-3.1-8B", None),
        (decoder(4096, 1024, 14336, last=35), "meta-llama/Llama-3.1-8B", None),
        (decoder(4096, 4096, 11008), "meta-llama/Llama-2-7b", None),
        (decoder(3584, 512, 18944), None, "llm-qwen25"),
        (decoder(3584, 2048, 14336), None, None),
        ({"base_model.model.transformer.h.0.attn.c_attn": (768, 2304)}, None, "llm-gpt2"),
        ({"base_model.model.transformer.h.0.attn.c_attn": (999, 2997)}, None, None),
        ({"base_model.model.x.y": (64, 64)}, None, None),
    ],
)
def test_language_models(
    modules: dict[str, tuple[int, int]], base: str | None, expected: str | None
) -> None:
    assert family(modules, base=base) == expected


def test_a_vocabulary_tells_llama_from_mistral() -> None:
    tensors: dict[str, tuple[int, ...]] = {"base_model.model.lm_head.weight": (128256, 4096)}
    for name, (inputs, outputs) in decoder(4096, 1024, 14336).items():
        tensors[f"{name}.lora_A.weight"] = (4, inputs)
        tensors[f"{name}.lora_B.weight"] = (outputs, 4)
    assert classify(make_header(tensors)).family == "llm-llama31"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("chroma", "chroma"), ("flux.1", "flux1"), ("Flux.1-dev/lora", "flux1"), ("", "flux1")],
)
def test_a_claim_chooses_among_what_fits(word: str, expected: str) -> None:
    modules = block(KOHYA_FLUX, 18, 3072, 9216)
    assert family(modules, ss_base_model_version=word) == expected


def test_a_claim_does_not_choose_what_does_not_fit() -> None:
    assert family({SD + "attn1.to_q": (320, 320)}, ss_base_model_version="flux.1") is None
    assert family({SD + "attn1.to_q": (320, 320)}, ss_base_model_version="sd_v2") == "sd2"
