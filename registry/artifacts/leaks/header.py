"""What the metadata of a safetensors header and a PEFT config tell: by their keys, and by their values."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from registry.artifacts.leaks.header_keys import TELLING_KEYS, is_harmless_key
from registry.artifacts.leaks.images import leaks_in_image
from registry.artifacts.leaks.kinds import make_leak
from registry.artifacts.leaks.leak import Leak, Sensitivity, sort_leaks
from registry.artifacts.leaks.paths import is_path
from registry.artifacts.leaks.scan import leaks_in_text, scan_text
from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_metadata
from registry.limits import LEAK_HEADER_CHARS, LEAK_HEADER_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registry.formats.adapter_config import AdapterConfig

ADAPTER_METADATA = "lora_adapter_metadata"
CONFIG_NAME = "adapter_config.json"
_BASE_PATH = "path of the base model on the trainer's machine"
_DATA_URL = "data:image/"
_MOST_IMAGE_CHARS = 16 * 1024 * 1024
# OneTrainer names them after the trigger words that they stand for.
_EMBEDDED_TOKENS = "bundle_emb."
_MODULE_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_USUAL_REVISIONS = frozenset({"", "main"})


def find_leaks(metadata: Iterable[tuple[str, str]]) -> tuple[Leak, ...]:
    """Return what a header's metadata tells, worst first, then by key; one leak a key and kind.

    A key that is in no table is a leak of sensitivity `unknown`: trainers let people add their own. Values
    are read up to `LEAK_HEADER_CHARS` in all; what lies beyond is named as `not-scanned`.
    """
    found: dict[tuple[str, str], Leak] = {}
    left = LEAK_HEADER_CHARS
    pairs = tuple(metadata)
    if len(pairs) > LEAK_HEADER_KEYS:
        more = f"{len(pairs) - LEAK_HEADER_KEYS} further keys"
        found[more, "not-scanned"] = make_leak(more, "not-scanned")
    for number, (key, text) in enumerate(pairs[:LEAK_HEADER_KEYS], start=1):
        # A header may have 32 MB, and who made it may want intake to stand still over it.
        part, left = text[:left], max(0, left - len(text))
        for leak in _leaks_of(shown_key(key, number), key, part, len(text)):
            # A key that stands twice, or two reasons of one kind: the first is the more telling one.
            found.setdefault((leak.key, leak.kind), leak)
    return sort_leaks(found.values())


def leaks_of_tensors(names: Iterable[str]) -> tuple[Leak, ...]:
    """Return what the names of tensors tell: embedded tokens, and names that no module bears.

    Names of modules are words and dots; only others are read, since a file has thousands.
    """
    found: dict[str, Leak] = {}
    looked = 0
    for name in names:
        if name.startswith(_EMBEDDED_TOKENS):
            found.setdefault("token", make_leak(f"{_EMBEDDED_TOKENS}*", "content-words"))
        elif _MODULE_NAME.fullmatch(name) is None and looked < LEAK_HEADER_KEYS:
            looked += 1
            for leak in leaks_in_text("tensor names", name):
                found.setdefault(leak.kind, leak)
    return sort_leaks(found.values())


def shown_key(key: str, number: int) -> str:
    """Return `key` as findings name it: without what it holds itself, if people put a number into it."""
    if key in TELLING_KEYS or is_harmless_key(key) or not scan_text(key):
        return key
    return f"key number {number} ({len(key)} characters)"


def _leaks_of(place: str, key: str, text: str, size: int) -> Iterator[Leak]:
    yield from _by_key(place, key, text)
    if len(text) < size:
        yield make_leak(place, "not-scanned")
    yield from leaks_in_text(place, text, label=key)
    if text.startswith(_DATA_URL):
        yield from leaks_in_image(place, _data_of(text))


def _by_key(place: str, key: str, text: str) -> Iterator[Leak]:
    if key == ADAPTER_METADATA:
        if _names_a_path(text):
            yield make_leak(place, "path", what=_BASE_PATH, sensitivity=Sensitivity.HIGH)
    elif key in TELLING_KEYS:
        sensitivity, kind, what = TELLING_KEYS[key]
        if not _is_empty(text):
            yield make_leak(place, kind, what=what, sensitivity=sensitivity)
    elif not is_harmless_key(key):
        yield make_leak(place, "unknown-key")


def _is_empty(text: str) -> bool:
    # kohya writes empty containers and the word None where there is nothing to tell.
    return text.strip() in ("", "None", "{}", "[]", "0", "null")


def _names_a_path(text: str) -> bool:
    try:
        configs = parse_adapter_metadata(text)
    except FormatError:
        return False
    return any(is_path(settings.base_model_name_or_path) for _, settings in configs)


def _data_of(url: str) -> bytes:
    text = url[:_MOST_IMAGE_CHARS].partition(",")[2]
    try:
        return base64.b64decode(text[: len(text) - len(text) % 4])
    except (binascii.Error, ValueError):
        return b""


def leaks_of_config(config: AdapterConfig | None) -> tuple[Leak, ...]:
    """Return what the fields of an adapter_config.json tell that name the base model."""
    if config is None:
        return ()
    found = []
    if is_path(config.base_model_name_or_path):
        found.append(base_path_leak())
    if config.revision is not None and config.revision not in _USUAL_REVISIONS:
        found.append(make_leak(f"{CONFIG_NAME}:revision", "custom-code"))
    return tuple(found)


def base_path_leak() -> Leak:
    """Return the leak of a config whose base model is a path."""
    place = f"{CONFIG_NAME}:base_model_name_or_path"
    return make_leak(place, "path", what=_BASE_PATH, sensitivity=Sensitivity.HIGH)


def leaks_of_setting(name: str, text: str, *, place: str) -> tuple[Leak, ...]:
    """Return what the setting `name` of an adapter_config.json tells; `text` is its value as JSON."""
    found = leaks_in_text(place, text, label=name)
    if name == "base_model_name_or_path":
        return tuple(leak for leak in found if leak.kind != "path")
    tells = name == "auto_mapping" or (
        name == "revision" and text.strip('"') not in _USUAL_REVISIONS
    )
    if tells and not _is_empty(text):
        return (make_leak(place, "custom-code"), *found)
    return found
