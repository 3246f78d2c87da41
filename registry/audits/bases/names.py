"""One name for a layer in an adapter and in its base model, so that the two can be put side by side.

A base's layers are first given the names that adapters call them by (`adapter_modules`), so that any way to
name an adapter's modules names the base's as well. What is not brought together is not found, and counted so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.classifying.geometry import Geometry
from registry.artifacts.classifying.modules import AdapterModule
from registry.fingerprints.names import canonical_modules, canonical_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.fingerprints.parts import CanonicalPart
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import Payload

# Folders of a diffusers model. Others (vae, safety_checker) hold nothing that adapters change.
COMPONENTS = (
    "unet",
    "transformer",
    "transformer_2",
    "prior",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
)
# What a name in a single file begins with, to what adapters put in its place. The first that fits counts.
_SINGLE_FILE: tuple[tuple[str, str], ...] = (
    ("model.diffusion_model.", "diffusion_model."),
    ("diffusion_model.", "diffusion_model."),
    ("conditioner.embedders.0.transformer.", "text_encoder."),
    ("cond_stage_model.transformer.", "text_encoder."),
    ("text_encoders.clip_l.transformer.", "text_encoder."),
    ("text_model.", "text_encoder.text_model."),
    ("transformer.h.", "base_model.model.transformer.h."),
    ("h.", "base_model.model.transformer.h."),
    ("model.", "base_model.model.model."),
    ("language_model.", "base_model.model.language_model."),
    ("gpt_neox.", "base_model.model.gpt_neox."),
)
_WEIGHT = ".weight"
_NO_LAYERS = re.compile(
    r"(^|\.)(first_stage_model|vae|embed_tokens|lm_head|wte|wpe|shared|(token|position)_embedding|"
    r"logit_scale|text_projection|label_emb)(\.|$)"
)


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """One tensor of a base model with the widths of its layer.

    `component` is the folder of a diffusers model that its file lies in, "" in other files.
    """

    component: str
    info: TensorInfo
    outputs: int
    inputs: int
    kernel: int = 1


@dataclass(frozen=True, slots=True)
class Naming:
    """A way to name layers; a cache made with one can only be read with the same `version`.

    `of_payload` gives the parts of every module of an adapter, in order; `of_modules` those of layers of
    a base that `adapter_modules` made look like modules.
    """

    version: str
    of_payload: Callable[[Payload], Sequence[Sequence[CanonicalPart]]]
    of_modules: Callable[[Sequence[AdapterModule]], Sequence[Sequence[CanonicalPart]]]


def adapter_modules(layers: Sequence[BaseLayer]) -> list[AdapterModule]:
    """Return for each layer the module by which an adapter would change it in full, prefix included."""
    return [
        AdapterModule(
            _adapter_name(layer.component, layer.info.name.removesuffix(_WEIGHT)),
            "full",
            (("diff", layer.info),),
            Geometry(inputs=layer.inputs, outputs=layer.outputs, kernel=layer.kernel),
        )
        for layer in layers
    ]


def is_layer(name: str) -> bool:
    """Return whether a tensor of a base model is the weight of a layer that adapters change."""
    return name.endswith(_WEIGHT) and _NO_LAYERS.search(name) is None


def _adapter_name(component: str, name: str) -> str:
    if component:
        return f"{component}.{name}"
    for start, instead in _SINGLE_FILE:
        if name.startswith(start):
            return instead + name.removeprefix(start)
    return f"diffusion_model.{name}"


CANONICAL = Naming("canonical.1", canonical_parts, canonical_modules)
