"""PEFT configs that tell less: an adapter_config.json, and the copy of it in a header.

Kept are the settings that say how the weights are computed with, if their values are numbers, switches, or
names of modules that are really there. Everything else, a note, a path, a revision, is left out.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from registry.artifacts.scrubbing.grammar import are_known_words
from registry.formats.adapter_config import parse_adapter_config, parse_adapter_metadata
from registry.formats.peft_words import HARMLESS_KEYS, KNOWN_TYPES, READ_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = "base_model_name_or_path"
_MODULES = frozenset({"target_modules", "exclude_modules", "modules_to_save", "target_parameters"})
_PATTERNS = frozenset({"rank_pattern", "alpha_pattern"})
_VALUES = frozenset(
    """
    none all lora_only gaussian pissa olora eva loftq orthogonal CAUSAL_LM SEQ_CLS SEQ_2_SEQ_LM TOKEN_CLS
    QUESTION_ANS FEATURE_EXTRACTION all-linear
    """.split()  # noqa: SIM905 - a word list reads better as text
)
_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){1,3}(\.dev\d{1,3})?")
_SEGMENT = re.compile(r"[A-Za-z0-9_]{2,}")


def scrub_config(data: bytes, tensors: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return an adapter_config.json without what tells, and the keys that changed, sorted.

    `tensors` are the names of the adapter's tensors. The same bytes if nothing had to go.

    Raises:
        FormatError: it is not a PEFT config, or would run code.
    """
    parse_adapter_config(data)
    settings = json.loads(data)
    kept, changed = _scrubbed(settings, _segments(tensors))
    if not changed:
        return data, ()
    return json.dumps(kept, ensure_ascii=False, indent=2, sort_keys=True).encode(), changed


def scrub_metadata(text: str, tensors: Iterable[str]) -> str:
    """Return `lora_adapter_metadata` without what tells; the same text if nothing had to go.

    Raises:
        FormatError: a component's config is malformed, or would run code.
    """
    parse_adapter_metadata(text)
    kept, changed = _scrubbed(json.loads(text), _segments(tensors))
    return json.dumps(kept, ensure_ascii=False, sort_keys=True) if changed else text


def _segments(tensors: Iterable[str]) -> frozenset[str]:
    """Return every word of the tensors' names: what a setting may name."""
    return frozenset(word for name in tensors for word in _SEGMENT.findall(name))


def _scrubbed(
    settings: dict[str, object], words: frozenset[str]
) -> tuple[dict[str, object], tuple[str, ...]]:
    kept: dict[str, object] = {}
    for key, value in settings.items():
        component, _, name = key.rpartition(".")
        if name not in READ_KEYS | HARMLESS_KEYS:
            continue
        # A component is part of the tensors' names too: `unet`, `transformer`, `text_encoder`.
        if component and component not in words and not are_known_words(component):
            continue
        plain = _plain(name, value, words)
        if plain is not _TELLS:
            kept[key] = plain
        elif name == BASE:
            kept[key] = None
    changed = [key for key, value in settings.items() if key not in kept or kept[key] != value]
    return kept, tuple(sorted(changed))


_TELLS = object()


def _plain(name: str, value: object, words: frozenset[str]) -> object:
    """Return what may stay of a setting's value, or `_TELLS`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if name in _MODULES:
        return _modules(value, words)
    if name in _PATTERNS and isinstance(value, dict):
        # One that names no module here is used by none.
        return {key: number for key, number in value.items() if _is_of(key, words)}
    if isinstance(value, list | dict):
        return value if not value else _TELLS
    return value if isinstance(value, str) and _is_known_text(name, value) else _TELLS


def _modules(value: object, words: frozenset[str]) -> object:
    if isinstance(value, str):
        return value if value in _VALUES or _is_of(value, words) else _TELLS
    if not isinstance(value, list):
        return _TELLS
    return [item for item in value if isinstance(item, str) and _is_of(item, words)]


def _is_of(text: str, words: frozenset[str]) -> bool:
    """Return whether every word of a module's name or pattern stands in a tensor's name."""
    found = _SEGMENT.findall(text)
    return bool(found) and " " not in text and all(word in words for word in found)


def _is_known_text(name: str, value: str) -> bool:
    if name == "peft_type":
        return value in KNOWN_TYPES
    if name == "peft_version":
        return _VERSION.fullmatch(value) is not None
    if name == BASE:
        return are_known_words(value)
    return value in _VALUES or (name == "revision" and value == "main")
