"""Classes of layers by canonical name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.fingerprints.kinds import class_counts, kind_of
from registry.fingerprints.parts import CanonicalPart

KINDS = {
    "attn.q": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "model.layers.0.self_attn.q_proj",
        "model.h.0.attn.c_attn[q]",
        "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q",
        "transformer.single_transformer_blocks.0.attn.to_q",
    ),
    "attn.out": (
        "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
        "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
        "model.layers.0.self_attn.o_proj",
        "model.h.0.attn.c_proj",
        "text_encoder_3.encoder.block.0.layer.0.SelfAttention.o",
        "model.layers.0.attention.dense",
    ),
    "attn.qkv": (
        "model.layers.0.attention.query_key_value",
        "model.layers.0.self_attn.qkv_proj",
        "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj",
        "model.h.0.attn.c_attn",
    ),
    "attn.gate": ("transformer.transformer_blocks.0.attn.to_gate",),
    "cross.k": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
        "transformer.blocks.0.attn2.add_k_proj",
        "model.decoder.block.0.layer.1.EncDecAttention.k",
        "model.decoder.layers.0.encoder_attn.k_proj",
    ),
    "joint.v": ("transformer.transformer_blocks.0.attn.add_v_proj",),
    "joint.out": ("transformer.transformer_blocks.0.attn.to_add_out",),
    "ff.in": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "transformer.blocks.0.ffn.net.0.proj",
        "transformer.transformer_blocks.0.img_mlp.net.0.proj",
        "transformer.transformer_blocks.0.ff_context.linear_in",
        "transformer.single_transformer_blocks.0.proj_mlp",
        "transformer.layers.0.feed_forward.w3",
        "transformer.layers.0.feed_forward.linear_3",
        "model.layers.0.mlp.up_proj",
        "model.h.0.mlp.c_fc",
        "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        "text_encoder_3.encoder.block.0.layer.1.DenseReluDense.wi_1",
        "transformer.transformer_blocks.0.ff.up",
    ),
    "ff.gate": (
        "model.layers.0.mlp.gate_proj",
        "transformer.layers.0.feed_forward.w1",
        "transformer.layers.0.feed_forward.linear_1",
        "text_encoder_3.encoder.block.0.layer.1.DenseReluDense.wi_0",
        "transformer.transformer_blocks.0.ff.gate",
    ),
    "ff.out": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2",
        "transformer.transformer_blocks.0.txt_mlp.net.2",
        "transformer.layers.0.feed_forward.w2",
        "model.layers.0.mlp.down_proj",
        "model.h.0.mlp.c_proj",
        "text_encoder.text_model.encoder.layers.0.mlp.fc2",
        "text_encoder_3.encoder.block.0.layer.1.DenseReluDense.wo",
        "transformer.transformer_blocks.0.ff.linear_out",
    ),
    "conv": (
        "unet.down_blocks.0.resnets.0.conv1",
        "unet.down_blocks.0.resnets.0.conv_shortcut",
        "unet.down_blocks.0.downsamplers.0.conv",
        "unet.conv_in",
        "transformer.transformer_blocks.0.ff.conv_inverted",
    ),
    "embed": (
        "unet.time_embedding.linear_1",
        "unet.add_embedding.linear_2",
        "unet.down_blocks.0.resnets.0.time_emb_proj",
        "transformer.x_embedder",
        "transformer.time_text_embed.timestep_embedder.linear_1",
        "model.embed_tokens",
        "model.wte",
        "transformer.patch_embed.proj",
    ),
    "norm": (
        "transformer.transformer_blocks.0.norm1.linear",
        "transformer.norm_out.linear[0]",
        "transformer.single_transformer_blocks.0.norm.linear",
        "transformer.transformer_blocks.0.img_mod.1",
        "transformer.layers.0.adaLN_modulation.0",
        "transformer.transformer_blocks.0.attn.norm_q",
        "transformer.single_stream_modulation.linear",
    ),
    "proj": (
        "unet.down_blocks.0.attentions.0.proj_in",
        "transformer.proj_out",
        "transformer.single_transformer_blocks.0.proj_out",
        "text_encoder.text_projection",
        "lm_head",
    ),
    "other": ("whatever", "transformer.first", "0", "a.b.c"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_have_their_class(kind: str) -> None:
    assert {name: kind_of(name) for name in KINDS[kind]} == dict.fromkeys(KINDS[kind], kind)


@given(st.text(max_size=40))
def test_any_name_has_one_of_the_classes(name: str) -> None:
    assert kind_of(name).split(".")[0] in {
        *(kind.split(".")[0] for kind in KINDS),
    }


def test_counts_are_of_parts_by_class() -> None:
    parts = [
        (
            CanonicalPart("a.to_q", "attn.q", range(4)),
            CanonicalPart("a.to_k", "attn.k", range(4, 8)),
        ),
        (CanonicalPart("b.to_q", "attn.q"),),
        (),
    ]
    assert class_counts(parts) == {"attn.k": 1, "attn.q": 2}
    assert class_counts(()) == {}
