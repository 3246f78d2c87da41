"""What the last part of a tensor's name says: its role in an adapter module.

Sources: kohya-ss/sd-scripts 48d368f, LyCORIS f49d30d, PEFT 5d602fd, diffusers 58eb52c. A role is
spelled alike for all of them, so that audits see `down` and `up` whatever the trainer called them.
"""

from __future__ import annotations

# `<module>.<key>.weight`
_WEIGHT_ROLES: dict[str, str] = {
    "lora_down": "down",
    "lora_up": "up",
    "lora_mid": "mid",
    "lora_A": "down",
    "lora_B": "up",
    "lora_magnitude_vector": "magnitude",
    "oft_R": "oft_r",
}
# `<module>.<key>`
_PLAIN_ROLES: dict[str, str] = {
    "alpha": "alpha",
    # LyCORIS' use_scalar, as older releases saved it: one more factor.
    "scalar": "scalar",
    # loralib's and AdaLoRA's parameters; AdaLoRA's singular values are the third.
    "lora_A": "lora_a",
    "lora_B": "lora_b",
    "lora_E": "lora_e",
    "lora_embedding_A": "down",
    "lora_embedding_B": "up",
    "lora_magnitude_vector": "magnitude",
    "dora_scale": "magnitude",
    "oft_blocks": "oft_blocks",
    "oft_R": "oft_r",
    "boft_R": "boft_r",
    "boft_s": "boft_s",
    "rescale": "rescale",
    "diff": "diff",
    "diff_b": "diff_b",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
    "on_input": "on_input",
    "ia3_l": "ia3_l",
    "vera_lambda_b": "vera_lambda_b",
    "vera_lambda_d": "vera_lambda_d",
    "scale": "scale",
    **{f"hada_{part}": f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{
        f"lokr_{part}": f"lokr_{part}"
        for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    },
}
_BIAS_ROLES: dict[str, str] = {"lora_A": "down_bias", "lora_B": "up_bias"}

# The end of a name after the module's, to the role.
ROLE_OF_SUFFIX: dict[str, str] = {
    **_PLAIN_ROLES,
    **{f"{key}.weight": role for key, role in _WEIGHT_ROLES.items()},
    **{f"{key}.bias": role for key, role in _BIAS_ROLES.items()},
}
_PEFT_ROLES = frozenset({"down", "up", "magnitude", "lora_a", "lora_b", "lora_e"})
_TWO_PART_ENDS = ("weight", "bias")
# `down` and `up` are everyday words: roles only behind one of these (diffusers, XLabs).
_SPLIT_ROLES = {"down", "up"}
_SPLIT_CONTAINERS = (".lora", ".lora_linear_layer", "_lora", "_lora1", "_lora2")
# These belong to the file format; the others are part of the module's own name.
_DROPPED_CONTAINERS = (".lora", ".lora_linear_layer")

# GLoRA's factors are named by letters that many models use: all four must be there.
# With `bm` where a convolution's b1 and b2 have a core.
GLORA_CORE = "bm"
GLORA_ROLES = frozenset({"a1", "a2", "b1", "b2"})
# Their stages are a fourth dimension of the blocks: what LyCORIS calls BOFT.
BOFT_DIMENSIONS = 4
_METHODS: dict[str, tuple[str, ...]] = {
    "adalora": ("lora_e",),
    "lora": ("down", "up", "mid", "down_bias", "up_bias", "lora_a", "lora_b"),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    "lokr": (
        "lokr_w1",
        "lokr_w1_a",
        "lokr_w1_b",
        "lokr_w2",
        "lokr_w2_a",
        "lokr_w2_b",
        "lokr_t2",
    ),
    "oft": ("oft_blocks", "oft_r"),
    "boft": ("boft_r", "boft_s"),
    "ia3": ("on_input", "ia3_l"),
    "glora": ("a1", "a2", "b1", "b2"),
    "full": ("diff", "diff_b"),
    "norm": ("w_norm", "b_norm"),
    "vera": ("vera_lambda_b", "vera_lambda_d"),
    "scale": ("scale",),
}
_METHOD_OF_ROLE = {role: method for method, roles in _METHODS.items() for role in roles}


def split_name(name: str) -> tuple[str, str | None]:
    """Return the module's name and the role that `name` ends with, or (name, None).

    A PEFT adapter's own name between (`lora_A.default.weight`, a raw state dict) is dropped.
    """
    module, _, suffix = name.rpartition(".")
    if suffix in _TWO_PART_ENDS:
        module, _, key = module.rpartition(".")
        role = ROLE_OF_SUFFIX.get(f"{key}.{suffix}")
        return (module, role) if role is not None else _split_uncommon(name, module, key)
    role = ROLE_OF_SUFFIX.get(suffix)
    if role is not None and module:
        return module, role
    return _split_uncommon(name, module, suffix)


def _split_uncommon(name: str, module: str, key: str) -> tuple[str, str | None]:
    if key in _SPLIT_ROLES and module.endswith(_SPLIT_CONTAINERS):
        for container in _DROPPED_CONTAINERS:
            module = module.removesuffix(container)
        return module, key
    outer, _, before = module.rpartition(".")
    role = _WEIGHT_ROLES.get(before) or _PLAIN_ROLES.get(before)
    # `<module>.lora_A.<adapter>.weight`; only PEFT's own roles carry an adapter's name.
    if outer and role in _PEFT_ROLES and name.endswith((".weight", key)):
        return outer, role
    return name, None


def method_of(roles: frozenset[str]) -> str | None:
    """Return the method that a module with these roles uses, or None if they do not say.

    `dora` is a LoRA with a magnitude; a LoHa or LoKr with one keeps its own name.
    """
    methods = {_METHOD_OF_ROLE[role] for role in roles if role in _METHOD_OF_ROLE}
    method = next((method for method in _METHODS if method in methods), None)
    return "dora" if method == "lora" and "magnitude" in roles else method
