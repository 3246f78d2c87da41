"""What a safetensors file is, by header alone: an adapter or one of the things taken for one.

Kinds are spelled as in the fixture sheet. The order of the rules is their strength: a marker that
only one kind has stands before block names that several share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from registry.artifacts.classifying.modules import Pairing
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import SafetensorsHeader, TensorInfo

ADAPTER = "adapter"
FULL_CHECKPOINT = "full-checkpoint"
FULL_MODEL_PART = "full-model-part"
QUANTISED_MODEL = "quantised-model"
VAE = "vae"
TEXTUAL_INVERSION = "textual-inversion"
TEXTUAL_INVERSION_PICKLE = "textual-inversion (pickle)"
CONTROLNET = "controlnet"
CONTROL_LORA = "control-lora"
IP_ADAPTER = "ip-adapter"
TRAINING_STATE = "training-state"
DATASET_CACHE = "dataset-cache"
GGUF_ADAPTER = "gguf-adapter"
GGUF_MODEL = "gguf-model"

_CHECKPOINT = (
    "model.diffusion_model.",
    "first_stage_model.",
    "conditioner.embedders.",
    "cond_stage_model.",
)
_CONTROLNET = (
    "controlnet_",  # diffusers: _cond_embedding, _down_blocks, _mid_block, _blocks, _mode_embedder, ...
    "control_model.",
    "control_blocks.",
    "control_layers.",
    "control_noise_refiner.",
    "control_context_refiner.",
    "control_add_embedding.",
    "input_hint_block.",
    "zero_convs.",
    "vace_blocks.",
    "lllite_",
)
# Also files with LoRA keys beside them (FaceID): the projection makes it what it is.
_IP_ADAPTER = ("image_proj.", "ip_adapter", "image_proj_model.", "pulid_ca.", "pulid_encoder.")
_IP_ADAPTER_PARTS = (".ip_adapter_", ".to_k_ip.", ".to_v_ip.", ".ip_adapter.")
_VAE = (
    "encoder.conv_in.",
    "decoder.conv_in.",
    "decoder.conv_out.",
    "quant_conv.",
    "encoder.conv_out.",
    # Wan's own names.
    "encoder.downsamples.",
    "decoder.upsamples.",
)
_QUANTISED = (
    ".scale_weight",
    ".weight_scale",
    ".absmax",
    ".quant_map",
    ".nested_absmax",
    ".qweight",
    ".qzeros",
    ".SCB",
    ".weight_scale_inv",
    ".weight_scale_2",
    ".weight_packed",
    ".input_scale",
    ".wscales",
    ".g_idx",
    ".comfy_quant",
    ".weight_format",
    ".W_q",
    "_blocks_scales",
    ".weight._data",
)
_NARROW_FLOATS = ("F8_", "F6_", "F4")
# Optimizer states, as trainers that avoid pickle write them.
_OPTIMIZER = (".exp_avg", ".exp_avg_sq", ".momentum_buffer", ".exp_avg_slow", ".max_exp_avg_sq")
_QUANT_STATE = ".quant_state."
_LATENTS = re.compile(
    r"latents?(_[0-9x]+)?(_\w+)?|(varlen_)?\w*(prompt|text|caption|clip|t5|vl)\w*_(embeds?|mask)(_\w+)?"
)
_CACHE_KEYS = ({"width", "height", "format_version"}, {"caption1"})
_LLAMA_CPP = re.compile(r"blk\.\d+\..*\.lora_[ab]")
_TOKEN_WIDTHS = frozenset({768, 1024, 1280, 2048, 3072, 4096})
_MOST_TOKEN_TENSORS = 64
_WEIGHT_SUFFIXES = (".weight", ".bias", ".scale")
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class KindEvidence:
    """All that decides the kind. `place` is the path of the file, as far as it is known."""

    header: SafetensorsHeader
    pairing: Pairing
    config: AdapterConfig | None = None
    place: str | None = None


def find_kind(evidence: KindEvidence) -> str | None:
    """Return the kind, or None if no rule knows it (then it is nothing that may be released)."""
    others = evidence.pairing.others
    kind = _marked_kind(evidence.header, others) if others else None
    if kind is not None:
        return kind
    wrapped = {module.name for module in evidence.pairing.modules} if others else set()
    if any(holds_base_weight(tensor, wrapped) for tensor in others):
        # A PEFT model saved whole, however small its base is beside the factors.
        return FULL_MODEL_PART
    if evidence.pairing.modules and _outweigh(evidence):
        return TRAINING_STATE if _is_training_state(evidence.place) else ADAPTER
    return _kind_without_modules(evidence)


def _starts(tensors: tuple[TensorInfo, ...], prefixes: tuple[str, ...]) -> bool:
    return any(tensor.name.startswith(prefixes) for tensor in tensors)


def _marked_kind(header: SafetensorsHeader, others: tuple[TensorInfo, ...]) -> str | None:
    names = {tensor.name for tensor in others}
    marks = (
        (CONTROL_LORA, "lora_controlnet" in names),
        (IP_ADAPTER, _is_ip_adapter(others)),
        (CONTROLNET, _starts(others, _CONTROLNET)),
        (QUANTISED_MODEL, _is_quantised(others)),
        (TRAINING_STATE, any(name.endswith(_OPTIMIZER) for name in names)),
        (FULL_CHECKPOINT, _starts(others, _CHECKPOINT)),
        (VAE, _starts(others, _VAE)),
        (DATASET_CACHE, _is_cache(header, others)),
        (GGUF_ADAPTER, any(_LLAMA_CPP.match(name) for name in names)),
    )
    return next((kind for kind, found in marks if found), None)


def _is_ip_adapter(others: tuple[TensorInfo, ...]) -> bool:
    return _starts(others, _IP_ADAPTER) or any(
        part in tensor.name for tensor in others for part in _IP_ADAPTER_PARTS
    )


def _is_quantised(others: tuple[TensorInfo, ...]) -> bool:
    return any(
        tensor.name == "scaled_fp8"
        or tensor.name.endswith(_QUANTISED)
        or _QUANT_STATE in tensor.name
        or (tensor.dtype.startswith(_NARROW_FLOATS) and len(tensor.shape) >= _MATRIX)
        for tensor in others
    )


def _is_cache(header: SafetensorsHeader, others: tuple[TensorInfo, ...]) -> bool:
    keys = {key for key, _ in header.metadata}
    if any(needed <= keys for needed in _CACHE_KEYS):
        return True
    return all(_LATENTS.fullmatch(tensor.name) for tensor in others)


def _outweigh(evidence: KindEvidence) -> bool:
    """Return whether the modules are the point of the file and not leftovers in a whole model.

    Trained heads and embeddings may be larger than all factors together, so they do not count.
    """
    others = evidence.pairing.others
    saved = [item for item in others if is_expected_extra(item, evidence.config)]
    # Whoever saves half a model as "modules to save" hands on that half.
    few = sum(len(item.shape) >= _MATRIX for item in saved) <= _MOST_SAVED_MATRICES
    few = few and sum(map(_is_plain_linear, saved)) <= _MOST_SAVED_LINEARS
    fine = {item.name for item in saved} if few else set()
    extra = sum(item.end - item.start for item in others if item.name not in fine)
    factors = sum(
        tensor.end - tensor.start
        for module in (evidence.pairing.modules if extra else ())
        for _, tensor in module.tensors
    )
    return extra == 0 or extra <= factors


# Trained heads and embeddings, which may be larger than all factors together.
_HEADS = re.compile(
    r"lm_head|embed_tokens|embed_out|wte|wpe|score|classifier|qa_outputs|(word_|position_|tok_)?embeddings?"
)
_NORM = re.compile(r"norm\d*|norm_\w+|\w*norm\d*|ln_\w+")
# PEFT: projections that all modules share (VeRA), rows of single tokens.
_SHARED_EXTRAS = ("vera_A", "vera_B", "trainable_tokens_")
_MOST_SAVED_MATRICES = 64
# Linear layers inside attention and MLPs: two layers of a transformer, and no model.
_MOST_SAVED_LINEARS = 14
_BASE_LAYER = ".base_layer."


def holds_base_weight(tensor: TensorInfo, wrapped: Container[str]) -> bool:
    """Return whether this is the weight that factors were added to, whatever a config calls it.

    `wrapped` are the modules that have factors. A raw PEFT dump calls it `base_layer`. Biases are saved
    with an adapter if it trains them, and so are embeddings that it resized, and heads.
    """
    module, _, rest = tensor.name.partition(_BASE_LAYER)
    if not rest:
        module, _, last = tensor.name.rpartition(".")
        if last != "weight" or module not in wrapped:
            return False
    last = module.removesuffix(".token_adapter").rpartition(".")[2]
    return len(tensor.shape) >= _MATRIX and _HEADS.fullmatch(last) is None


def is_expected_extra(tensor: TensorInfo, config: AdapterConfig | None) -> bool:
    """Return whether an adapter may carry this full tensor: trained heads, embeddings, norms.

    Also what the config names in `modules_to_save`, and OneTrainer's embedded inversions.
    """
    if tensor.name.startswith("bundle_emb."):
        return True
    parts = tensor.name.split(".")
    saved = config.modules_to_save if config is not None else ()
    if any(part in saved or part.startswith(_SHARED_EXTRAS) for part in parts):
        return True
    if parts[-1] == "bias" and len(tensor.shape) < _MATRIX and config is not None:
        return config.bias in ("all", "lora_only")
    if any(_HEADS.fullmatch(part) for part in parts):
        return True
    return len(tensor.shape) < _MATRIX and any(_NORM.fullmatch(part) for part in parts)


def _is_training_state(place: str | None) -> bool:
    """Return whether the path is where trainers keep resumable state, which looks like an adapter.

    kohya: `NAME-state/model.safetensors`; OneTrainer: `backup/<...>/lora/lora.safetensors`.
    """
    if place is None:
        return False
    parts = PurePosixPath(place.replace("\\", "/")).parts
    folders = parts[:-1]
    kohya = (
        parts[-1:] == ("model.safetensors",) and bool(folders) and folders[-1].endswith("-state")
    )
    one_trainer = folders[-1:] == ("lora",) and any("backup" in folder for folder in folders)
    return kohya or one_trainer


def _kind_without_modules(evidence: KindEvidence) -> str | None:
    others = evidence.pairing.others
    names = {tensor.name for tensor in others}
    if _PROMPT in names and names <= _PROMPT_TENSORS:
        return ADAPTER
    if evidence.config is not None and _is_peft(others):
        known = evidence.config.peft_type in _TYPES_WITH_FACTORS
        return FULL_MODEL_PART if known or any(map(_is_plain_linear, others)) else ADAPTER
    if _are_tokens(others):
        return TEXTUAL_INVERSION
    # Only what a saved model is made of: a single weight matrix under a module's name will do.
    named = [item for item in others if item.name.endswith(_WEIGHT_SUFFIXES) and "." in item.name]
    if named and len(named) * 2 > len(others):
        return FULL_MODEL_PART
    return None


# Prompt, prefix and p-tuning; with two more in multitask prompt tuning.
_PROMPT = "prompt_embeddings"
_PROMPT_TENSORS = frozenset({_PROMPT, "prefix_task_cols", "prefix_task_rows"})


# Of these every adapter has tensors that our roles know: without one it is the model, or nothing.
_TYPES_WITH_FACTORS = frozenset({"LORA", "ADALORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3"})
_LINEAR = re.compile(
    r"\w*_proj|fc\d?|query|key|value|dense|c_(attn|proj|fc)|to_[qkv]|w[123]|W?qkv|query_key_value|conv\d*d?"
)


def _is_plain_linear(tensor: TensorInfo) -> bool:
    """Return whether this is a weight of the base model under its own name, which no adapter type saves."""
    parts = tensor.name.split(".")
    is_weight = parts[-1] == "weight" and len(tensor.shape) == _MATRIX
    return is_weight and len(parts) > 1 and _LINEAR.fullmatch(parts[-2]) is not None


def _is_peft(others: tuple[TensorInfo, ...]) -> bool:
    return _starts(others, ("base_model.",))


def _are_tokens(others: tuple[TensorInfo, ...]) -> bool:
    """Return whether each tensor is the embedding of one placeholder token (or `emb_params`, `clip_l`)."""
    if not 0 < len(others) <= _MOST_TOKEN_TENSORS:
        return False
    return all(
        0 < len(tensor.shape) <= _MATRIX
        and tensor.shape[-1] in _TOKEN_WIDTHS
        and tensor.dtype in ("F16", "BF16", "F32", "F64")
        and not tensor.name.endswith(_WEIGHT_SUFFIXES)
        for tensor in others
    )
