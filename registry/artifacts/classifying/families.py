"""Which base model family an adapter fits, from block names, widths and block numbers alone.

Rules after `family_signatures` of the fixture sheet, tried in order; each says what the layers can be
and nothing more. Models that share every shape share a family (Pony is sdxl) or, where they are
different models (Llama 3.1 8B and Mistral 7B), stay undecided until the header's claims choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.classifying.dits import fitting_dits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.artifacts.classifying.layers import Layers


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """Families that the layers fit. `default` holds unless a claim names one of `alternatives`.

    With `default` None the layers fit all `alternatives` alike (or nothing that is known). `models`
    are the base models that fit where the layers say more than the family.
    """

    default: str | None = None
    alternatives: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


_UNKNOWN = FamilyFit()
_FLUX = FamilyFit("flux1", ("chroma",))
_SD3 = FamilyFit("sd3-medium", ("sd3.5-medium",))
# Where these fit alike, the first is far more common and holds unless a claim names another.
_USUAL = (
    _FLUX,
    _SD3,
    FamilyFit("flux1", ("chroma", "hunyuan-video")),
    FamilyFit("qwen-image", ("hunyuan-video",)),
    FamilyFit("ltx-video", ("anima/cosmos",)),
)
_UNET_BLOCKS = (
    "down_blocks_",
    "up_blocks_",
    "mid_block_",
    "input_blocks_",
    "output_blocks_",
    "middle_block_",
)
_UNET_CROSS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_WAN = {5120: "wan-14b", 3072: "wan-5b", 1536: "wan-1.3b"}
_JOINT = {1536: _SD3, 2432: FamilyFit("sd3.5-large")}
_LAYERS_DIT = {3840: "z-image", 2304: "lumina2"}
_SECOND_TEXT = ("lora_te2_", "text_encoder_2.", "text_encoders.clip_g.")
_GPT2_WIDTHS = frozenset({768, 1024, 1280, 1600})
_LLAMA_VOCABULARY = {128256: "llm-llama31", 32000: "llm-mistral", 32768: "llm-mistral"}
# Numbers of the last blocks of models that otherwise look alike.
_FLUX_DOUBLE, _FLUX_SINGLE, _LLAMA_LAST = 18, 37, 31
# Widths that tell: SD's first blocks (SDXL attends from 640 on), Flux.1, FLUX.2 (dev, klein 9b), and
# the MLP of klein 4b, whose width is Flux.1's.
_SD_NARROWEST, _FLUX_WIDTH, _FLUX2_WIDTHS, _KLEIN_MLP = 320, 3072, frozenset({6144, 4096}), 18432
# Nine shifts and scales of width 1536, where SD3 Medium has six.
_SD35_MODULATION = 13824


def fit_family(layers: Layers) -> FamilyFit:
    """Return what `layers` can belong to; `FamilyFit()` if no rule knows them."""
    for rule in _RULES:
        fit = rule(layers)
        if fit is not None:
            return fit
    return _UNKNOWN


def _one(table: dict[int, str], widths: frozenset[int]) -> FamilyFit | None:
    found = {table[width] for width in widths if width in table}
    return FamilyFit(found.pop()) if len(found) == 1 else None


def _unet(layers: Layers) -> FamilyFit | None:
    if not layers.has(*_UNET_BLOCKS):
        return None
    # In the oldest diffusers names text encoders have a `self_attn.to_k` too.
    unet = layers.without("text_model")
    fit = _one(_UNET_CROSS, unet.inputs("attn_to_k", "attn_to_v"))
    if fit is not None:
        return fit
    # Without a cross-attention input (OFT, IA3, attn1 only): names and numbers narrow it down.
    if layers.has("input_blocks_", "output_blocks_", "middle_block_"):
        return FamilyFit("sdxl")
    if layers.last_index("transformer_blocks") > 1:
        return FamilyFit("sdxl")
    text = _one({768: "sd1", 1024: "sd2"}, layers.inputs("text_model_encoder"))
    if text is not None and not any(name.startswith(_SECOND_TEXT) for name in layers.names):
        return text
    narrow = _SD_NARROWEST in unet.outputs("attn_to_") | unet.inputs("attn_to_")
    return FamilyFit(None, ("sd1", "sd2") if narrow else ("sd1", "sd2", "sdxl"))


def _flux_bfl(layers: Layers) -> FamilyFit | None:
    if not layers.has("double_blocks_", "single_blocks_") or layers.has("joint_blocks_"):
        return None
    if layers.has("img_mlp_fc", "txt_mlp_fc"):
        return FamilyFit("hunyuan-video")
    if layers.has("distilled_guidance_layer"):
        return FamilyFit("chroma")
    attention = layers.inputs("attn_qkv", "processor_qkv", "linear")
    if attention & _FLUX2_WIDTHS or _KLEIN_MLP in layers.outputs("img_mlp_", "txt_mlp_"):
        return FamilyFit("flux2")
    if layers.has("img_mlp_", "txt_mlp_", "processor_"):
        return _FLUX
    return _by_block_count(
        layers.last_index("double_blocks"), layers.last_index("single_blocks"), layers
    )


def _by_block_count(double: int, single: int, layers: Layers) -> FamilyFit:
    """Flux.1 has 19 + 38 blocks of width 3072, HunyuanVideo 20 + 40 with the same layer names."""
    if double > _FLUX_DOUBLE or single > _FLUX_SINGLE:
        return FamilyFit("hunyuan-video")
    if double == _FLUX_DOUBLE or single == _FLUX_SINGLE:
        return _FLUX
    if any("img_attn.qkv" in name or "txt_attn.qkv" in name for name in layers.names):
        return _FLUX
    return FamilyFit(None, ("flux1", "chroma", "hunyuan-video"))


def _flux_diffusers(layers: Layers) -> FamilyFit | None:
    if not layers.has("single_transformer_blocks_"):
        return None
    if layers.has("to_qkv_mlp_proj", "ff_linear_in", "ff_linear_out"):
        return FamilyFit("flux2", models=_models_of("flux2", layers))
    if layers.has("distilled_guidance_layer"):
        return FamilyFit("chroma")
    hidden = layers.inputs("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp")
    if hidden & _FLUX2_WIDTHS:
        return FamilyFit("flux2")
    if hidden and _FLUX_WIDTH not in hidden:
        return _UNKNOWN
    # `transformer_blocks` also ends `single_transformer_blocks`; only behind a dot it is the double.
    double = layers.last_index(r"(?<!single_)transformer_blocks")
    return _by_block_count(double, layers.last_index("single_transformer_blocks"), layers)


def _models_of(family: str, layers: Layers) -> tuple[str, ...]:
    rows = fitting_dits(layers) or ()
    return tuple(row.model for row in rows if row.family == family)


def _joint_blocks(layers: Layers) -> FamilyFit | None:
    if not layers.has("joint_blocks_"):
        return None
    # Only SD3.5 Medium has a second attention in its blocks, and their modulation is wider for it.
    if any("attn2" in name for name in layers.names) or _SD35_MODULATION in layers.outputs(
        "x_block_adaLN"
    ):
        return FamilyFit("sd3.5-medium")
    hidden = layers.inputs("attn_qkv", "attn_proj", "mlp_fc", "adaLN_modulation")
    found = [fit for width, fit in _JOINT.items() if width in hidden]
    return found[0] if len(found) == 1 else _UNKNOWN


def _transformer_blocks(layers: Layers) -> FamilyFit | None:
    if layers.has("ff_conv_inverted", "ff_conv_point", "ff_conv_depth"):
        return FamilyFit("sana")
    if layers.has("img_mlp_", "txt_mlp_", "img_mod_", "txt_mod_"):
        hidden = layers.inputs("attn_to_", "attn_add_", "img_mlp_net__proj", "img_mod_", "txt_mod_")
        return FamilyFit("qwen-image") if _FLUX_WIDTH in hidden else _UNKNOWN
    rows = fitting_dits(layers)
    if rows is None:
        return None
    return _fit_of(
        tuple(dict.fromkeys(row.family for row in rows)), tuple(row.model for row in rows)
    )


def _fit_of(families: Sequence[str | None], models: tuple[str, ...]) -> FamilyFit:
    known = tuple(family for family in families if family is not None)
    if len(families) == 1:
        return FamilyFit(families[0], models=models)
    for usual in _USUAL:
        if families == (usual.default, *usual.alternatives):
            return FamilyFit(usual.default, usual.alternatives, models)
    return FamilyFit(None, known, models)


def _cosmos(layers: Layers) -> FamilyFit | None:
    marks = ("cross_attn_q_proj", "self_attn_q_proj", "mlp_layer", "adaln_modulation")
    is_cosmos = any(stem.startswith("blocks_") for stem in layers.widths) and layers.has(*marks)
    return FamilyFit("anima/cosmos") if is_cosmos else None


def _krea(layers: Layers) -> FamilyFit | None:
    return FamilyFit("krea2") if layers.has("blocks__attn_wq", "txtfusion_") else None


def _wan(layers: Layers) -> FamilyFit | None:
    stems = [stem for stem in layers.widths if stem.startswith("blocks_")]
    if not stems:
        return None
    marks = ("self_attn_", "cross_attn_", "attn_to_", "ffn_")
    hidden = frozenset(
        widths[0]
        for stem in stems
        if any(mark in stem for mark in marks)
        for widths in layers.widths[stem]
    )
    return _one(_WAN, hidden) or _UNKNOWN


def _layers_dit(layers: Layers) -> FamilyFit | None:
    if not any(stem.startswith(("layers_", "noise_refiner_")) for stem in layers.widths):
        return None
    return _one(_LAYERS_DIT, layers.inputs("attention_", "attn_", "feed_forward_")) or _UNKNOWN


def _gpt2(layers: Layers) -> FamilyFit | None:
    if not layers.has("h__attn_c_attn", "h__mlp_c_fc", "h__attn_c_proj"):
        return None
    widths = layers.widths.items()
    hidden = {pair[0] for stem, pairs in widths if "attn_c_attn" in stem for pair in pairs}
    fits = not hidden or hidden <= _GPT2_WIDTHS
    return FamilyFit("llm-gpt2") if fits else _UNKNOWN


def _decoder(layers: Layers) -> FamilyFit | None:
    if not layers.has("layers__self_attn_", "layers__mlp_"):
        return None
    hidden = layers.inputs("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj")
    keys = layers.outputs("self_attn_k_proj", "self_attn_v_proj")
    wide = layers.outputs("mlp_gate_proj", "mlp_up_proj")
    if hidden <= {3584} and keys <= {512} and wide <= {18944} and (keys or wide):
        return FamilyFit("llm-qwen25")
    llama = hidden <= {4096} and keys <= {1024} and wide <= {14336} and (keys or wide)
    if not llama or layers.last_index("layers") > _LLAMA_LAST:
        return _UNKNOWN
    rows = {tensor.shape[0] for tensor in layers.others if len(tensor.shape) > 1}
    by_vocabulary = {_LLAMA_VOCABULARY[count] for count in rows if count in _LLAMA_VOCABULARY}
    if len(by_vocabulary) == 1:
        return FamilyFit(by_vocabulary.pop())
    return FamilyFit(None, ("llm-llama31", "llm-mistral"))


def _text_encoders(layers: Layers) -> FamilyFit | None:
    if not layers.has("text_model_encoder"):
        return None
    if any(name.startswith(("lora_te1_", "lora_te2_", "text_encoder_2.")) for name in layers.names):
        return FamilyFit(None, ("sdxl", "sd3-medium", "sd3.5-large", "flux1"))
    widths = layers.inputs("self_attn_q_proj", "self_attn_k_proj", "mlp_fc")
    return _one({768: "sd1", 1024: "sd2"}, widths)


# Order matters: a rule may rely on those before it having said None.
_RULES: tuple[Callable[[Layers], FamilyFit | None], ...] = (
    _unet,
    _flux_bfl,
    _flux_diffusers,
    _joint_blocks,
    _transformer_blocks,
    _cosmos,
    _krea,
    _wan,
    _layers_dit,
    _gpt2,
    _text_encoders,
    _decoder,
)
