"""Every module of an adapter under the name that diffusers or transformers gives to the layer it changes.

kohya, diffusers, PEFT, BFL, ComfyUI and musubi spell one layer in as many ways, and some fuse what others
split. Sketches are keyed by these names, so one training compares as equal whoever exported it. By
header alone: names, and the widths of fused weights. What no rule knows keeps its own name without
prefix; that costs a comparison between dialects and never one within a dialect.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from registry.fingerprints.flat_names import dotted
from registry.fingerprints.fused_names import fused_in_diffusers
from registry.fingerprints.kinds import kind_of
from registry.fingerprints.layouts import Layout, layout_of
from registry.fingerprints.native_tables import Fused
from registry.fingerprints.origins import LANGUAGE, UNET, Origin, origin_of
from registry.fingerprints.parts import CanonicalPart
from registry.fingerprints.row_cuts import ranges_of
from registry.fingerprints.unet_names import from_ldm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.artifacts.classifying.modules import AdapterModule
    from registry.updates.files import Payload

Parts = tuple[CanonicalPart, ...]

# What stands before the own name of a module that cannot be told from another one.
RAW = "raw:"
# Methods whose update has the rows of the weight; others (OFT turns blocks of them, IA3 scales) are not cut.
_CUT = frozenset({"lora", "dora", "adalora", "loha", "lokr", "glora", "full", "vera"})
_HEAD = "lm_head"
_LOW_NOISE = re.compile(r"low[-_ ]?noise[^/]*$")
_OLD_CLIP = {"to_q_lora": "q_proj", "to_k_lora": "k_proj", "to_v_lora": "v_proj"}


def canonical_parts(payload: Payload) -> tuple[Parts, ...]:
    """Return the parts of every module, in the order of `payload.modules`.

    Names are unique. The file of a low-noise expert, by its name, and any later file that has layers of an
    earlier one has names of its own (`2:transformer...`): a set is no sum of its files.
    """
    found: list[Parts] = []
    names: set[str] = set()
    for place, (_, located) in enumerate(groupby(payload.modules, key=lambda one: id(one.file)), 1):
        modules = list(located)
        parts = canonical_modules([one.module for one in modules])
        is_low = _LOW_NOISE.search(modules[0].file.path.lower()) is not None
        is_second = any(part.name in names for own in parts for part in own)
        if is_low or is_second:
            expert = max(2, place)
            parts = tuple(_of_expert(own, expert) for own in parts)
        names.update(part.name for own in parts for part in own)
        found += parts
    return tuple(found)


def _of_expert(parts: Parts, expert: int) -> Parts:
    return tuple(replace(part, name=f"{expert}:{part.name}") for part in parts)


def canonical_modules(modules: Sequence[AdapterModule]) -> tuple[Parts, ...]:
    """Return the parts of each of the modules of one file. Never raises, whatever they are called.

    Modules that come to one name (a fused weight beside its split copies) all keep their own, behind `RAW`.
    """
    origins = [origin_of(module.name) for module in modules]
    layout = layout_of(origins, modules)
    found = [
        _parts(module, origin, layout) for module, origin in zip(modules, origins, strict=True)
    ]
    for place in _colliding(found, modules):
        found[place] = _whole(RAW + modules[place].name)
    return tuple(found)


def _whole(name: str) -> Parts:
    return (CanonicalPart(name, kind_of(name)),)


def _parts(module: AdapterModule, origin: Origin, layout: Layout) -> Parts:
    if not origin.own or module.name.startswith(RAW):
        return _whole(module.name)
    component = layout.component_of(origin)
    target = layout.find(component, origin.key) or _own(origin, component)
    prefix = _prefix(component, origin)
    fused = target if isinstance(target, Fused) else fused_in_diffusers(component, target)
    if fused is None:
        return _whole(f"{prefix}{target}")
    rows = None
    if module.method in _CUT and not module.faults:
        rows = ranges_of(fused.cut, module.geometry.outputs, module.geometry.inputs)
    if rows is None:
        return _whole(f"{prefix}{fused.whole or _own(origin, component)}")
    return tuple(
        CanonicalPart(f"{prefix}{path}", kind_of(path), place)
        for path, place in zip(fused.paths, rows, strict=True)
    )


def _prefix(component: str, origin: Origin) -> str:
    """A language model's head stands beside its body; all else stands in its component."""
    return "" if not component or origin.own == _HEAD else f"{component}."


def _own(origin: Origin, component: str) -> str:
    if component == UNET:
        path = from_ldm(origin.key)
        if path is not None:
            return ".".join(dotted(word) for word in path.split("."))
    path = dotted(origin.own) if origin.is_flat else origin.own
    path = path.removesuffix(".base_layer")
    if component == LANGUAGE:
        return _language(path)
    if path.endswith("_lora"):
        path = _old_processor(path, component)
    if component.startswith("text_encoder") and path.startswith("encoder.layers."):
        return f"text_model.{path}"
    return path


def _old_processor(path: str, component: str) -> str:
    """In 2023 diffusers put factors into attention processors and text layers of their own."""
    head, _, last = path.rpartition(".")
    head = head.removesuffix(".processor")
    if component.startswith("text_encoder"):
        return f"{head}.{_OLD_CLIP.get(last, 'out_proj' if last == 'to_out_lora' else last)}"
    name = last.removesuffix("_lora")
    return f"{head}.to_out.0" if name == "to_out" else f"{head}.{name}"


def _language(path: str) -> str:
    """Language models around another (a VLM) were rearranged in transformers 4.52; older names follow."""
    path = path.removeprefix("model.")
    if path.startswith("language_model.model."):
        return f"language_model.{path.removeprefix('language_model.model.')}"
    return path


def _colliding(found: Sequence[Parts], modules: Sequence[AdapterModule]) -> set[int]:
    """Return the places of modules that share a name, after `RAW` names have taken theirs as well."""
    holders: dict[str, list[int]] = {}
    for place, parts in enumerate(found):
        for part in parts:
            holders.setdefault(part.name, []).append(place)
    open_places = [place for places in holders.values() if len(places) > 1 for place in places]
    fallen: set[int] = set()
    while open_places:
        place = open_places.pop()
        if place in fallen:
            continue
        fallen.add(place)
        # Whoever is really called so has to give way: raw names of two modules are never the same.
        raw = RAW + modules[place].name
        open_places += [other for other in holders.get(raw, ()) if other not in fallen]
    return fallen
