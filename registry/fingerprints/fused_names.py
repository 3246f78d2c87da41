"""Layers that diffusers and transformers themselves keep stacked in one weight, and others do not."""

from __future__ import annotations

from registry.fingerprints.native_tables import Fused
from registry.fingerprints.origins import LANGUAGE, TRANSFORMER
from registry.fingerprints.row_cuts import (
    grouped,
    halves,
    shift_and_scale,
    square_thirds,
    thirds,
)

_TRANSFORMER = {
    "to_qkv": (("to_q", "to_k", "to_v"), thirds),
    "to_added_qkv": (("add_q_proj", "add_k_proj", "add_v_proj"), thirds),
    "to_kv": (("to_k", "to_v"), halves),
}
_LANGUAGE = {
    "qkv_proj": (("q_proj", "k_proj", "v_proj"), grouped),
    "gate_up_proj": (("gate_proj", "up_proj"), halves),
    # GPT-2: no other export splits it, but its thirds are layers of different classes.
    "c_attn": (("c_attn[q]", "c_attn[k]", "c_attn[v]"), square_thirds),
}
# (scale, shift) of a last norm: halves that the original code has the other way round.
_LAST_NORM = "norm_out.linear"
_LAST_CONTEXT = "norm1_context"


def fused_in_diffusers(component: str, path: str) -> Fused | None:
    """Return what is stacked in the layer `path` of a component, None if it is one layer."""
    head, _, last = path.rpartition(".")
    if component.startswith(TRANSFORMER):
        if path == _LAST_NORM:
            return Fused((f"{path}[0]", f"{path}[1]"), halves, path)
        if last == "linear" and head.endswith(_LAST_CONTEXT):
            return Fused((f"{path}[0]", f"{path}[1]"), shift_and_scale, path)
        found = _TRANSFORMER.get(last)
    elif component == LANGUAGE or component.startswith("text_encoder"):
        found = _LANGUAGE.get(last)
    else:
        found = None
    if found is None or not head:
        return None
    names, cut = found
    return Fused(tuple(f"{head}.{name}" for name in names), cut, path)
