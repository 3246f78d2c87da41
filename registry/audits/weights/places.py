"""Where in a model a module stands: its component, and the numbered block in it.

Findings about many modules say it in these words. Names are the file's own, so a stem goes into the
place of a finding and never into its message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT_ENCODER = "text encoder"
_DENOISER = "denoiser"
_MODEL = "model"
# What names begin with; the first that fits counts.
_COMPONENTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora_te2_", "text_encoder_2.", "text_encoders.clip_g."), f"second {TEXT_ENCODER}"),
    (("lora_te3_", "text_encoder_3.", "text_encoders.t5xxl."), f"third {TEXT_ENCODER}"),
    (("lora_te_", "lora_te1_", "lora_prior_te_", "text_encoder.", "text_encoders."), TEXT_ENCODER),
    (("lycoris_text_model_", "lycoris_text_encoder_"), TEXT_ENCODER),
    (("lora_unet_", "lora_transformer_", "lora_prior_unet_", "oft_unet_", "lycoris_"), _DENOISER),
    (("unet.", "transformer.", "transformer_2.", "diffusion_model.", "prior."), _DENOISER),
    (("model.diffusion_model.",), _DENOISER),
)
_STARTS = tuple(start for starts, _ in _COMPONENTS for start in starts)
_NUMBERED = re.compile(r"(.*?[A-Za-z])[._]([0-9]{1,6})(?=[._]|$)")


@dataclass(frozen=True, slots=True)
class Block:
    """One numbered block of a model: `stem` is the name up to the number."""

    stem: str
    number: int


def component_of(name: str) -> str:
    """Return what part of the base model the module called `name` belongs to, in words."""
    return next((words for starts, words in _COMPONENTS if name.startswith(starts)), _MODEL)


def is_of_text_encoder(name: str) -> bool:
    """Return whether the module called `name` belongs to a text encoder of an image model."""
    return component_of(name).endswith(TEXT_ENCODER)


def block_of(name: str) -> Block | None:
    """Return the outermost numbered block that the module called `name` stands in, or None."""
    # The number in `text_encoder_2.` is the component's.
    begin = max((len(start) for start in _STARTS if name.startswith(start)), default=0)
    match = _NUMBERED.match(name, begin)
    return None if match is None else Block(name[:begin] + match[1], int(match[2]))


def ranges_in_words(numbers: Iterable[int]) -> str:
    """Return numbers as `0-3, 7`, ascending."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
