"""Names whose dots kohya wrote as underscores, and how to get the dots back.

`to_out_0` is `to_out.0` and `time_emb_proj` one word: what belongs together is not in the name. Words
that hold an underscore are known here, and the longest that fits is taken, from left to right.
Collected from the modules of diffusers 0.42.1, transformers 5.23 and the models' own code, without those
that would read others wrongly (`ff_out` of one model is `ff.out_projection` of another). A word that is
missing costs a comparison with the dotted export and nothing else.
"""

from __future__ import annotations

from collections import defaultdict

_COMPOUNDS = """
adaln_modulation adaLN_modulation adaln_modulation_cross_attn adaln_modulation_mlp
adaln_modulation_self_attn adaln_proj adaln_single add_embedding add_k_proj add_q_proj add_v_proj
additional_condition_proj all_final_layer all_x_embedder aspect_ratio_embedder attention_norm1
attention_norm2 audio_adaln_single audio_attn1 audio_attn2 audio_caption_projection audio_dec_block
audio_embeddings audio_ff audio_norm1 audio_norm2 audio_norm3 audio_norm_out audio_out
audio_out_layer audio_patch_proj audio_patchify_proj audio_pooled_text_embeddings audio_proj_in
audio_proj_out audio_prompt_adaln audio_prompt_adaln_single audio_text_embeddings
audio_text_transformer_blocks audio_time_embed audio_time_embeddings audio_to_video_attn
audio_to_video_norm av_ca_a2v_gate_adaln_single av_ca_audio_scale_shift_adaln_single
av_ca_v2a_gate_adaln_single av_ca_video_scale_shift_adaln_single av_cross_attention
av_cross_attn_audio_scale_shift av_cross_attn_audio_v2a_gate av_cross_attn_video_a2v_gate
av_cross_attn_video_scale_shift av_modulation beta_proj c_attn c_embedder c_fc c_proj cap_embedder
caption_embedder caption_norm caption_proj caption_projection class_embedder class_embedding
clip_img_mapper clip_mapper clip_txt_mapper clip_txt_pooled_mapper cond_embedding cond_type_embed
condition_embedder condition_proj context_block context_embedder context_embedder_2 context_refiner
conv_depth conv_in conv_inverted conv_norm_out conv_out conv_point conv_shortcut conv_temp
cross_attention cross_attn crossattn_proj delta_embedder depth_conv distilled_guidance_layer
double_blocks double_stream_modulation_img double_stream_modulation_txt down_blocks down_proj
early_stream_modulations emb_layers embed_image_indicator embed_tokens embedding_proj
embedding_table encoder_attn encoder_hid_proj encoder_hidden_states_proj encoder_proj face_adapter
face_encoder far_patch_embedding feed_forward ff_context ff_in ffn_norm1 ffn_norm2 final_layer
final_layer_norm final_linear final_norm gate_layer gate_proj gate_up_proj glyph_projector
guidance_embedder guidance_in guidance_proj image_cond image_embedder image_projector img_attn
img_emb img_in img_mlp img_mod img_norm1 img_norm2 img_qkv_proj in_layer in_layers in_proj
individual_token_refiner input_blocks input_embedder input_proj inverted_conv joint_blocks
joint_transformer_blocks k_img k_norm k_proj k_proj_cam key_norm kv_linear label_emb language_model
layer_norm layer_norm1 layer_norm2 layerwise_blocks learnable_pos_embed linear_1 linear_2 linear_3
linear_fc1 linear_fc2 linear_in linear_out llm_adapter llm_cond_proj lm_head mid_block middle_block
mlp_in mlp_out mode_blocks motion_modules noise_refiner norm1_context norm2_context norm3_context
norm4_context norm_added_k norm_added_q norm_context norm_cross norm_final norm_in norm_k norm_out
norm_q o_proj out_layer out_layers out_proj out_proj_cam out_projection output_blocks output_gate
output_proj patch_embed patch_embedder patch_embedding patch_long patch_mid patch_short
patchify_proj plucker_embedder plucker_proj point_conv pooled_text_embeddings pos_embed
pose_patch_embedding position_embedding post_attention_layernorm prior_projector
prior_token_embedding proj_attn proj_in proj_mlp proj_out proj_out_1 proj_out_2
proj_to_clip_embeddings prompt_adaln prompt_adaln_single q_linear q_norm q_proj q_proj_cam qkv_proj
query_key_value query_norm raymap_embedder refiner_blocks relative_attention_bias
resolution_embedder self_attention self_attn self_attn_proj self_attn_qkv shared_expert
single_blocks single_stream_modulation single_stream_modulations single_transformer_blocks
skip_connection spatial_res_block t_block t_conv t_embedder t_embedding temp_attentions temp_convs
temporal_res_block temporal_transformer_blocks text_embedder text_embedding text_embeddings
text_fusion text_model text_modulation text_proj text_proj_in text_projection
text_transformer_blocks time_caption_embed time_condition_embed time_emb_proj time_embed
time_embed_r time_embedder time_embedding time_embeddings time_guidance_embed time_in time_mod_proj
time_pos_embed time_proj time_projection time_step_embed time_step_proj time_text_embed
timestep_embedder to_add_out to_added_qkv to_gate to_k to_key to_kv to_out to_q to_qkv
to_qkv_mlp_proj to_query to_v to_value token_embedding token_refiner transformer_blocks
transformer_in txt_attn txt_in txt_kv_proj txt_mlp txt_mod txt_mode_blocks txt_norm txt_norm1
txt_norm2 up_blocks up_proj v_img v_proj v_proj_cam va_cross_attention va_modulation vace_blocks
vace_patch_embedding vector_in video_dec_block video_out video_patch_proj
video_pooled_text_embeddings video_text_embeddings video_text_transformer_blocks
video_time_embeddings video_to_audio_attn video_to_audio_norm visual_embeddings visual_modulation
visual_transformer_blocks wi_0 wi_1 x_block x_embedder x_embedders y_embedder y_proj
"""


def _by_first_word() -> dict[str, tuple[tuple[str, ...], ...]]:
    found = defaultdict(list)
    for compound in _COMPOUNDS.split():
        words = tuple(compound.split("_"))
        found[words[0]].append(words)
    return {first: tuple(sorted(group, key=len, reverse=True)) for first, group in found.items()}


_KNOWN = _by_first_word()


def dotted(flat: str) -> str:
    """Return `flat` with dots where the model's own name has them, as far as its words are known."""
    words = flat.split("_")
    parts = []
    place = 0
    while place < len(words):
        length = 1
        for compound in _KNOWN.get(words[place], ()):
            if tuple(words[place : place + len(compound)]) == compound:
                length = len(compound)
                break
        parts.append("_".join(words[place : place + length]))
        place += length
    return ".".join(parts)
