"""What the names of a file say only together: which model's tables hold, and where bare names belong.

`img_in` is a layer of FLUX.1, of Qwen-Image and of Krea 2 under three names, and `lora_unet_` stands before
every diffusion model; the blocks that are in the same file decide.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from registry.artifacts.classifying.dialects import find_dialect, prefixes_of
from registry.artifacts.classifying.families import fit_family
from registry.artifacts.classifying.layers import view_layers
from registry.artifacts.classifying.shapes import group_shapes
from registry.fingerprints import native_tables as tables
from registry.fingerprints.native_tables import Fused
from registry.fingerprints.origins import (
    BARE,
    DIFFUSION,
    T5,
    TRANSFORMER,
    UNET,
    home_of,
    is_t5,
    may_be_unet,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.artifacts.classifying.modules import AdapterModule
    from registry.fingerprints.native_tables import Table, Target
    from registry.fingerprints.origins import Origin

_NUMBER = re.compile(r"(?<=_)[0-9]+(?=_|$)")


class _Model(NamedTuple):
    blocks: Table
    outside: Table


_FLUX = _Model({**tables.FLUX_BLOCKS, **tables.HUNYUAN_REFINER}, tables.FLUX_OUTSIDE)
_FLUX2 = _Model(
    {**tables.FLUX_BLOCKS, **tables.FLUX2_BLOCKS}, {**tables.FLUX_OUTSIDE, **tables.FLUX2_OUTSIDE}
)
_LUMINA = _Model(tables.LUMINA_BLOCKS, tables.LUMINA_OUTSIDE)
_ZIMAGE = _Model(tables.ZIMAGE_BLOCKS, tables.ZIMAGE_OUTSIDE)
_MODELS = {
    "flux": _FLUX,
    "sd3": _Model(tables.SD3_BLOCKS, tables.SD3_OUTSIDE),
    "wan": _Model(tables.WAN_BLOCKS, tables.WAN_OUTSIDE),
    "cosmos": _Model(tables.COSMOS_BLOCKS, tables.COSMOS_OUTSIDE),
    "krea": _Model(tables.KREA_BLOCKS, tables.KREA_OUTSIDE),
    "ltx": _Model({}, tables.LTX_OUTSIDE),
    "z-image": _Model({**_LUMINA.blocks, **_ZIMAGE.blocks}, {}),
}
# A block's key belongs to one model; FLUX.1 and 2, Lumina and Z-Image are told apart by widths.
_MODEL_OF = {
    **{key: name for name, model in _MODELS.items() for key in model.blocks},
    **dict.fromkeys(tables.LTX_MARKS, "ltx"),
}
# Outputs to inputs of layers whose names FLUX.1 and FLUX.2 share: the MLP of the latter is gated and
# three times as wide as the model, that of the former four times.
_FLUX2_RATIOS = {
    "single_blocks_#_linear1": (9, 1),
    "single_blocks_#_linear2": (1, 4),
    "double_blocks_#_img_mlp_0": (6, 1),
    "double_blocks_#_txt_mlp_0": (6, 1),
    "double_blocks_#_img_mlp_2": (1, 3),
    "double_blocks_#_txt_mlp_2": (1, 3),
}
_FLUX2_ONLY = "_stream_modulation_"
_OPEN_CLIP = "resblocks_"


class Layout(NamedTuple):
    """`home` is the component of names that tell of none; the tables are those of the file's model."""

    home: str
    t5: str
    blocks: Table
    outside: Table

    def component_of(self, origin: Origin) -> str:
        """Return the component that a module belongs to, "" for none that is known."""
        if origin.component == T5 or (origin.component == "text_encoder_3" and is_t5(origin.key)):
            return self.t5
        unknown = self.home or TRANSFORMER if origin.component == DIFFUSION else self.home
        return home_of(origin) or unknown

    def find(self, component: str, key: str) -> Target | None:
        """Return diffusers' path for a module's own name (dots as underscores), None if none is known."""
        if component.startswith(TRANSFORMER):
            outside = self.outside.get(key)
            return self.blocks_target(key) if outside is None else outside
        if component.startswith("text_encoder") and _OPEN_CLIP in key:
            return _numbered(tables.OPEN_CLIP, key[key.index(_OPEN_CLIP) :])
        return None

    def blocks_target(self, key: str) -> Target | None:
        """Return diffusers' path for a module of a block."""
        return _numbered(self.blocks, key)


def layout_of(origins: Sequence[Origin], modules: Sequence[AdapterModule]) -> Layout:
    """Return the layout of one file; `origins` are its modules' names, taken apart, in their order."""
    homes = [home_of(origin) for origin in origins]
    keyed = [
        (_stem(origin.key), module)
        for origin, home, module in zip(origins, homes, modules, strict=True)
        if home is None or home.startswith(TRANSFORMER)
    ]
    models = list(dict.fromkeys(_MODEL_OF[key] for key, _ in keyed if key in _MODEL_OF))
    chosen = [_variant(model, keyed, modules) for model in models]
    blocks = {key: target for model in chosen for key, target in model.blocks.items()}
    outside = {key: target for model in chosen for key, target in model.outside.items()}
    has_flux = "flux" in models or any("single_transformer_blocks" in key for key, _ in keyed)
    return Layout(
        _home(origins, homes), "text_encoder_2" if has_flux else "text_encoder_3", blocks, outside
    )


def _home(origins: Sequence[Origin], homes: Sequence[str | None]) -> str:
    for name in (UNET, TRANSFORMER):
        if name in homes:
            return name
    lost = (origin.key for origin, home in zip(origins, homes, strict=True) if home is None)
    return UNET if any(map(may_be_unet, lost)) else BARE


def _stem(key: str) -> str:
    return _NUMBER.sub("#", key, count=1)


def _numbered(table: Table, key: str) -> Target | None:
    match = _NUMBER.search(key)
    if match is None:
        return None
    target = table.get(f"{key[: match.start()]}#{key[match.end() :]}")
    if isinstance(target, Fused):
        paths = tuple(path.replace("#", match[0]) for path in target.paths)
        return Fused(paths, target.cut, target.whole.replace("#", match[0]))
    return None if target is None else target.replace("#", match[0])


def _variant(
    name: str, keyed: Sequence[tuple[str, AdapterModule]], modules: Sequence[AdapterModule]
) -> _Model:
    if name == "flux":
        return _FLUX2 if any(map(_is_flux2, keyed)) or _family(modules) == "flux2" else _FLUX
    if name == "z-image":
        return _LUMINA if any(map(_is_lumina, keyed)) or _family(modules) == "lumina2" else _ZIMAGE
    return _MODELS[name]


def _is_flux2(keyed: tuple[str, AdapterModule]) -> bool:
    key, module = keyed
    outputs, inputs = module.geometry.outputs, module.geometry.inputs
    if _FLUX2_ONLY in key:
        return True
    if key not in _FLUX2_RATIOS or not outputs or not inputs:
        return False
    more, less = _FLUX2_RATIOS[key]
    return outputs * less == inputs * more


def _is_lumina(keyed: tuple[str, AdapterModule]) -> bool:
    """Lumina 2 shares keys and values between heads and modulates by the second layer of its pair."""
    key, module = keyed
    if key.endswith("_#_attention_qkv"):
        geometry = module.geometry
        return bool(geometry.outputs and geometry.inputs) and (
            geometry.outputs != 3 * (geometry.inputs or 0)
        )
    return key.endswith("_#_adaLN_modulation_1")


def _family(modules: Sequence[AdapterModule]) -> str | None:
    dialect = find_dialect([module.name for module in modules])
    return fit_family(view_layers(group_shapes(modules), (), prefixes_of(dialect))).default
