"""Classes of layers: what a layer does in its block, the same word for every model and exporter.

- `attn.q`, `.k`, `.v`, `.out`, `.gate`: self-attention, and the attention of models with one for all tokens;
  `.qkv` where they are one weight that is not cut;
- `cross.*`: the same of an attention to something else (attn2, cross_attn, encoder_attn);
- `joint.*`: projections of the text's tokens into a joint attention (add_q_proj, to_add_out);
- `ff.in`, `ff.gate`, `ff.out`: MLP into, gate of, and out of the wide layer (a gate fused with the way in, as in
  GEGLU, counts as `ff.in`);
- `conv`, `proj` (in and out of a block or model), `norm` (modulations, which scale a norm's output, too),
  `embed` (of time, text, tokens, patches), `other`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.fingerprints.parts import CanonicalPart

_ATTENTION_ROLES = {
    **dict.fromkeys(("to_q", "q_proj", "q", "wq", "query", "to_query"), "q"),
    **dict.fromkeys(("to_k", "k_proj", "k", "wk", "key", "to_key"), "k"),
    **dict.fromkeys(("to_v", "v_proj", "v", "wv", "value", "to_value"), "v"),
    **dict.fromkeys(("to_out", "out_proj", "o_proj", "o", "wo", "output_proj"), "out"),
    **dict.fromkeys(("qkv", "to_qkv", "to_added_qkv", "qkv_proj", "query_key_value"), "qkv"),
    **dict.fromkeys(("Wqkv", "wqkv", "c_attn", "in_proj", "to_qkv_mlp_proj", "to_kv"), "qkv"),
    "to_gate": "gate",
}
_JOINT_ROLES = {
    "add_q_proj": "q",
    "add_k_proj": "k",
    "add_v_proj": "v",
    "to_add_out": "out",
    "to_added_qkv": "qkv",
}
# These names tell by themselves; the others only inside of something called an attention.
_PLAIN_ATTENTION = ("to_", "q_proj", "k_proj", "v_proj", "o_proj", "qkv", "query_key_value")
_OUT_OF_ATTENTION = frozenset({"proj", "dense", "c_proj", "out"})
_CROSS = frozenset({"attn2", "cross_attn", "crossattention", "encoder_attn", "EncDecAttention"})
_MLP_ROLES = {
    **dict.fromkeys(("fc1", "up_proj", "up", "linear_in", "c_fc", "wi", "wi_1", "w3"), "ff.in"),
    **dict.fromkeys(("proj_mlp", "dense_h_to_4h", "linear_3", "layer1", "gate_up_proj"), "ff.in"),
    **dict.fromkeys(("gate_proj", "gate", "wi_0", "w1", "linear_1"), "ff.gate"),
    **dict.fromkeys(("fc2", "down_proj", "down", "linear_out", "c_proj", "wo", "w2"), "ff.out"),
    **dict.fromkeys(("dense_4h_to_h", "linear_2", "layer2", "net.2", "ffn.2"), "ff.out"),
    **dict.fromkeys(("net.0.proj", "net.0", "ffn.0"), "ff.in"),
}
_MLP_PARENTS = ("ff", "mlp", "feed_forward", "DenseReluDense")
# Of these no other layer bears the name.
_PLAIN_MLP = frozenset(
    {"fc1", "fc2", "up_proj", "gate_proj", "down_proj", "c_fc", "proj_mlp", "gate_up_proj"}
)
_NORM = ("norm", "adaln", "mod.", "modulation")
_EMBED = ("embed", "emb_proj", "wte", "wpe", "t_embedder", "time_mod_proj")


def kind_of(name: str) -> str:
    """Return the class of the layer with this canonical name; "other" where the name does not tell."""
    body, bracket, inner = name.rstrip("]").partition("[")
    parts = body.split(".")
    if bracket and inner in ("q", "k", "v"):
        return f"{_attention(parts)}.{inner}"
    last, tail = _ends(parts)
    return _attention_kind(parts, last) or _mlp_kind(parts, last, tail) or _other_kind(parts, last)


def module_kind(parts: Sequence[CanonicalPart]) -> str:
    """Return the class of a module with these parts; a fused one has several, joined by `+`."""
    return "+".join(dict.fromkeys(part.kind for part in parts))


def class_counts(parts: Iterable[Iterable[CanonicalPart]]) -> dict[str, int]:
    """Return how many parts there are of each class, by class name; classes without parts are left out."""
    counts = Counter(part.kind for module in parts for part in module)
    return dict(sorted(counts.items()))


def _ends(parts: list[str]) -> tuple[str, str]:
    """Return the last word that is no number, and all from the word before it on that has numbers."""
    place = len(parts) - 1
    while place > 0 and parts[place].isdecimal():
        place -= 1
    start = place
    while start > 0 and (start == place or parts[start].isdecimal()):
        start -= 1
    return parts[place], ".".join(parts[start:])


def _attention(parts: list[str]) -> str:
    return "cross" if _CROSS.intersection(parts) else "attn"


def _is_attention(part: str) -> bool:
    # A UNet's `attentions` are whole transformers.
    return part != "attentions" and ("attn" in part or "attention" in part)


def _attention_kind(parts: list[str], last: str) -> str | None:
    attention = _attention(parts)
    if last in _JOINT_ROLES:
        return f"{'joint' if attention == 'attn' else 'cross'}.{_JOINT_ROLES[last]}"
    inside = any(_is_attention(part.lower()) for part in parts[:-1])
    role = _ATTENTION_ROLES.get(last)
    if role is None and inside and last in _OUT_OF_ATTENTION:
        role = "out"
    if role is None or not (inside or last.startswith(_PLAIN_ATTENTION)):
        return None
    return f"{attention}.{role}"


def _mlp_kind(parts: list[str], last: str, tail: str) -> str | None:
    if last in _PLAIN_MLP:
        return _MLP_ROLES[last]
    if not any(part.endswith(_MLP_PARENTS) or part.startswith("ff") for part in parts[:-1]):
        return None
    # `net.2` stands behind another word, `net.0.proj` does not.
    ends = (tail, tail.partition(".")[2], last)
    return next((_MLP_ROLES[end] for end in ends if end in _MLP_ROLES), None)


def _other_kind(parts: list[str], last: str) -> str:
    end = ".".join(parts[-3:]).lower() + "."
    if last.startswith("conv") or last in ("op", "skip_connection"):
        return "conv"
    if any(word in end for word in _EMBED):
        return "embed"
    if any(word in end for word in _NORM):
        return "norm"
    return "proj" if "proj" in last or last == "lm_head" else "other"
