"""Which files of a trainer's output folder are the adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS_SUFFIX = ".safetensors"
# Names that trainers give to the one weights file of a folder, in order of preference.
_USUAL_WEIGHTS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
# Taken only where nothing better is there, so that the refusal can say what they are.
_PICKLED_WEIGHTS = ("adapter_model.bin", "pytorch_lora_weights.bin")
_EXPERTS = ("high_noise", "low_noise")


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


def _are_experts(weights: Sequence[str]) -> bool:
    """Return whether these are the two files of one Wan 2.2 adapter, which differ in one word."""
    neutral = [name.replace(word, "*") for name in weights for word in _EXPERTS if word in name]
    return len(weights) == len(neutral) == len(_EXPERTS) and len(set(neutral)) == 1
