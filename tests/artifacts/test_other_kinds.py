"""Files that are no adapters and stand in no sheet: none of them may be taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.artifacts.classifying.classify import classify
from registry.artifacts.inspection import inspect_path
from registry.artifacts.merges import reason_not_an_adapter
from registry.errors import NotFoundError
from registry.formats.safetensors import dump_header, lay_out, parse_header
from tests.sheet import make_header

Row = tuple[str, str, tuple[int, ...]]


def rows(dtype: str, *tensors: tuple[str, tuple[int, ...]]) -> list[Row]:
    return [(name, dtype, shape) for name, shape in tensors]


CASES: dict[str, tuple[str, list[Row]]] = {
    "sd3 checkpoint": (
        "full-checkpoint",
        rows(
            "F16",
            ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", (4608, 1536)),
            ("text_encoders.clip_l.transformer.text_model.embeddings.weight", (77, 768)),
        ),
    ),
    "flux transformer": (
        "full-model-part",
        rows(
            "BF16",
            ("double_blocks.0.img_attn.qkv.weight", (9216, 3072)),
            ("double_blocks.0.img_attn.norm.key_norm.scale", (128,)),
            ("img_in.bias", (3072,)),
        ),
    ),
    "wan transformer": (
        "full-model-part",
        rows(
            "BF16",
            ("blocks.0.ffn.0.weight", (5120, 5120)),
            ("head.head.bias", (64,)),
            ("blocks.0.modulation", (1, 6)),
        ),
    ),
    "t5": (
        "full-model-part",
        rows(
            "F16",
            ("encoder.block.0.layer.0.SelfAttention.q.weight", (4096, 4096)),
            ("shared.weight", (32128, 4096)),
        ),
    ),
    "clip": (
        "full-model-part",
        rows(
            "F16",
            ("text_model.embeddings.token_embedding.weight", (49408, 768)),
            ("text_model.encoder.layers.0.self_attn.q_proj.weight", (768, 768)),
        ),
    ),
    "flux vae": ("vae", rows("F32", ("encoder.conv_in.weight", (128, 3, 3, 3)))),
    "wan vae": (
        "vae",
        rows("F32", ("encoder.downsamples.0.residual.2.weight", (96, 96, 3, 3, 3))),
    ),
    "controlnet union": (
        "controlnet",
        rows("F16", ("controlnet_mode_embedder.weight", (10, 3072)), ("x.weight", (8, 8))),
    ),
    "controlnet xlabs": (
        "controlnet",
        rows(
            "BF16", ("controlnet_blocks.0.weight", (3072, 3072)), ("input_hint_block.0.bias", (16,))
        ),
    ),
    "controlnet lllite": (
        "controlnet",
        rows("F16", ("lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight", (32, 640))),
    ),
    "vace": ("controlnet", rows("BF16", ("vace_blocks.0.self_attn.q.weight", (5120, 5120)))),
    "t2i adapter": (
        "full-model-part",
        rows("F16", ("body.0.resnets.0.block1.weight", (320, 320, 3, 3)), ("conv_in.bias", (320,))),
    ),
    "ip-adapter plus": (
        "ip-adapter",
        rows(
            "F16",
            ("image_proj.layers.0.0.to_q.weight", (768, 768)),
            ("ip_adapter.1.to_v_ip.weight", (320, 768)),
        ),
    ),
    "ip-adapter faceid": (
        "ip-adapter",
        rows(
            "F16",
            ("image_proj.proj.0.weight", (1024, 512)),
            ("ip_adapter.0.to_q_lora.down.weight", (128, 320)),
            ("ip_adapter.0.to_q_lora.up.weight", (320, 128)),
            ("ip_adapter.1.to_k_ip.weight", (320, 768)),
        ),
    ),
    "ip-adapter flux": (
        "ip-adapter",
        rows(
            "BF16",
            ("double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight", (3072, 4096)),
            ("ip_adapter_proj_model.proj.weight", (16384, 768)),
        ),
    ),
    "motion module": (
        "full-model-part",
        rows(
            "F16",
            ("down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight", (320, 320)),
            ("down_blocks.0.motion_modules.0.temporal_transformer.pos_encoder.pe", (1, 32, 320)),
            ("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight", (320,)),
        ),
    ),
    "upscaler": (
        "full-model-part",
        rows(
            "F32",
            ("model.0.weight", (64, 3, 3, 3)),
            ("model.1.sub.0.RDB1.conv1.0.weight", (32, 64)),
        ),
    ),
    "taesd": (
        "full-model-part",
        rows("F16", ("0.weight", (64, 3, 3, 3)), ("1.conv.0.bias", (64,))),
    ),
    "embedding sdxl": (
        "textual-inversion",
        rows("F32", ("clip_g", (4, 1280)), ("clip_l", (4, 768))),
    ),
    "embedding flux": (
        "textual-inversion",
        rows("F32", ("t5xxl", (8, 4096)), ("clip_l", (8, 768))),
    ),
    "gptq": (
        "quantised-model",
        [
            ("model.layers.0.self_attn.q_proj.qweight", "I32", (512, 4096)),
            ("model.layers.0.self_attn.q_proj.g_idx", "I32", (4096,)),
        ],
    ),
    "awq": ("quantised-model", [("model.layers.0.mlp.up_proj.qzeros", "I32", (32, 1792))]),
    "bnb 8 bit": ("quantised-model", [("model.layers.0.mlp.up_proj.SCB", "F32", (14336,))]),
    "fp8 without scales": (
        "quantised-model",
        rows("F8_E4M3", ("double_blocks.0.img_attn.qkv.weight", (9216, 3072))),
    ),
    "fp8 of vllm": (
        "quantised-model",
        [
            ("model.layers.0.mlp.up_proj.weight_scale_inv", "F32", (8, 8)),
            ("x.weight", "F8_E4M3", (8, 8)),
        ],
    ),
    "svdquant": (
        "quantised-model",
        [
            ("transformer_blocks.0.attn.to_out.0.qweight", "I8", (3072, 1536)),
            ("transformer_blocks.0.attn.to_out.0.wscales", "BF16", (48, 3072)),
            ("transformer_blocks.0.attn.to_out.0.lora_down", "BF16", (3072, 32)),
            ("transformer_blocks.0.attn.to_out.0.lora_up", "BF16", (3072, 32)),
        ],
    ),
    "quantised model with adapter": (
        "quantised-model",
        [
            ("m.lora_A.weight", "BF16", (4, 64)),
            ("m.lora_B.weight", "BF16", (64, 4)),
            ("m.base_layer.weight.absmax", "F32", (64,)),
        ],
    ),
    "optimizer": (
        "training-state",
        rows(
            "F32",
            ("unet.a.lora_A.weight.exp_avg", (4, 64)),
            ("unet.a.lora_A.weight.exp_avg_sq", (4, 64)),
        ),
    ),
    "ema of a model": (
        "full-model-part",
        rows("F32", ("ema_model.down_blocks.0.resnets.0.conv1.weight", (320, 320, 3, 3))),
    ),
    "latents of flux": ("dataset-cache", rows("BF16", ("latents_128x96_bfloat16", (16, 128, 96)))),
    "latents of ai-toolkit": ("dataset-cache", rows("F32", ("latent", (16, 64, 64)))),
    "latents of wan": (
        "dataset-cache",
        rows(
            "BF16",
            ("latents_21x60x104_bfloat16", (16, 21, 60, 104)),
            ("latents_image_21x60x104_bfloat16", (20, 21, 60, 104)),
        ),
    ),
    "text of musubi": (
        "dataset-cache",
        rows("BF16", ("varlen_vl_embed_bfloat16", (231, 3584)), ("t5_mask_bool", (512,))),
    ),
    "text embeddings": (
        "dataset-cache",
        rows("BF16", ("prompt_embeds", (512, 4096)), ("pooled_prompt_embeds", (768,))),
    ),
    "llm shard": (
        "full-model-part",
        rows(
            "BF16",
            ("model.layers.17.self_attn.q_proj.weight", (4096, 4096)),
            ("model.layers.17.input_layernorm.weight", (4096,)),
        ),
    ),
    "reward head": (
        "full-model-part",
        rows("F32", ("v_head.summary.weight", (1, 4096)), ("v_head.summary.bias", (1,))),
    ),
    "classifier": ("full-model-part", rows("F32", ("score.weight", (2, 4096)))),
    "sentence transformer": (
        "full-model-part",
        rows(
            "F32",
            ("embeddings.word_embeddings.weight", (30522, 384)),
            ("pooler.dense.weight", (384, 384)),
        ),
    ),
    "full model with leftovers": (
        "full-model-part",
        rows(
            "F16",
            ("down_blocks.0.attentions.0.proj_in.weight", (320, 320)),
            ("down_blocks.0.attentions.0.proj_in.lora_A.weight", (4, 320)),
            ("down_blocks.0.attentions.0.proj_in.lora_B.weight", (320, 4)),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_not_taken_for_an_adapter(name: str) -> None:
    kind, tensors = CASES[name]
    found = classify(parse_header(dump_header(lay_out(tensors), []), file_size=None))
    assert found.kind == kind
    assert (found.modules, found.scales) == (0, ())
    assert found.base_guess is None or kind == "training-state"


@pytest.mark.parametrize("name", CASES)
def test_the_reason_names_what_it_is(name: str, tmp_path: Path) -> None:
    kind, tensors = CASES[name]
    laid = lay_out(tensors)
    path = tmp_path / "a.safetensors"
    path.write_bytes(dump_header(laid, []))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + laid[-1].end)  # sparse: no weights are written
    reason = reason_not_an_adapter(inspect_path(path))
    assert reason is not None
    assert reason.startswith("not an adapter but ")
    assert kind in reason or "merged into" in reason or "PEFT model saved whole" in reason
    assert len(reason) <= 500


def test_a_folder_with_a_tokenizer_and_a_config_only_has_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(NotFoundError):
        inspect_path(tmp_path)


def test_a_motion_lora_is_an_adapter() -> None:
    block = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"
    found = classify(
        make_header(
            {
                f"{block}.processor.to_q_lora.down.weight": (32, 320),
                f"{block}.processor.to_q_lora.up.weight": (320, 32),
            }
        )
    )
    assert (found.kind, found.method, found.rank) == ("adapter", "lora", 32)
