"""Whole models with an adapter merged into them, and what to say of files that are no adapters.

A header shows base weights alike whether something was merged into them or not. So a merge is known only
by what was left behind or claimed: metadata of merge tools and trainers, leftover factors, PEFT's
wrapping, a name. Without such evidence a whole model keeps its kind and is not accused of anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.classifying.kinds import (
    ADAPTER,
    CONTROL_LORA,
    CONTROLNET,
    DATASET_CACHE,
    FULL_CHECKPOINT,
    FULL_MODEL_PART,
    GGUF_ADAPTER,
    GGUF_MODEL,
    IP_ADAPTER,
    QUANTISED_MODEL,
    TEXTUAL_INVERSION,
    TEXTUAL_INVERSION_PICKLE,
    TRAINING_STATE,
    VAE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.classifying.modules import Pairing
    from registry.artifacts.inspection import Inspection

MERGED = "merged-checkpoint"
RAW_DUMP = "not-an-adapter"
WHOLE_MODELS = frozenset({FULL_CHECKPOINT, FULL_MODEL_PART, QUANTISED_MODEL})
# Metadata that tools write when they put weights together.
_MERGE_KEYS = ("modelspec.merged_from", "sd_merge_models", "sd_merge_recipe", "merge_recipe")
# What a LoRA trainer writes, and only for a network that it trained.
_TRAINER_KEYS = ("ss_network_dim", "ss_network_module", "ss_network_alpha", "lora_adapter_metadata")
# ComfyUI saves its workflow with the file; these nodes put adapters into models.
_WORKFLOW_KEYS = ("prompt", "workflow")
_WORKFLOW_NODES = re.compile(
    r"\b(Lora\s?Loader|LoRA\s?Stack|ModelMerge|CheckpointMerge)", re.IGNORECASE
)
# `out/merged/`, `NAME_merged_16bit`, `NAME-merged.safetensors`.
_MERGED_NAME = re.compile(r"(?:^|[-_. ])merged?(?=[-_. ]|$)", re.IGNORECASE)
_BASE_LAYER = ".base_layer."

# The ledger keeps 500 characters of a reason: the whole of it must fit.
_CANNOT_BE_UNDONE = (
    "a merge cannot be undone (its update cannot be told from the base's weights without exactly that "
    "base, nor after rounding), and what the adapter had memorised is now in a file that cannot be "
    "withdrawn, audited or traced as an adapter: treat it as personal data of the training set, never "
    "as the public base"
)
_ADVICE = "take in the adapter itself"
_MOST_EVIDENCE = 2
_WORDS: dict[str, str] = {
    FULL_CHECKPOINT: "a whole checkpoint",
    FULL_MODEL_PART: "a whole model or a part of one",
    QUANTISED_MODEL: "a quantised model",
    GGUF_MODEL: "a model in GGUF",
    GGUF_ADAPTER: "an adapter in GGUF, which is kept apart from safetensors",
    VAE: "a VAE",
    TEXTUAL_INVERSION: "an embedding (textual inversion)",
    TEXTUAL_INVERSION_PICKLE: "an embedding in a pickle, which is never loaded",
    CONTROLNET: "a ControlNet",
    CONTROL_LORA: "a Control-LoRA, which needs its ControlNet to mean anything",
    IP_ADAPTER: "an IP-Adapter, which is a network of its own",
    TRAINING_STATE: "the state of a training run, which looks like an adapter and goes on changing",
    DATASET_CACHE: "a cache of training data",
}


def find_merge_evidence(
    metadata: Mapping[str, str], pairing: Pairing, place: str | None
) -> tuple[str, ...]:
    """Return what says that something was merged into this whole model; () if nothing does.

    Names keys and kinds of things, never values, paths or tensors' content.
    """
    found = [f"the metadata key {key}" for key in _MERGE_KEYS if metadata.get(key)]
    found += [
        f"the metadata key {key}, which LoRA trainers write"
        for key in _TRAINER_KEYS
        if metadata.get(key)
    ]
    found += [
        f"a workflow with merge or LoRA nodes in the metadata key {key}"
        for key in _WORKFLOW_KEYS
        if _WORKFLOW_NODES.search(metadata.get(key, ""))
    ]
    if pairing.modules:
        found.append(f"factors of {len(pairing.modules)} modules that were left in it")
    if place is not None and _is_named_merged(place):
        found.append("its name")
    return tuple(found)


def _is_named_merged(place: str) -> bool:
    # The file and its own folder only: what lies above is somebody's way of sorting.
    parts = place.replace("\\", "/").split("/")[-2:]
    return any(_MERGED_NAME.search(part) for part in parts)


def is_raw_dump(pairing: Pairing) -> bool:
    """Return whether this is a PEFT model saved whole: factors beside the base weights they wrap."""
    return bool(pairing.modules) and any(_BASE_LAYER in item.name for item in pairing.others)


def describe_merge(
    kind: str | None, pairing: Pairing, evidence: tuple[str, ...]
) -> tuple[str, str]:
    """Return code and message of the refusal of a whole model with `evidence` of a merge."""
    what = _WORDS.get(kind or "", "a file of unknown kind")
    if is_raw_dump(pairing):
        message = (
            f"not an adapter but {what}: a PEFT model saved whole, base weights and factors in one file; "
            f"{_ADVICE} (save_pretrained writes only the adapter)"
        )
        return RAW_DUMP, message
    said_by = " and ".join(evidence[:_MOST_EVIDENCE])
    return MERGED, (
        f"not an adapter but {what} that something was merged into, by {said_by}; "
        f"{_CANNOT_BE_UNDONE}; {_ADVICE}"
    )


def reason_not_an_adapter(inspection: Inspection) -> str | None:
    """Return in words why this is nothing to take in; None for an adapter, sound or broken.

    For a whole model it also says what a merge would mean, whether or not there is evidence of one.
    At most 500 characters, without names, paths or values out of the file.
    """
    kind = inspection.kind
    if kind == ADAPTER:
        return None
    if inspection.refusals and (kind is None or kind in WHOLE_MODELS):
        return inspection.refusals[0].message
    if kind is None:
        return "not an adapter but of unknown kind: no rule knows these tensor names"
    reason = f"not an adapter but {_WORDS.get(kind, kind)} ({kind})"
    if kind in WHOLE_MODELS:
        return f"{reason}; if an adapter was merged into it, {_CANNOT_BE_UNDONE}; {_ADVICE}"
    return reason
