"""Which files of a trainer's output folder are the adapter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS_SUFFIX = ".safetensors"
# Names that trainers give to the one weights file of a folder, in order of preference.
_USUAL_WEIGHTS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
# Taken only where nothing better is there, so that the refusal can say what they are.
_PICKLED_WEIGHTS = ("adapter_model.bin", "pytorch_lora_weights.bin")
# The experts of one Wan 2.2 adapter: high_noise, high-noise, HighNoise; the word stands alone.
_EXPERT = re.compile(r"(?<![a-z])(high|low)(?=[-_ ]?noise(?![a-z]))", re.IGNORECASE)
_OTHER = {"high": "low", "low": "high"}


def choose_weights(names: Sequence[str], *, folder: str) -> tuple[str, ...]:
    """Return which of `names` are the weights: one file, or the two of a high- and low-noise pair.

    Raises:
        NotFoundError: no weights among them; `folder` names the place in the message.
        UsageError: several that are no set.
    """
    weights = tuple(name for name in names if name.endswith(WEIGHTS_SUFFIX))
    for usual in (*_USUAL_WEIGHTS, *(() if weights else _PICKLED_WEIGHTS)):
        if usual in names:
            return (usual,)
    if len(weights) == 1 or _are_experts(weights):
        return weights
    if not weights:
        raise NotFoundError(
            f"no {WEIGHTS_SUFFIX} file in {folder!r}", hint="give the file or its own folder"
        )
    raise UsageError(
        f"{len(weights)} {WEIGHTS_SUFFIX} files in {folder!r}, which are no set",
        hint="give one of them",
    )


def partner_of(name: str) -> str | None:
    """Return what the other expert's file is called, None if `name` is not one of a pair.

    Wan 2.2 has an expert for high and one for low noise; an adapter of both is two files whose names
    differ in that word.
    """
    found = list(_EXPERT.finditer(name))
    if len(found) != 1:
        return None
    word = found[0][0]
    other = _OTHER[word.lower()]
    other = other.upper() if word.isupper() else other.title() if word.istitle() else other
    return name[: found[0].start()] + other + name[found[0].end() :]


def name_of_pair(name: str) -> str:
    """Return what people call the pair that the file `name` is one of: the name without the word."""
    neutral = re.sub(
        r"[-_ ]?(?<![a-z])(high|low)[-_ ]?noise(?![a-z])", "", name, flags=re.IGNORECASE
    )
    return neutral if not neutral.startswith(".") else name


def _are_experts(weights: Sequence[str]) -> bool:
    return len(weights) == len(_OTHER) and partner_of(weights[0]) == weights[1]
