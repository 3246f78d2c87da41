"""Stable Diffusion's UNet in the numbering of the original code (LDM, SGM), told in diffusers' names.

The original counts its blocks through; diffusers groups them by resolution, two or three to a group
(`layers_per_block` is 2 in SD 1, 2 and XL alike). Oracle in the tests: diffusers' own converters.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(
    r"(input_blocks|output_blocks|middle_block)_([0-9]{1,4})_(?:([0-9]{1,4})_)?(.+)"
)
_PER_GROUP = 3
_OUTSIDE = {
    "input_blocks_0_0": "conv_in",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding.linear_1",
    "time_embed_2": "time_embedding.linear_2",
    "label_emb_0_0": "add_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
}
_RESNET = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_MIDDLE = {0: "resnets.0", 1: "attentions.0", 2: "resnets.1"}


def from_ldm(key: str) -> str | None:
    """Return diffusers' name of a UNet module; None if `key` is none of the original code's names.

    `key` is without prefix, with underscores for dots. What is inside of an attention keeps its underscores
    (`flat_names.dotted` has to follow).
    """
    if key in _OUTSIDE:
        return _OUTSIDE[key]
    match = _BLOCK.fullmatch(key)
    if match is None:
        return None
    side, number, inner, leaf = match[1], int(match[2]), match[3], match[4]
    if side == "middle_block":
        leaf = leaf if inner is None else f"{inner}_{leaf}"
        place = f"mid_block.{_MIDDLE[number]}" if number in _MIDDLE else None
    elif inner is None:
        return None
    else:
        place = _group(side, number, int(inner), leaf)
    if place is None:
        return None
    if place.endswith("samplers.0"):
        return f"{place}.conv"
    return f"{place}.{_RESNET.get(leaf, leaf)}"


def _group(side: str, number: int, inner: int, leaf: str) -> str | None:
    """Return where diffusers has module `inner` of a numbered block, None if it has no such place."""
    down = side == "input_blocks"
    group, layer = divmod(number - 1 if down else number, _PER_GROUP)
    name = f"{'down' if down else 'up'}_blocks.{group}"
    if group < 0:
        return None
    if down and leaf == "op":
        return f"{name}.downsamplers.0"
    # Where a block has no attention, its upsampler moves up to its place.
    if not down and leaf == "conv":
        return f"{name}.upsamplers.0"
    kinds = ("resnets", "attentions")
    return f"{name}.{kinds[inner]}.{layer}" if inner < len(kinds) else None
