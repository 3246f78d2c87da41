"""The class of a module by the end of its name, for readers that know no canonical names.

Names of kohya, diffusers, PEFT and the models themselves end alike once dots are underscores. What no
rule knows has the class `other`, so that it is compared with its like and not left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.updates.files import Payload

OTHER = "other"
# The first that fits counts. Classes are spelled as `CanonicalPart.kind`.
_ENDS: tuple[tuple[str, str], ...] = (
    (r"(?:add_q_proj|add_k_proj|add_v_proj|to_add_out)", "attn.added"),
    (r"(?:attn|attention)_c_attn|qkv|qkv_lora1?|c_attn|in_proj|query_key_value", "attn.qkv"),
    (r"linear1|to_qkv_mlp_proj", "attn.qkv_mlp"),
    (r"to_q|q_proj|(?:attn|attention)_q|wq|query", "attn.q"),
    (r"to_k|k_proj|(?:attn|attention)_k|wk|key", "attn.k"),
    (r"to_v|v_proj|(?:attn|attention)_v|wv|value", "attn.v"),
    (r"to_out(?:_0)?|out_proj|o_proj|(?:attn|attention)_(?:o|proj|c_proj|out)|wo|linear2", "attn.out"),
    (r"(?:ff|ff_context|mlp)_net_0_proj|fc1|c_fc|up_proj|proj_mlp|mlp_0|ffn_0|linear_in|w3", "ff.in"),
    (r"gate_proj|w1", "ff.gate"),
    (r"(?:ff|ff_context|mlp)_net_2|fc2|mlp_c_proj|down_proj|mlp_2|ffn_2|linear_out|w2", "ff.out"),
    (r"proj_in", "proj.in"),
    (r"proj_out", "proj.out"),
    (r"conv\d?|op|conv_shortcut|skip_connection|(?:in|out)_layers_\d+|downsamplers_0_conv", "conv"),
    (r"norm\w*_linear|(?:img|txt)?_?mod(?:_lin|_\d)?|modulation_lin|adaLN_modulation_\d", "mod"),
    (r"(?:time_emb_proj|linear_\d|emb_layers_\d|time_embed_\d)", "embed"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(rf"(?:^|.*_)(?:{ends})", re.DOTALL), kind) for ends, kind in _ENDS)
# What a loader hangs behind the name of the layer itself.
_TAILS = ("_lora", "_lora1", "_lora2", "_weight")


def kind_of_name(name: str) -> str:
    """Return the class of the module called `name`, such as `attn.q`; `OTHER` where no rule knows it."""
    flat = name.replace(".", "_")
    for tail in _TAILS:
        flat = flat.removesuffix(tail)
    return next((kind for pattern, kind in _PATTERNS if pattern.fullmatch(flat)), OTHER)


def kinds_of(payload: Payload) -> tuple[str, ...]:
    """Return the class of every module of `payload`, in the order of its modules."""
    return tuple(kind_of_name(located.module.name) for located in payload.modules)
