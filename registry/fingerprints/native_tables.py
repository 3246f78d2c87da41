"""What diffusers calls the layers of transformers that others call by their authors' names.

BFL, ComfyUI, ai-toolkit, kohya and musubi write the authors' names. Keys have underscores for dots, so that `double_blocks.0.img_attn.qkv`, Hunyuan's `img_attn_qkv` and
kohya's `lora_unet_double_blocks_0_img_attn_qkv` are one key; `#` is the number of the block. Oracle in the
tests: the converters of diffusers 0.42.1, for adapters and for whole checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from registry.fingerprints.row_cuts import (
    attention_and_mlp,
    grouped,
    halves,
    shift_and_scale,
    thirds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.fingerprints.row_cuts import Cut


class Fused(NamedTuple):
    """A weight that is several layers stacked: their paths, first rows first, and how to cut it.

    `whole` is the path where the widths say that nothing is stacked; "" keeps the module's own name.
    """

    paths: tuple[str, ...]
    cut: Cut
    whole: str = ""


Target: TypeAlias = "str | Fused"
Table: TypeAlias = "Mapping[str, Target]"


def _qkv(start: str, *, cut: Cut = thirds) -> Fused:
    return Fused((f"{start}.to_q", f"{start}.to_k", f"{start}.to_v"), cut)


def _added_qkv(start: str) -> Fused:
    return Fused(tuple(f"{start}.add_{letter}_proj" for letter in "qkv"), thirds)


def _mlp(name: str) -> tuple[str, str]:
    return f"{name}.net.0.proj", f"{name}.net.2"


# The original code has (shift, scale) in the rows, diffusers (scale, shift): [0] and [1] are
# diffusers' halves, so one training has the same two parts in either export.
def _swapped(path: str, cut: Cut, whole: str = "") -> Fused:
    return Fused((f"{path}[1]", f"{path}[0]"), cut, whole)


_T, _S = "transformer_blocks.#", "single_transformer_blocks.#"
_FINAL = {
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": _swapped("norm_out.linear", halves),
}

FLUX_BLOCKS: Table = {
    "double_blocks_#_img_attn_qkv": _qkv(f"{_T}.attn"),
    "double_blocks_#_txt_attn_qkv": _added_qkv(f"{_T}.attn"),
    "double_blocks_#_img_attn_proj": f"{_T}.attn.to_out.0",
    "double_blocks_#_txt_attn_proj": f"{_T}.attn.to_add_out",
    "double_blocks_#_img_attn_norm_query_norm": f"{_T}.attn.norm_q",
    "double_blocks_#_img_attn_norm_key_norm": f"{_T}.attn.norm_k",
    "double_blocks_#_txt_attn_norm_query_norm": f"{_T}.attn.norm_added_q",
    "double_blocks_#_txt_attn_norm_key_norm": f"{_T}.attn.norm_added_k",
    "double_blocks_#_img_mlp_0": _mlp(f"{_T}.ff")[0],
    "double_blocks_#_img_mlp_2": _mlp(f"{_T}.ff")[1],
    "double_blocks_#_txt_mlp_0": _mlp(f"{_T}.ff_context")[0],
    "double_blocks_#_txt_mlp_2": _mlp(f"{_T}.ff_context")[1],
    "double_blocks_#_img_mod_lin": f"{_T}.norm1.linear",
    "double_blocks_#_txt_mod_lin": f"{_T}.norm1_context.linear",
    "single_blocks_#_linear1": Fused(
        (f"{_S}.attn.to_q", f"{_S}.attn.to_k", f"{_S}.attn.to_v", f"{_S}.proj_mlp"),
        attention_and_mlp,
    ),
    "single_blocks_#_linear2": f"{_S}.proj_out",
    "single_blocks_#_modulation_lin": f"{_S}.norm.linear",
    "single_blocks_#_norm_query_norm": f"{_S}.attn.norm_q",
    "single_blocks_#_norm_key_norm": f"{_S}.attn.norm_k",
    # Chroma
    "distilled_guidance_layer_layers_#_in_layer": "distilled_guidance_layer.layers.#.linear_1",
    "distilled_guidance_layer_layers_#_out_layer": "distilled_guidance_layer.layers.#.linear_2",
    # XLabs
    "double_blocks_#_processor_qkv_lora1": _qkv(f"{_T}.attn"),
    "double_blocks_#_processor_qkv_lora2": _added_qkv(f"{_T}.attn"),
    "double_blocks_#_processor_proj_lora1": f"{_T}.attn.to_out.0",
    "double_blocks_#_processor_proj_lora2": f"{_T}.attn.to_add_out",
    "single_blocks_#_processor_qkv_lora": _qkv(f"{_S}.attn"),
    "single_blocks_#_processor_proj_lora": f"{_S}.proj_out",
    # FLUX.3
    **{f"single_blocks_#_{letter}_proj": f"{_S}.attn.to_{letter}" for letter in "qkv"},
    "single_blocks_#_attn_out": f"{_S}.attn.to_out.0",
    "single_blocks_#_mlp_in": f"{_S}.ff.linear_in",
    "single_blocks_#_mlp_out": f"{_S}.ff.linear_out",
    # HunyuanVideo, where it differs
    "double_blocks_#_img_attn_q_norm": f"{_T}.attn.norm_q",
    "double_blocks_#_img_attn_k_norm": f"{_T}.attn.norm_k",
    "double_blocks_#_txt_attn_q_norm": f"{_T}.attn.norm_added_q",
    "double_blocks_#_txt_attn_k_norm": f"{_T}.attn.norm_added_k",
    "double_blocks_#_img_mlp_fc1": _mlp(f"{_T}.ff")[0],
    "double_blocks_#_img_mlp_fc2": _mlp(f"{_T}.ff")[1],
    "double_blocks_#_txt_mlp_fc1": _mlp(f"{_T}.ff_context")[0],
    "double_blocks_#_txt_mlp_fc2": _mlp(f"{_T}.ff_context")[1],
    "double_blocks_#_img_mod_linear": f"{_T}.norm1.linear",
    "double_blocks_#_txt_mod_linear": f"{_T}.norm1_context.linear",
    "single_blocks_#_modulation_linear": f"{_S}.norm.linear",
    "single_blocks_#_q_norm": f"{_S}.attn.norm_q",
    "single_blocks_#_k_norm": f"{_S}.attn.norm_k",
}
FLUX_OUTSIDE: Table = {
    **_FINAL,
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    **{
        f"{ours}_{layer}": f"time_text_embed.{theirs}.linear_{number}"
        for ours, theirs in (
            ("time_in", "timestep_embedder"),
            ("guidance_in", "guidance_embedder"),
            ("vector_in", "text_embedder"),
        )
        for layer, number in (("in_layer", 1), ("out_layer", 2), ("mlp_0", 1), ("mlp_2", 2))
    },
    # HunyuanVideo
    "img_in_proj": "x_embedder.proj",
    "txt_in_input_embedder": "context_embedder.proj_in",
    "txt_in_t_embedder_mlp_0": "context_embedder.time_text_embed.timestep_embedder.linear_1",
    "txt_in_t_embedder_mlp_2": "context_embedder.time_text_embed.timestep_embedder.linear_2",
    "txt_in_c_embedder_linear_1": "context_embedder.time_text_embed.text_embedder.linear_1",
    "txt_in_c_embedder_linear_2": "context_embedder.time_text_embed.text_embedder.linear_2",
}
_R = "context_embedder.token_refiner.refiner_blocks.#"
HUNYUAN_REFINER: Table = {
    f"txt_in_individual_token_refiner_blocks_#_{ours}": target
    for ours, target in (
        ("self_attn_qkv", _qkv(f"{_R}.attn")),
        ("self_attn_proj", f"{_R}.attn.to_out.0"),
        ("mlp_fc1", f"{_R}.ff.net.0.proj"),
        ("mlp_fc2", f"{_R}.ff.net.2"),
        ("adaLN_modulation_1", f"{_R}.norm_out.linear"),
    )
}
# FLUX.2 uses FLUX.1's names for layers that diffusers calls something else (and leaves fused).
FLUX2_BLOCKS: Table = {
    "double_blocks_#_img_mlp_0": f"{_T}.ff.linear_in",
    "double_blocks_#_img_mlp_2": f"{_T}.ff.linear_out",
    "double_blocks_#_txt_mlp_0": f"{_T}.ff_context.linear_in",
    "double_blocks_#_txt_mlp_2": f"{_T}.ff_context.linear_out",
    "single_blocks_#_linear1": f"{_S}.attn.to_qkv_mlp_proj",
    "single_blocks_#_linear2": f"{_S}.attn.to_out",
}
FLUX2_OUTSIDE: Table = {
    **{
        f"{ours}_{layer}": f"time_guidance_embed.{theirs}.linear_{number}"
        for ours, theirs in (("time_in", "timestep_embedder"), ("guidance_in", "guidance_embedder"))
        for layer, number in (("in_layer", 1), ("out_layer", 2))
    },
    **{
        f"{name}_lin": f"{name}.linear"
        for name in (
            "single_stream_modulation",
            "double_stream_modulation_img",
            "double_stream_modulation_txt",
        )
    },
}
SD3_BLOCKS: Table = {
    "joint_blocks_#_x_block_attn_qkv": _qkv(f"{_T}.attn"),
    "joint_blocks_#_x_block_attn_proj": f"{_T}.attn.to_out.0",
    "joint_blocks_#_x_block_attn2_qkv": _qkv(f"{_T}.attn2"),
    "joint_blocks_#_x_block_attn2_proj": f"{_T}.attn2.to_out.0",
    "joint_blocks_#_context_block_attn_qkv": _added_qkv(f"{_T}.attn"),
    "joint_blocks_#_context_block_attn_proj": f"{_T}.attn.to_add_out",
    "joint_blocks_#_x_block_mlp_fc1": _mlp(f"{_T}.ff")[0],
    "joint_blocks_#_x_block_mlp_fc2": _mlp(f"{_T}.ff")[1],
    "joint_blocks_#_context_block_mlp_fc1": _mlp(f"{_T}.ff_context")[0],
    "joint_blocks_#_context_block_mlp_fc2": _mlp(f"{_T}.ff_context")[1],
    "joint_blocks_#_x_block_adaLN_modulation_1": f"{_T}.norm1.linear",
    # The last block's has two layers where the others have six, and those are swapped.
    "joint_blocks_#_context_block_adaLN_modulation_1": _swapped(
        f"{_T}.norm1_context.linear", shift_and_scale, f"{_T}.norm1_context.linear"
    ),
}
SD3_OUTSIDE: Table = {
    **_FINAL,
    "x_embedder_proj": "pos_embed.proj",
    "t_embedder_mlp_0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder_mlp_2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder_mlp_0": "time_text_embed.text_embedder.linear_1",
    "y_embedder_mlp_2": "time_text_embed.text_embedder.linear_2",
}
WAN_BLOCKS: Table = {
    **{
        f"blocks_#_{ours}_attn_{letter}": f"blocks.#.attn{number}.{path}"
        for ours, number in (("self", 1), ("cross", 2))
        for letter, path in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
    },
    "blocks_#_cross_attn_k_img": "blocks.#.attn2.add_k_proj",
    "blocks_#_cross_attn_v_img": "blocks.#.attn2.add_v_proj",
    "blocks_#_ffn_0": _mlp("blocks.#.ffn")[0],
    "blocks_#_ffn_2": _mlp("blocks.#.ffn")[1],
}
_C = "condition_embedder"
WAN_OUTSIDE: Table = {
    "time_embedding_0": f"{_C}.time_embedder.linear_1",
    "time_embedding_2": f"{_C}.time_embedder.linear_2",
    "text_embedding_0": f"{_C}.text_embedder.linear_1",
    "text_embedding_2": f"{_C}.text_embedder.linear_2",
    "time_projection_1": f"{_C}.time_proj",
    "img_emb_proj_1": f"{_C}.image_embedder.ff.net.0.proj",
    "img_emb_proj_3": f"{_C}.image_embedder.ff.net.2",
    "head_head": "proj_out",
}
COSMOS_BLOCKS: Table = {
    **{
        f"blocks_#_{ours}_attn_{name}_proj": f"{_T}.attn{number}.{path}"
        for ours, number in (("self", 1), ("cross", 2))
        for name, path in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("output", "to_out.0"))
    },
    **{
        f"blocks_#_adaln_modulation_{name}_{index}": f"{_T}.norm{number}.linear_{index}"
        for name, number in (("self_attn", 1), ("cross_attn", 2), ("mlp", 3))
        for index in (1, 2)
    },
    "blocks_#_mlp_layer1": _mlp(f"{_T}.ff")[0],
    "blocks_#_mlp_layer2": _mlp(f"{_T}.ff")[1],
}
COSMOS_OUTSIDE: Table = {
    "final_layer_adaln_modulation_1": "norm_out.linear_1",
    "final_layer_adaln_modulation_2": "norm_out.linear_2",
    "final_layer_linear": "proj_out",
    "x_embedder_proj_1": "patch_embed.proj",
    "t_embedder_1_linear_1": "time_embed.t_embedder.linear_1",
    "t_embedder_1_linear_2": "time_embed.t_embedder.linear_2",
}
_KREA_LAYERS = {
    **{f"attn_w{letter}": f"attn.to_{letter}" for letter in "qkv"},
    "attn_wo": "attn.to_out.0",
    "attn_gate": "attn.to_gate",
    **{f"mlp_{name}": f"ff.{name}" for name in ("gate", "up", "down")},
}
KREA_BLOCKS: Table = {
    f"{ours}_#_{key}": f"{theirs}.#.{path}"
    for ours, theirs in (
        ("blocks", "transformer_blocks"),
        ("txtfusion_layerwise_blocks", "text_fusion.layerwise_blocks"),
        ("txtfusion_refiner_blocks", "text_fusion.refiner_blocks"),
    )
    for key, path in _KREA_LAYERS.items()
}
KREA_OUTSIDE: Table = {
    "first": "img_in",
    "last_linear": "final_layer.linear",
    "tmlp_0": "time_embed.linear_1",
    "tmlp_2": "time_embed.linear_2",
    "tproj_1": "time_mod_proj",
    "txtmlp_1": "txt_in.linear_1",
    "txtmlp_3": "txt_in.linear_2",
    "txtfusion_projector": "text_fusion.projector",
}
_LTX_ROOTS = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
}
LTX_OUTSIDE: Table = {
    f"{ours}{key}": f"{theirs}{path}"
    for ours, theirs in _LTX_ROOTS.items()
    for key, path in (
        ("", ""),
        ("_linear", ".linear"),
        ("_emb_timestep_embedder_linear_1", ".emb.timestep_embedder.linear_1"),
        ("_emb_timestep_embedder_linear_2", ".emb.timestep_embedder.linear_2"),
    )
}
# Its blocks are called as in diffusers, and PixArt's `adaln_single` keeps its name: these tell LTX.
LTX_MARKS = (
    "patchify_proj",
    "audio_patchify_proj",
    *(
        f"transformer_blocks_#_audio_attn{number}_to_{letter}"
        for number in (1, 2)
        for letter in "qkv"
    ),
)
_STACKS = ("layers", "noise_refiner", "context_refiner")
# Lumina 2 and Z-Image share their authors' names; diffusers renamed only the first of them.
LUMINA_BLOCKS: Table = {
    f"{stack}_#_{key}": target
    for stack in _STACKS
    for key, target in (
        ("attention_qkv", _qkv(f"{stack}.#.attn", cut=grouped)),
        ("attention_out", f"{stack}.#.attn.to_out.0"),
        *((f"feed_forward_w{n}", f"{stack}.#.feed_forward.linear_{n}") for n in (1, 2, 3)),
        ("adaLN_modulation_1", f"{stack}.#.norm1.linear"),
    )
}
LUMINA_OUTSIDE: Table = {
    "cap_embedder_1": "time_caption_embed.caption_embedder.1",
    "t_embedder_mlp_0": "time_caption_embed.timestep_embedder.linear_1",
    "t_embedder_mlp_2": "time_caption_embed.timestep_embedder.linear_2",
    "final_layer_adaLN_modulation_1": "norm_out.linear_1",
    "final_layer_linear": "norm_out.linear_2",
}
ZIMAGE_BLOCKS: Table = {
    f"{stack}_#_attention_{key}": target
    for stack in _STACKS
    for key, target in (
        ("qkv", _qkv(f"{stack}.#.attention")),
        ("out", f"{stack}.#.attention.to_out.0"),
        ("o", f"{stack}.#.attention.to_out.0"),  # Ideogram 4
    )
}
ZIMAGE_OUTSIDE: Table = {
    "x_embedder": "all_x_embedder.2-1",
    "final_layer_linear": "all_final_layer.2-1.linear",
    "final_layer_adaLN_modulation_1": "all_final_layer.2-1.adaLN_modulation.1",
}
_LAYER = "text_model.encoder.layers.#"
OPEN_CLIP: Table = {
    "resblocks_#_attn_in_proj": Fused(
        tuple(f"{_LAYER}.self_attn.{letter}_proj" for letter in "qkv"), thirds
    ),
    "resblocks_#_attn_out_proj": f"{_LAYER}.self_attn.out_proj",
    "resblocks_#_mlp_c_fc": f"{_LAYER}.mlp.fc1",
    "resblocks_#_mlp_c_proj": f"{_LAYER}.mlp.fc2",
    "resblocks_#_ln_1": f"{_LAYER}.layer_norm1",
    "resblocks_#_ln_2": f"{_LAYER}.layer_norm2",
}
