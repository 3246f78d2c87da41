"""In whose naming a file's modules are written: kohya, diffusers, native, peft, xlabs or bfl."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KOHYA = "kohya"
DIFFUSERS = "diffusers"
NATIVE = "native"
PEFT = "peft"
XLABS = "xlabs"
BFL = "bfl"

# What a module's name begins with. OneTrainer's LEGACY names (`lora_transformer_`) count as kohya.
PREFIXES: dict[str, tuple[str, ...]] = {
    KOHYA: (
        "lora_unet_",
        "lora_te_",
        "lora_te1_",
        "lora_te2_",
        "lora_te3_",
        "lora_prior_unet_",
        "lora_prior_te_",
        "lora_transformer_",
        "oft_unet_",
        "lycoris_",
    ),
    PEFT: ("base_model.model.", "base_model."),
    DIFFUSERS: (
        "unet.",
        "transformer.",
        "transformer_2.",
        "text_encoder.",
        "text_encoder_2.",
        "text_encoder_3.",
        "prior.",
    ),
    NATIVE: ("diffusion_model.", "text_encoders.", "model.diffusion_model."),
}
_XLABS = re.compile(r"(double|single)_blocks\.\d+\.processor\.(qkv|proj)_lora[12]?")
_BFL = re.compile(
    r"(double_blocks|single_blocks)\.\d+\.|(img_in|txt_in|time_in|vector_in|guidance_in|final_layer)\b"
)
_BLOCKS = re.compile(
    r"(\w*blocks|layers|\w+_refiner|h)\.\d+\.|(mid_block|middle_block|text_model)\.|"
    r"\w+_in\.|\w+_embedder\.|t\w*_?fusion\.|time_embed|proj_out|norm_out\."
)


def find_dialect(names: Sequence[str]) -> str | None:
    """Return the dialect of most of these module names, None if they follow none that is known.

    Names without prefix are the model's own: `bfl` where they are Black Forest Labs', else `native`.
    """
    if not names:
        return None
    best, most = None, 0
    for dialect, prefixes in PREFIXES.items():
        count = sum([name.startswith(prefixes) for name in names])
        if count > most:
            best, most = dialect, count
        if most * 2 > len(names):
            return best
    return best or _unprefixed(names)


def _unprefixed(names: Sequence[str]) -> str | None:
    for dialect, pattern in ((XLABS, _XLABS), (BFL, _BFL), (NATIVE, _BLOCKS)):
        if sum(pattern.match(name) is not None for name in names) * 2 > len(names):
            return dialect
    return None


def prefixes_of(dialect: str | None) -> tuple[str, ...]:
    """Return what to take off a module's name to get the model's own."""
    return PREFIXES.get(dialect or "", ())
