"""PEFT configs that tell less: an adapter_config.json, and the copy of it in a header.

What says how the weights are computed with stays as it is, or there is no public form: a setting that is
left out would make other weights of them, in silence. What only describes (a note, the base's path, a
revision) is left out unless it is made of words of the field.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from registry.artifacts.metadata import find_leaks, is_path
from registry.artifacts.scrubbing.grammar import are_known_words, is_small_number
from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_config, parse_adapter_metadata
from registry.formats.peft_words import HARMLESS_KEYS, KNOWN_TYPES, READ_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE = "base_model_name_or_path"
# These describe; without them PEFT computes the same.
_DESCRIBING = frozenset(
    {BASE, "revision", "peft_version", "auto_mapping", "task_type", "inference_mode"}
)
_TYPE = "peft_type"
_VALUES = frozenset(
    """
    none all lora_only gaussian pissa olora eva loftq orthogonal CAUSAL_LM SEQ_CLS SEQ_2_SEQ_LM TOKEN_CLS
    QUESTION_ANS FEATURE_EXTRACTION all-linear corda main megatron.core MLP LSTM RANDOM TEXT fro average
    """.split()  # noqa: SIM905 - a word list reads better as text
)
# Words of modules that a pattern may name although this adapter has none of them.
_MODULE_WORDS = frozenset(
    """
    add attention attn audio block blocks conv conv1 conv2 cross decoder dense down down_proj embed_tokens encoder experts
    fc fc1 fc2 feed_forward ff gate gate_proj gate_up_proj h in_proj k key key_proj k_proj language language_model layer layers linear
    linear1 linear2 lm_head mlp model net norm o o_proj out out_proj output proj proj_in proj_out q q_proj qkv query query_key_value
    self_attn self_attention text tower transformer up up_proj v v_proj value vision vision_tower visual w1 w2 w3 wte
    single_transformer_blocks transformer_blocks to_k to_q to_v to_out c_attn c_proj c_fc
    """.split()  # noqa: SIM905 - the same
)
_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){1,3}(\.dev\d{1,3})?")
_PATTERN = re.compile(r"[A-Za-z0-9_.\\|()?:!^$*+\[\]{},<=\-]{1,2000}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_]+")
_MOST_ITEMS = 4096
_TELLS = object()


def scrub_config(data: bytes, tensors: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return an adapter_config.json without what tells, and the keys that changed, sorted.

    `tensors` are the names of the adapter's tensors. The same bytes if nothing had to go.

    Raises:
        FormatError: it is not a PEFT config, or would run code; or a setting that the weights are computed
            with tells something, so that it can be neither kept nor left out.
    """
    parse_adapter_config(data)
    settings = json.loads(data)
    kept, changed = _scrubbed(settings, settings, _words(tensors))
    if not changed:
        return data, ()
    return json.dumps(kept, ensure_ascii=False, indent=2, sort_keys=True).encode(), changed


def scrub_metadata(text: str, tensors: Iterable[str]) -> str:
    """Return `lora_adapter_metadata` without what tells; the same text if nothing had to go.

    Raises:
        FormatError: as `scrub_config`, for any component.
    """
    parse_adapter_metadata(text)
    words = _words(tensors)
    components: dict[str, dict[str, object]] = {}
    for key, value in json.loads(text).items():
        component, _, name = key.partition(".")
        components.setdefault(component, {})[name] = value
    kept: dict[str, object] = {}
    changed = False
    for component, settings in components.items():
        # A component is part of the tensors' names: `unet`, `transformer`, `text_encoder`.
        if component not in words and not are_known_words(component.replace("_", " ")):
            raise _cannot(component)
        own, went = _scrubbed(settings, settings, words)
        changed = changed or bool(went)
        kept |= {f"{component}.{name}": value for name, value in own.items()}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True) if changed else text


def _words(tensors: Iterable[str]) -> frozenset[str]:
    """Return every word of the tensors' names, and of modules at large: what a setting may name."""
    return _MODULE_WORDS.union(
        word for name in tensors for part in name.split(".") for word in (part, *part.split("_"))
    )


def _scrubbed(
    settings: Mapping[str, object], whole: Mapping[str, object], words: frozenset[str]
) -> tuple[dict[str, object], tuple[str, ...]]:
    kept: dict[str, object] = {}
    lora = whole.get(_TYPE) == "LORA"
    for name, value in settings.items():
        plain = _plain(name, value, words)
        if plain is not _TELLS:
            kept[name] = plain
        elif name in _DESCRIBING:
            kept[name] = None
        elif not lora or name in READ_KEYS | HARMLESS_KEYS:
            raise _cannot(name)
        # Of LoRA every setting is known: another one is a note, and PEFT does not read it.
    changed = [key for key, value in settings.items() if key not in kept or kept[key] != value]
    return kept, tuple(sorted(changed))


def _cannot(name: str) -> FormatError:
    known = name in READ_KEYS | HARMLESS_KEYS
    shown = name if known else "a setting of another name"
    return FormatError(
        f"the PEFT config says more in {shown} than how to compute, and the weights need it",
        hint="save the adapter again without it, or deliver the original",
    )


def _plain(name: str, value: object, words: frozenset[str]) -> object:
    """Return the value if it may stay, else `_TELLS`."""
    if name in _DESCRIBING and isinstance(value, str):
        return value if _describes(name, value) else _TELLS
    if name == _TYPE:
        return value if value in KNOWN_TYPES else _TELLS
    return value if _is_plain(value, words, depth=0) else _TELLS


def _is_plain(value: object, words: frozenset[str], *, depth: int) -> bool:
    if is_small_number(value):
        return True
    if isinstance(value, str):
        return value in _VALUES or _names_modules(value, words)
    if depth > 2 or not isinstance(value, list | dict) or len(value) > _MOST_ITEMS:  # noqa: PLR2004 - nesting
        return False
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return all(_is_plain(item, words, depth=depth + 1) for item in items)


def _names_modules(text: str, words: frozenset[str]) -> bool:
    """Return whether `text` is a module's name, or a pattern, of nothing but modules' words."""
    found = [word for word in _WORD.findall(text) if not word.isdigit()]
    known = all(word in words or all(part in words for part in word.split("_")) for word in found)
    return bool(found) and _PATTERN.fullmatch(text) is not None and known


def _describes(name: str, value: str) -> bool:
    if name == "peft_version":
        return _VERSION.fullmatch(value) is not None
    if name == BASE:
        telling = is_path(value) or "\\" in value or bool(find_leaks([("format", value)]))
        return are_known_words(value) and not telling
    return value in _VALUES
