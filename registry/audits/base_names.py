"""One name for a layer in an adapter and in its base model, so that the two can be put side by side.

`FLAT_NAMES` brings names together that differ in prefix and in dots only: kohya's, diffusers' and PEFT's
names for a model in diffusers' or transformers' own layout. It knows no translation between two layouts
of one model (a single-file checkpoint of Stable Diffusion and diffusers' folder); what it cannot bring
together is not found, and counted so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.module_kinds import kind_of_name
from registry.fingerprints.parts import CanonicalPart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.updates.files import Payload

MAIN = "main"
# What a name begins with, to the network of the model that it belongs to. Longest first.
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("conditioner.embedders.0.transformer.", "te1"),
    ("conditioner.embedders.1.model.", "te2"),
    ("cond_stage_model.transformer.", "te1"),
    ("cond_stage_model.model.", "te1"),
    ("model.diffusion_model.", MAIN),
    ("base_model.model.transformer.h.", "gpt"),
    ("base_model.model.", MAIN),
    ("diffusion_model.", MAIN),
    ("lora_transformer_", MAIN),
    ("text_encoder_3.", "te3"),
    ("text_encoder_2.", "te2"),
    ("text_encoder.", "te1"),
    ("transformer.h.", "gpt"),
    ("transformer.", MAIN),
    ("lora_unet_", MAIN),
    ("lora_te1_", "te1"),
    ("lora_te2_", "te2"),
    ("lora_te3_", "te3"),
    ("lora_te_", "te1"),
    ("lycoris_", MAIN),
    ("unet.", MAIN),
    ("h.", "gpt"),
)
# Folders of a diffusers model. Others (vae, safety_checker) hold nothing that adapters change.
COMPONENTS = {
    "unet": MAIN,
    "transformer": MAIN,
    "prior": MAIN,
    "text_encoder": "te1",
    "text_encoder_2": "te2",
    "text_encoder_3": "te3",
}
_WEIGHT = ".weight"
_NO_LAYERS = re.compile(
    r"(^|[._])(first_stage_model|vae|embed_tokens|lm_head|wte|wpe|shared|(token|position)_embedding|"
    r"logit_scale|text_projection|label_emb)([._]|$)"
)
_PROCESSOR = re.compile(r"_processor_(\w+?)_lora$")


@dataclass(frozen=True, slots=True)
class Naming:
    """A way to name layers; a cache made with one can only be read with the same `version`.

    `of_payload` gives the parts of every module of an adapter, in order; `of_weight` those of one tensor
    of a base model by (component, name, rows), () for what no adapter changes. A component is "" in a
    file that is not in a component's folder.
    """

    version: str
    of_payload: Callable[[Payload], Sequence[Sequence[CanonicalPart]]]
    of_weight: Callable[[str, str, int], Sequence[CanonicalPart]]


def flat_parts(payload: Payload) -> tuple[tuple[CanonicalPart, ...], ...]:
    """Return one part, with all rows, for every module of `payload`."""
    names = [located.module.name for located in payload.modules]
    return tuple((CanonicalPart(flat_name("", name), kind_of_name(name)),) for name in names)


def flat_weight(component: str, name: str, rows: int) -> tuple[CanonicalPart, ...]:
    """Return the one part of a base model's tensor, or () if adapters do not change it."""
    if not name.endswith(_WEIGHT) or rows < 1 or _NO_LAYERS.search(name):
        return ()
    layer = name.removesuffix(_WEIGHT)
    return (CanonicalPart(flat_name(component, layer), kind_of_name(layer)),)


def flat_name(component: str, name: str) -> str:
    """Return `<network>:<name with underscores>`; `component` is known of a file in its folder."""
    network = COMPONENTS.get(component, "")
    if not network:
        network = MAIN
        for prefix, known in _PREFIXES:
            if name.startswith(prefix):
                network, name = known, name.removeprefix(prefix)
                break
    layer = _PROCESSOR.sub(r"_\1", name.replace(".", "_"))
    return f"{network}:{layer}"


FLAT_NAMES = Naming("flat.1", flat_parts, flat_weight)
