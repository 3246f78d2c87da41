"""What a kept metadata value may look like: numbers, digests, and words of the field; anything else may tell.

A key that loaders need can still hold a sentence, or a client's name where a network module should stand.
Rules, not a search for what is bad: a word that is not known here is left out, and the owner can keep it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = r"None|-?\d{1,6}(?:\.\d{1,12})?(?:[eE][-+]?\d{1,3})?"
_HEX = r"(?:0x)?(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{10}|[0-9a-fA-F]{64})"
_PATTERNS = {
    "format": r"pt|np|tf|flax|mlx",
    "ss_network_dim": _NUMBER,
    "ss_network_alpha": _NUMBER,
    "ss_network_dropout": _NUMBER,
    "ss_v2": r"True|False|None",
    "ss_sd_model_hash": _HEX,
    "ss_new_sd_model_hash": _HEX,
    "ss_vae_hash": _HEX,
    "ss_new_vae_hash": _HEX,
    "modelspec.sai_model_spec": r"\d{1,2}(?:\.\d{1,2}){1,2}",
    "modelspec.resolution": r"\d{2,5}(?:x\d{2,5})?",
    "modelspec.prediction_type": r"epsilon|v|v_prediction|sample|flow(?:_prediction)?",
    "modelspec.timestep_range": r"\d{1,4},\d{1,4}",
    "modelspec.encoder_layer": r"-?\d{1,2}",
}
# Words of architectures, base models and the organisations that publish them.
_WORDS = frozenset(
    """
    adapter ai alibaba anima aura auraflow base bf16 black body canny chat chroma cogvideo cogvideox compvis
    control cosmos dev depth diffusers diffusion dit distilled edit fast fill fkontext flash flow flux flux1 flux2 forest
    fp16 fp8 full gemma generative github google gpt gpt2 hidream hunyuan hunyuanvideo hv i2v image instruct
    inpainting klein kolors kontext krea kwai labs large lightricks lightning llama lokr lora low high lumina lumina2
    ltx ltxv ltxvideo m medium meta mistral mistralai mini mochi models noise oft openai original pixart
    plus ponyv6 pony illustrious noobai illustriousxl preview pro qwen qwenlm redux refiner runwayml sana schnell sd sd1 sd2 sd3 sd35
    sdxl sigma small spec stability stabilityai stable t2i t2v tencent tencentarc tongyi transformer turbo unet v variant
    video wan wan2 wavespeed weights xl xlarge z zimage hub huggingface com https org
    """.split()  # noqa: SIM905 - a word list reads better as text
)
_NUMBERED = re.compile(r"v?\d{1,4}[a-z]{0,2}|[a-z]?\d{1,2}[bm]|a\d{1,3}b", re.ASCII)
_LICENCE_WORDS = frozenset(
    """
    agpl all apache attribution bigscience bloom bsd by cc cc0 clause community creative creativeml commons commercial
    domain eula gpl international isc lgpl licence license m mit mpl nc nd no non noncommercial open openrail
    only or later permissive proprietary public rail reserved research rights sa sharealike the unlicense unported use v zero
    """.split()  # noqa: SIM905 - the same
)
_SWITCHES = frozenset(
    """
    algo lora locon loha lokr dylora glora full ia3 oft boft diag-oft preset attn-only attn-mlp full-lin unet-only
    unet-transformer-only unet-convblock-only True False None true false conv_dim conv_alpha linear_dim linear_alpha
    dropout rank_dropout module_dropout factor use_cp use_tucker use_scalar use_conv_cp block_size constraint
    rescaled train_norm dora_wd wd_on_output wd_on_out decompose_both full_matrix bypass_mode rs_lora
    unbalanced_factorization train_t5xxl train_double_block_indices train_single_block_indices train_blocks split_qkv
    loraplus_lr_ratio loraplus_unet_lr_ratio loraplus_text_encoder_lr_ratio multiplier apply_preset all
    """.split()  # noqa: SIM905 - the same
)


def is_plain_value(key: str, text: str) -> bool:
    """Return whether `text` is nothing but what `key` is for; a key without a rule is never plain."""
    if key in _PATTERNS:
        return re.fullmatch(_PATTERNS[key], text, re.ASCII) is not None
    rule = _RULES.get(key)
    return rule is not None and rule(text)


def are_known_words(text: str) -> bool:
    """Return whether `text` is made of words of the field and a few numbers, as `flux-1-dev/lora` is."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", text) if word]
    if not _has_words(words):
        return False
    return (
        bool(words) and len(text) <= _MOST_CHARS and text.isascii() and all(map(_is_known, words))
    )


def is_licence(text: str) -> bool:
    """Return whether `text` reads like the name of a licence and nothing else."""
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", text) if word]
    known = (word in _LICENCE_WORDS or _is_known(word) for word in words)
    return _has_words(words) and len(text) <= _MOST_CHARS and text.isascii() and all(known)


def is_network_module(text: str) -> bool:
    """Return whether `text` is a module of a trainer's networks, as `networks.lora_flux` is."""
    first, _, rest = text.partition(".")
    words = re.split(r"[._]", rest)
    known = all(word in _NETWORK_WORDS or _is_known(word) for word in words)
    return first in ("networks", "lycoris") and len(text) <= _MOST_CHARS and known


def _has_words(words: list[str]) -> bool:
    # Numbers alone are somebody's: a telephone, a card, a birthday.
    numbers = [word for word in words if word.isdigit()]
    return len(numbers) < len(words) and sum(map(len, numbers)) <= _MOST_DIGITS


def known_switches(text: str) -> str | None:
    """Return JSON of the known settings in `text`, the same text if all are; None if it is no JSON object."""
    try:
        value = json.loads(text, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    kept = {name: item for name, item in value.items() if name in _SWITCHES and _is_switch(item)}
    return text if len(kept) == len(value) else json.dumps(kept, sort_keys=True)


_MOST_CHARS = 96
_MOST_DIGITS = 8
_MOST_NUMBER = 1_000_000
_NETWORK_WORDS = frozenset(
    ["dylora", "fa", "framepack", "kohya", "locon", "loha", "network", "oft", "lycoris"]
)


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def is_small_number(value: object) -> bool:
    """Return whether `value` is a number, a switch or nothing, and no number that stands for somebody."""
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, int | float) and abs(value) <= _MOST_NUMBER


def _is_known(word: str) -> bool:
    lowered = word.lower()
    return lowered in _WORDS or _NUMBERED.fullmatch(lowered) is not None


def _is_switch(value: object) -> bool:
    if isinstance(value, str):
        return value in _SWITCHES or re.fullmatch(_NUMBER, value, re.ASCII) is not None
    return is_small_number(value)


def _are_switches(text: str) -> bool:
    return known_switches(text) == text


_RULES: dict[str, Callable[[str], bool]] = {
    "ss_network_module": is_network_module,
    "ss_base_model_version": are_known_words,
    "modelspec.architecture": are_known_words,
    "modelspec.implementation": are_known_words,
    "modelspec.license": is_licence,
    "ss_network_args": _are_switches,
    "lycoris_config": _are_switches,
}
