"""What stands before a module's own name, and to which component of a pipeline that says it belongs.

Prefixes are those of `registry.artifacts.classifying.dialects`; what each means is said here. Many name no
component (`lora_unet_` also stands before transformers, PEFT names what it wraps not at all): then the
module's own first words tell.
"""

from __future__ import annotations

import re
from typing import NamedTuple

UNET, TRANSFORMER, LANGUAGE = "unet", "transformer", "model"
# Not yet known: some diffusion model; whatever PEFT was put around or a name without prefix.
DIFFUSION, BARE = "?", ""
# The T5 of FLUX.1 is its second text encoder, that of SD3 its third.
T5 = "t5"

_PREFIXES = {
    "lora_unet_": DIFFUSION,
    "oft_unet_": DIFFUSION,
    "lycoris_": DIFFUSION,
    "lora_transformer_": TRANSFORMER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "lora_prior_unet_": "prior",
    "lora_prior_te_": "text_encoder",
    "unet.": UNET,
    "transformer.": TRANSFORMER,
    "transformer_2.": "transformer_2",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
    "text_conditioner.": "text_conditioner",
    # Anima's adapter between its language model and the transformer.
    "diffusion_model.llm_adapter.": "text_conditioner",
    "lora_unet_llm_adapter_": "text_conditioner",
    "prior.": "prior",
    "diffusion_model.": DIFFUSION,
    "model.diffusion_model.": DIFFUSION,
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": T5,
}
_PREFIX = re.compile("|".join(sorted(map(re.escape, _PREFIXES), key=len, reverse=True)))
_OTHER_TEXT = re.compile(r"text_encoders\.(?:[^.]+\.transformer\.)?")
_PEFT = re.compile(r"(?:base_model\.(?:model\.)?)+")
_T5 = re.compile(r"encoder_block_[0-9]|.*_(?:SelfAttention|EncDecAttention|DenseReluDense)_")
# First words of a module's own name, dots as underscores; the first alternative that fits counts.
_HOME = re.compile(
    r"(?P<unet>(?:down|up|input|output)_blocks_[0-9]|mid_block_|middle_block_)"
    r"|(?P<text_encoder>text_model_|(?:model_)?transformer_resblocks_|resblocks_[0-9])"
    r"|(?P<model>model_|lm_head$|language_model_|visual_(?!transformer_)|vision_|audio_tower_|multi_modal_"
    r"|(?:h|decoder_layers|decoder_block|encoder_block|encoder_layers)_[0-9]"
    r"|layers_[0-9]+_(?:self_attn|mlp|input_layernorm|post_attention))"
    r"|(?P<transformer>(?:[A-Za-z]+_)*blocks_[0-9]|(?:noise|context)_refiner_[0-9]"
    r"|layers_[0-9]+_|distilled_guidance_layer_|txtfusion_|joint_transformer_)"
)
# Layers of a UNet outside of its blocks; some transformers have layers of these names too.
_OUTSIDE_UNET = re.compile(r"(?:conv_(?:in|out)$|time_embedding_linear_|add_embedding_|label_emb_)")


class Origin(NamedTuple):
    """A name taken apart: `component` (or DIFFUSION, BARE, T5) and the module's `own` name.

    `key` is the own name with underscores for dots. `is_flat` says that it came so.
    """

    component: str
    own: str
    key: str
    is_flat: bool


def origin_of(name: str) -> Origin:
    """Return `name` without its prefixes; an own name is empty only if `name` is nothing but prefix."""
    wrapped = _PEFT.match(name)
    rest = name[wrapped.end() :] if wrapped else name
    if rest.startswith("transformer.h." if not wrapped else "transformer."):
        # PEFT stands around the whole model: this is a language model's own body (GPT-2, Falcon).
        own = rest.removeprefix("transformer.")
        return Origin(LANGUAGE, own, own.replace(".", "_"), is_flat=False)
    match = _PREFIX.match(rest)
    if match is not None:
        prefix, component = match[0], _PREFIXES[match[0]]
    else:
        match = _OTHER_TEXT.match(rest)
        prefix, component = (match[0], "text_encoder") if match else ("", BARE)
    own = rest[len(prefix) :]
    return Origin(component, own, own.replace(".", "_"), prefix.endswith("_") and "." not in own)


def home_of(origin: Origin) -> str | None:
    """Return the component that the own name tells of, None where neither it nor the prefix does."""
    if origin.component not in (DIFFUSION, BARE):
        return origin.component
    match = _HOME.match(origin.key)
    home = match.lastgroup if match else None
    if home == LANGUAGE and origin.component == DIFFUSION:
        return TRANSFORMER
    return home


def may_be_unet(key: str) -> bool:
    """Return whether this is a layer of a UNet, if nothing else in the file says otherwise."""
    return _OUTSIDE_UNET.match(key) is not None


def is_t5(key: str) -> bool:
    """Return whether a text encoder's own name, dots as underscores, is one of T5's."""
    return _T5.match(key) is not None
