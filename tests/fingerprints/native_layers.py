"""Layers of well-known transformers under their authors' names, with (outputs, inputs)."""

from __future__ import annotations

FLUX = {
    "double_blocks.3.img_attn.qkv": (9216, 3072),
    "double_blocks.3.txt_attn.qkv": (9216, 3072),
    "double_blocks.3.img_attn.proj": (3072, 3072),
    "double_blocks.3.txt_attn.proj": (3072, 3072),
    "double_blocks.3.img_mlp.0": (12288, 3072),
    "double_blocks.3.txt_mlp.2": (3072, 12288),
    "double_blocks.3.img_mod.lin": (18432, 3072),
    "double_blocks.3.txt_mod.lin": (18432, 3072),
    "single_blocks.11.linear1": (21504, 3072),
    "single_blocks.11.linear2": (3072, 15360),
    "single_blocks.11.modulation.lin": (9216, 3072),
    "img_in": (3072, 64),
    "txt_in": (3072, 4096),
    "time_in.in_layer": (3072, 256),
    "guidance_in.out_layer": (3072, 3072),
    "vector_in.in_layer": (3072, 768),
    "final_layer.linear": (64, 3072),
    "final_layer.adaLN_modulation.1": (6144, 3072),
}
FLUX2 = {
    "double_blocks.1.img_attn.qkv": (288, 96),
    "double_blocks.1.txt_attn.qkv": (288, 96),
    "double_blocks.1.img_attn.proj": (96, 96),
    "double_blocks.1.txt_attn.proj": (96, 96),
    "double_blocks.1.img_mlp.0": (576, 96),
    "double_blocks.1.txt_mlp.2": (96, 288),
    "single_blocks.2.linear1": (864, 96),
    "single_blocks.2.linear2": (96, 384),
    "img_in": (96, 128),
    "txt_in": (96, 160),
    "time_in.in_layer": (96, 256),
    "time_in.out_layer": (96, 96),
    "final_layer.linear": (128, 96),
}
FLUX2_MORE = {
    "guidance_in.in_layer": (96, 256),
    "single_stream_modulation.lin": (288, 96),
    "double_stream_modulation_img.lin": (576, 96),
    "double_stream_modulation_txt.lin": (576, 96),
}
FLUX3 = {
    **{f"single_blocks.0.{letter}_proj": (64, 64) for letter in "qkv"},
    "single_blocks.0.attn_out": (64, 64),
    "single_blocks.0.mlp_in": (256, 64),
    "single_blocks.0.mlp_out": (64, 128),
}
HUNYUAN = {
    "double_blocks.5.img_attn_qkv": (9216, 3072),
    "double_blocks.5.txt_attn_qkv": (9216, 3072),
    "double_blocks.5.img_attn_proj": (3072, 3072),
    "double_blocks.5.txt_attn_proj": (3072, 3072),
    "double_blocks.5.img_mlp.fc1": (12288, 3072),
    "double_blocks.5.txt_mlp.fc2": (3072, 12288),
    "double_blocks.5.img_mod.linear": (18432, 3072),
    "double_blocks.5.txt_mod.linear": (18432, 3072),
    "single_blocks.7.linear1": (21504, 3072),
    "single_blocks.7.linear2": (3072, 15360),
    "single_blocks.7.modulation.linear": (9216, 3072),
    "img_in.proj": (3072, 64),
    "time_in.mlp.0": (3072, 256),
    "guidance_in.mlp.2": (3072, 3072),
    "vector_in.in_layer": (3072, 768),
    "txt_in.input_embedder": (3072, 4096),
    "txt_in.t_embedder.mlp.0": (3072, 256),
    "txt_in.c_embedder.linear_1": (3072, 4096),
    "final_layer.linear": (64, 3072),
}
LUMINA = {
    f"{stack}.{number}.{name}": widths
    for stack, number in (("layers", 0), ("noise_refiner", 0), ("context_refiner", 0))
    for name, widths in {
        "attention.qkv": (3840, 2304),
        "attention.out": (2304, 2304),
        "feed_forward.w1": (9216, 2304),
        "feed_forward.w2": (2304, 9216),
        "feed_forward.w3": (9216, 2304),
        "adaLN_modulation.1": (9216, 1024),
    }.items()
    if not (stack == "context_refiner" and name.startswith("adaLN"))
}
WAN = {
    **{
        f"blocks.0.{side}_attn.{letter}": (64, 64)
        for side in ("self", "cross")
        for letter in "qkvo"
    },
    "blocks.0.cross_attn.k_img": (64, 64),
    "blocks.0.cross_attn.v_img": (64, 64),
    "blocks.0.ffn.0": (160, 64),
    "blocks.0.ffn.2": (64, 160),
    "time_embedding.0": (64, 32),
    "time_embedding.2": (64, 64),
    "text_embedding.0": (64, 48),
    "text_embedding.2": (64, 64),
    "time_projection.1": (384, 64),
    "img_emb.proj.1": (40, 40),
    "img_emb.proj.3": (64, 40),
    "head.head": (16, 64),
}
ANIMA = {
    **{
        f"blocks.4.{side}_attn.{name}_proj": (64, 64)
        for side in ("self", "cross")
        for name in ("q", "k", "v", "output")
    },
    **{
        f"blocks.4.adaln_modulation_{name}.{index}": (64, 64)
        for name in ("self_attn", "cross_attn", "mlp")
        for index in (1, 2)
    },
    "blocks.4.mlp.layer1": (256, 64),
    "blocks.4.mlp.layer2": (64, 256),
    "final_layer.adaln_modulation.1": (64, 64),
    "final_layer.linear": (16, 64),
    "x_embedder.proj.1": (64, 16),
    "t_embedder.1.linear_1": (64, 64),
    "llm_adapter.blocks.0.self_attn.q_proj": (64, 64),
}
KREA = {
    **{
        f"{block}.{layer}": widths
        for block in ("blocks.9", "txtfusion.layerwise_blocks.0", "txtfusion.refiner_blocks.1")
        for layer, widths in {
            "attn.wq": (64, 64),
            "attn.wk": (16, 64),
            "attn.wv": (16, 64),
            "attn.wo": (64, 64),
            "attn.gate": (64, 64),
            "mlp.gate": (160, 64),
            "mlp.up": (160, 64),
            "mlp.down": (64, 160),
        }.items()
    },
    "first": (64, 16),
    "last.linear": (16, 64),
    "tmlp.0": (64, 32),
    "tmlp.2": (64, 64),
    "tproj.1": (384, 64),
    "txtmlp.1": (64, 48),
    "txtmlp.3": (64, 64),
    "txtfusion.projector": (64, 64),
}
QWEN = {
    "transformer_blocks.8.attn.to_q": (64, 64),
    "transformer_blocks.8.attn.add_k_proj": (64, 64),
    "transformer_blocks.8.attn.to_out.0": (64, 64),
    "transformer_blocks.8.attn.to_add_out": (64, 64),
    "transformer_blocks.8.img_mlp.net.0.proj": (256, 64),
    "transformer_blocks.8.txt_mlp.net.2": (64, 256),
    "transformer_blocks.8.img_mod.1": (384, 64),
    "img_in": (64, 16),
    "txt_in": (64, 48),
    "proj_out": (16, 64),
    "norm_out.linear": (128, 64),
    "time_text_embed.timestep_embedder.linear_1": (64, 32),
}
ZIMAGE_SPLIT = {
    "layers.2.attention.to_q": (64, 64),
    "layers.2.attention.to_out.0": (64, 64),
    "layers.2.feed_forward.w1": (160, 64),
    "layers.2.adaLN_modulation.0": (256, 32),
    "noise_refiner.0.attention.to_k": (64, 64),
    "context_refiner.1.feed_forward.w2": (64, 160),
    "cap_embedder.1": (64, 48),
    "t_embedder.mlp.0": (64, 32),
}
IDEOGRAM = {
    "layers.0.attention.qkv": (192, 64),
    "layers.0.attention.o": (64, 64),
    "layers.0.feed_forward.w1": (160, 64),
    "layers.0.feed_forward.w2": (64, 160),
    "layers.0.adaln_modulation": (256, 64),
}
LTX = {
    "transformer_blocks.0.attn1.to_q": (64, 64),
    "transformer_blocks.0.attn2.to_out.0": (64, 64),
    "transformer_blocks.0.ff.net.0.proj": (256, 64),
    "proj_in": (64, 16),
}
LTX2 = {
    "transformer_blocks.0.attn1.to_q": (64, 64),
    "transformer_blocks.0.audio_attn1.to_q": (32, 32),
    "transformer_blocks.0.audio_to_video_attn.to_out.0": (64, 64),
    "patchify_proj": (64, 16),
    "audio_patchify_proj": (32, 16),
    "adaln_single.emb.timestep_embedder.linear_1": (64, 32),
    "adaln_single.linear": (384, 64),
    "audio_adaln_single.emb.timestep_embedder.linear_2": (32, 32),
    "av_ca_video_scale_shift_adaln_single.linear": (256, 64),
    "av_ca_audio_scale_shift_adaln_single.linear": (128, 32),
    "av_ca_a2v_gate_adaln_single.linear": (64, 64),
    "av_ca_v2a_gate_adaln_single.linear": (32, 32),
    "prompt_adaln_single.linear": (128, 64),
    "audio_prompt_adaln_single.linear": (64, 32),
}
XLABS = {
    "double_blocks.0.processor.qkv_lora1": (9216, 3072),
    "double_blocks.0.processor.qkv_lora2": (9216, 3072),
    "double_blocks.0.processor.proj_lora1": (3072, 3072),
    "double_blocks.0.processor.proj_lora2": (3072, 3072),
    "single_blocks.4.processor.qkv_lora": (9216, 3072),
    "single_blocks.4.processor.proj_lora": (3072, 15360),
}

# Native names of whole checkpoints that the adapters' converters leave out, with (outputs, inputs).
SD3 = {
    **{
        f"joint_blocks.{number}.{stream}.{layer}": widths
        for number in (0, 1)
        for stream in ("x_block", "context_block")
        for layer, widths in {
            "attn.qkv": (192, 64),
            "attn.proj": (64, 64),
            "mlp.fc1": (256, 64),
            "mlp.fc2": (64, 256),
            "adaLN_modulation.1": (384, 64),
        }.items()
        if not (number == 1 and stream == "context_block" and layer != "attn.qkv")
    },
    "joint_blocks.1.context_block.adaLN_modulation.1": (128, 64),
    "x_embedder.proj": (64, 16),
    "context_embedder": (64, 48),
    "t_embedder.mlp.0": (64, 32),
    "t_embedder.mlp.2": (64, 64),
    "y_embedder.mlp.0": (64, 40),
    "y_embedder.mlp.2": (64, 64),
    "final_layer.linear": (16, 64),
    "final_layer.adaLN_modulation.1": (128, 64),
}
SD35 = {
    **{
        name: (576, 64) if name == "joint_blocks.0.x_block.adaLN_modulation.1" else widths
        for name, widths in SD3.items()
    },
    "joint_blocks.0.x_block.attn2.qkv": (192, 64),
    "joint_blocks.0.x_block.attn2.proj": (64, 64),
}
CHROMA = {
    **{
        name.replace(".3.", ".0.").replace(".11.", ".0."): widths
        for name, widths in FLUX.items()
        if "mod" not in name and not name.startswith(("time", "guidance", "vector"))
    },
    "double_blocks.0.img_mlp.2": (3072, 12288),
    "double_blocks.0.txt_mlp.0": (12288, 3072),
    "distilled_guidance_layer.in_proj": (512, 64),
    "distilled_guidance_layer.out_proj": (3072, 512),
    "distilled_guidance_layer.layers.0.in_layer": (512, 512),
    "distilled_guidance_layer.layers.0.out_layer": (512, 512),
}
# What the converters insist on and no adapter has.
NORMS = (
    "distilled_guidance_layer.norms.0.scale",
    "double_blocks.0.img_attn.norm.query_norm.scale",
    "double_blocks.0.img_attn.norm.key_norm.scale",
    "double_blocks.0.txt_attn.norm.query_norm.scale",
    "double_blocks.0.txt_attn.norm.key_norm.scale",
    "single_blocks.0.norm.query_norm.scale",
    "single_blocks.0.norm.key_norm.scale",
)
ZIMAGE = {
    "layers.0.attention.qkv": (192, 64),
    "layers.0.attention.out": (64, 64),
    "layers.0.feed_forward.w1": (160, 64),
    "layers.0.adaLN_modulation.0": (256, 32),
    "noise_refiner.1.attention.qkv": (192, 64),
    "context_refiner.0.attention.out": (64, 64),
    "x_embedder": (64, 16),
    "cap_embedder.1": (64, 48),
    "t_embedder.mlp.0": (32, 32),
    "final_layer.linear": (16, 64),
    "final_layer.adaLN_modulation.1": (64, 32),
}
LUMINA_WHOLE = {
    **LUMINA,
    "cap_embedder.1": (2304, 48),
    "t_embedder.mlp.0": (1024, 32),
    "t_embedder.mlp.2": (1024, 1024),
    "final_layer.adaLN_modulation.1": (2304, 1024),
    "final_layer.linear": (16, 2304),
}
