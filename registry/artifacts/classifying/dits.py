"""Diffusion transformers in diffusers' naming: which of them have layers of the widths that are seen.

Many share block names and differ by width, number of blocks or the text's width; a partial adapter
(attention only, one block) shows some of these. A row says what a model has, measured on the classes
of diffusers 0.42.1; whatever is seen must be in it, and what is not seen rules nothing out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from registry.artifacts.classifying.layers import Layers


class Dit(NamedTuple):
    """One model: widths of its `transformer_blocks` and how its attention is called.

    `family` is None for models that the fixture sheet has no family for. `hidden` goes into queries;
    `text` are further inputs of keys and values; `keys` their output; `mlp` the outputs of the first
    MLP layer. `numbered` says whether attentions are attn1 and attn2 (None: both), `joint` whether the
    text has projections of its own (add_q_proj) and their input width.
    """

    model: str
    family: str | None
    blocks: int
    hidden: int
    mlp: frozenset[int]
    numbered: bool | None
    joint: int = 0
    text: int = 0
    keys: int = 0


def _mlp(*widths: int) -> frozenset[int]:
    return frozenset(widths)


DITS: tuple[Dit, ...] = (
    Dit("FLUX.1", "flux1", 19, 3072, _mlp(12288), False, joint=3072),
    Dit("Chroma", "chroma", 19, 3072, _mlp(12288), False, joint=3072),
    Dit("FLUX.2 dev", "flux2", 8, 6144, _mlp(36864), False, joint=6144),
    Dit("FLUX.2 klein 9B", "flux2", 8, 4096, _mlp(24576), False, joint=4096),
    Dit("FLUX.2 klein 4B", "flux2", 5, 3072, _mlp(18432), False, joint=3072),
    # Its MLPs are called img_mlp and txt_mlp, so any `ff` rules it out.
    Dit("Qwen-Image", "qwen-image", 60, 3072, _mlp(), False, joint=3072),
    Dit("HunyuanVideo", "hunyuan-video", 20, 3072, _mlp(12288), False, joint=3072),
    Dit("HunyuanVideo 1.5", None, 54, 2048, _mlp(8192), False, joint=2048),
    Dit("SD3 Medium", "sd3-medium", 24, 1536, _mlp(6144), False, joint=1536),
    Dit("SD3.5 Medium", "sd3.5-medium", 24, 1536, _mlp(6144), None, joint=1536),
    Dit("SD3.5 Large", "sd3.5-large", 38, 2432, _mlp(9728), False, joint=2432),
    Dit("Krea 2", "krea2", 28, 6144, _mlp(16384), False, keys=1536),
    Dit("LTX-Video 2B", "ltx-video", 28, 2048, _mlp(8192), True),
    Dit("LTX-Video 13B", "ltx-video", 48, 4096, _mlp(16384), True),
    Dit("Cosmos-Predict2 2B", "anima/cosmos", 28, 2048, _mlp(8192), True, text=1024),
    Dit("Cosmos-Predict2 14B", "anima/cosmos", 36, 5120, _mlp(20480), True, text=1024),
    Dit("PixArt", "pixart", 28, 1152, _mlp(4608), True),
    Dit("Sana 1.6B", "sana", 20, 2240, _mlp(11200), True),
    Dit("Mochi 1", None, 48, 3072, _mlp(16384, 8192), True, joint=1536),
    Dit("CogVideoX 5B", None, 42, 3072, _mlp(12288), True),
    Dit("CogVideoX 2B", None, 30, 1920, _mlp(7680), True),
    Dit("CogView4", None, 28, 4096, _mlp(16384), True),
    Dit("AuraFlow", None, 4, 3072, _mlp(8192), False, joint=3072),
    Dit("Allegro", None, 32, 2304, _mlp(9216), True),
)
_BLOCKS = "transformer_blocks_"
# Keys and values of the attention to the text.
_CROSS = ("attn2.to_k", "attn2.to_v", "attn2_to_k", "attn2_to_v")
# What none of the rows has: sound, gates, other networks in the same file.
_FOREIGN = ("audio_", "_to_video_", "context_embedder_token_refiner")


def fitting_dits(layers: Layers) -> tuple[Dit, ...] | None:
    """Return the rows that allow everything seen; () if none does, None for other block names."""
    stems = [stem for stem in layers.widths if stem.startswith(_BLOCKS)]
    if not stems:
        return None
    if any(mark in stem for stem in layers.widths for mark in _FOREIGN):
        return ()
    seen = _look(layers)
    return tuple(row for row in DITS if _allows(row, seen))


class _Seen(NamedTuple):
    queries: frozenset[int]
    key_inputs: frozenset[int]
    key_outputs: frozenset[int]
    joint: frozenset[int]
    mlp: frozenset[int]
    last: int
    numbers: frozenset[bool]
    crosses: bool
    feeds: bool


def _look(layers: Layers) -> _Seen:
    own = layers.within(_BLOCKS)
    names = [name for name in layers.names if "attn" in name]
    numbers = {"attn1" in name or "attn2" in name for name in names if _is_query_like(name)}
    return _Seen(
        (own.inputs("attn_to_q") | _mlp_inputs(own)) - {0},
        own.inputs("attn_to_k", "attn_to_v") - {0},
        own.outputs("attn_to_k", "attn_to_v") - {0},
        own.inputs("attn_add_") - {0},
        own.outputs("_net__proj", "ff_linear_in", "ff_gate", "ff_up") - {0},
        layers.last_index(r"(?<!single_)transformer_blocks"),
        frozenset(numbers),
        any(mark in name for name in names for mark in _CROSS),
        own.has("_ff_"),
    )


def _mlp_inputs(own: Layers) -> frozenset[int]:
    return frozenset(
        width
        for stem, pairs in own.widths.items()
        if stem.endswith(("ff_net__proj", "ff_linear_in", "ff_gate", "ff_up"))
        for width, _ in pairs
    )


def _is_query_like(name: str) -> bool:
    return "single_transformer_blocks" not in name and ("to_" in name or "add_" in name)


def _allows(row: Dit, seen: _Seen) -> bool:
    return (
        seen.last < row.blocks
        and seen.queries <= {row.hidden}
        and seen.key_inputs <= {row.hidden, row.text}
        and seen.key_outputs <= {row.keys or row.hidden}
        and seen.joint <= {row.joint}
        and seen.mlp <= row.mlp
        and not (seen.feeds and not row.mlp)
        and not (seen.crosses and row.text and row.text not in seen.key_inputs)
        and (row.numbered is None or seen.numbers <= {row.numbered})
    )
