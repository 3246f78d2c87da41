"""PEFT's adapter_config.json: what is accepted is what stands in it, and can make PEFT run nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from bench.fuzz.dice import Dice, edit_bytes
from bench.fuzz.json_trees import Members, Raw, Tree, edit_tree, read_tree, write_tree
from bench.fuzz.target import Target, promise
from registry.formats.adapter_config import AdapterConfig, parse_adapter_config

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "/home/someone/models/base",
    "revision": None,
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "bias": "none",
    "target_modules": ["q_proj", "v_proj", "k_proj"],
    "modules_to_save": ["lm_head"],
    "use_rslora": False,
    "inference_mode": True,
    "auto_mapping": None,
}
_PATTERNS = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 1.5,
    "target_modules": "all-linear",
    "rank_pattern": {"a.q": 4, "^b.*": 8},
    "alpha_pattern": {"a.q": 16.0},
    "use_dora": True,
    "fan_in_fan_out": None,
    "auto_mapping": {"base_model_class": "Model", "parent_library": "transformers.models.x"},
    "megatron_core": "megatron.core",
    "corda_config": {"cache_file": None, "corda_method": "ipm"},
    "layer_replication": [[0, 4]],
}
_OTHER = {
    "peft_type": "RANDLORA",
    "r": {"a": 1},
    "projection_prng_key": 0,
    "feedforward_modules": [],
}
_EXAMPLES = tuple(
    json.dumps(value, indent=indent).encode()
    for value in (_PLAIN, _PATTERNS, _OTHER)
    for indent in (None, 2)
)
# What a config may carry to run or read something, and settings that must not have another type.
_ODD_MEMBERS = (
    ('"auto_mapping"', '{"parent_library":"os"}'),
    ('"auto_mapping"', '{"parent_library":["os"],"base_model_class":"system"}'),
    ('"auto_mapping"', '"os.system"'),
    ('"auto_mapping"', '[["parent_library","os"]]'),
    ('"auto_mapping"', '{"parent_library":"transformersx"}'),
    ('"auto_mapping"', '{"parent_library":"peft"}'),
    ('"megatron_core"', '"os"'),
    ('"megatron_core"', "true"),
    ('"megatron_core"', '["megatron.core"]'),
    ('"corda_config"', '{"cache_file":"/tmp/x.pt"}'),
    ('"corda_config"', '{"covariance_file":""}'),
    ('"lora_ga_config"', '{"cache_file":0}'),
    ('"target_modules"', '"(a+)+$"'),
    ('"target_modules"', '["a","a"]'),
    ('"target_modules"', "[" + ",".join(['"q"'] * 10_001) + "]"),
    ('"target_modules"', '[["q"]]'),
    ('"exclude_modules"', '".*"'),
    ('"base_model_name_or_path"', '"../../../etc/passwd"'),
    ('"base_model_name_or_path"', '"' + "x" * 16_385 + '"'),
    ('"r"', "2147483648"),
    ('"r"', "true"),
    ('"r"', "8.0"),
    ('"lora_alpha"', "1e308"),
    ('"lora_alpha"', "9007199254740993"),
    ('"rank_pattern"', '{"a":1.5}'),
    ('"alpha_pattern"', '{"a":NaN}'),
    ('"alpha_pattern"', '{"a":"1"}'),
    ('"peft_type"', '"LORA\\u0000"'),
    ('"peft_type"', "null"),
)
_LIBRARIES = ("transformers", "diffusers", "peft")


def _edit(data: bytes, dice: Dice) -> bytes:
    kind = dice.below(10)
    if kind < 3:
        return edit_bytes(data, dice)
    try:
        tree = read_tree(data.decode())
    except (ValueError, RecursionError):
        return edit_bytes(data, dice)
    tree = edit_tree(tree, dice) if kind < 7 else _with_odd_member(tree, dice)
    written = write_tree(tree, dice).encode("utf-8", "surrogatepass")
    if dice.one_in(16):
        return dice.pick((b"\xef\xbb\xbf", b"\0", b" ", b"\n")) + written
    if dice.one_in(4000):
        return written + b" " * (1024 * 1024)
    return written


def _with_odd_member(tree: Tree, dice: Dice) -> Tree:
    if not isinstance(tree, Members):
        return edit_tree(tree, dice)
    for _ in range(1 + dice.below(2)):
        key, text = dice.pick(_ODD_MEMBERS)
        if dice.one_in(4):  # the same key to a JSON reader
            key = f'"\\u{ord(key[1]):04x}{key[2:]}'
        tree.pairs = [pair for pair in tree.pairs if pair[0] != key or dice.one_in(8)]
        tree.pairs.insert(dice.below(len(tree.pairs) + 1), (key, Raw(text)))
    return tree


def _check_accepted(data: bytes, found: AdapterConfig) -> None:
    settings = json.loads(data)
    promise(isinstance(settings, dict), "it is no object")
    _check_code(settings)
    for key, value in asdict(found).items():
        said = settings.get(key)
        if key in ("hazards", "target_pattern", "target_modules", "rank_pattern", "alpha_pattern"):
            continue
        if isinstance(value, tuple):
            promise(list(value) == (said or []), f"{key} is not what the config says")
        else:
            default = AdapterConfig("LORA")
            unsaid = said is None or (key == "r" and isinstance(said, dict | list))
            expected = getattr(default, key) if unsaid or (said == "" and key == "bias") else said
            promise(value == expected, f"{key} is not what the config says")
    promise(found.lora_alpha is None or math.isfinite(found.lora_alpha), "alpha is not finite")
    again = parse_adapter_config(_written(found))
    promise(
        replace(again, hazards=()) == replace(found, hazards=()), "other after writing it again"
    )


def _check_code(settings: Mapping[str, object]) -> None:
    # By hand, and another way than the parser: whatever PEFT would import or unpickle.
    mapping = settings.get("auto_mapping")
    if mapping is not None:
        promise(isinstance(mapping, dict), "auto_mapping is no object")
        library = mapping.get("parent_library") if isinstance(mapping, dict) else None
        known = isinstance(library, str) and library.split(".")[0] in _LIBRARIES
        promise(library is None or known, "auto_mapping imports another library")
    promise(settings.get("megatron_core") in (None, "megatron.core"), "megatron_core is another")
    for part in settings.values():
        if isinstance(part, dict):
            files = [value for key, value in part.items() if key.endswith("_file")]
            promise(not any(value is not None for value in files), "a file would be unpickled")


def _written(found: AdapterConfig) -> bytes:
    settings = asdict(found)
    del settings["hazards"]
    pattern = settings.pop("target_pattern")
    if pattern is not None:
        settings["target_modules"] = pattern
    for key in ("rank_pattern", "alpha_pattern"):
        settings[key] = dict(settings[key])
    return json.dumps(settings, allow_nan=False).encode()


TARGET = Target(
    name="adapter-config",
    examples=_EXAMPLES,
    edit=_edit,
    parse=parse_adapter_config,
    check_accepted=_check_accepted,
)
