"""What the header and the side files of an adapter may tell about people.

After the table `metadata_keys` of the fixture sheet. A leak names a key and why it matters; its value is
never repeated. A key that is in no table counts as a leak: trainers let people add their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registry.formats.adapter_config import AdapterConfig


class Sensitivity(StrEnum):
    """How much a key tells: `high` names people, places or content; `unknown` is in no table."""

    HIGH = "high"
    MEDIUM = "medium"
    UNKNOWN = "unknown"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Leak:
    """A metadata key, or the name of a side file, that tells something; never what it tells."""

    key: str
    sensitivity: Sensitivity
    reason: str


_HIGH = {
    "ss_tag_frequency": "every caption tag with its count",
    "ss_dataset_dirs": "names of the training folders",
    "ss_reg_dataset_dirs": "names of the training folders",
    "ss_datasets": "folders, class words and captions of the training data",
    "ss_output_name": "name given by the trainer's user",
    "ss_training_comment": "free text",
    "modelspec.title": "name given by the trainer's user",
    "modelspec.author": "a person's name",
    "modelspec.description": "free text",
    "modelspec.thumbnail": "an image",
    "modelspec.comment": "free text",
    "trained_words": "words from the captions",
    "ot_config": "whole training configuration with paths and prompts",
    "name": "name given by the trainer's user",
    "caption1": "a caption",
}
_MEDIUM = {
    "ss_bucket_info": "sizes and number of the training images",
    "ss_sd_model_name": "name or path of the base model file",
    "ss_vae_name": "name or path of the VAE file",
    "ss_session_id": "links all files of one run",
    "ss_training_started_at": "when it was trained",
    "ss_training_finished_at": "when it was trained",
    "ss_num_train_images": "number of training images",
    "ss_num_reg_images": "number of training images",
    "ss_num_validation_images": "number of training images",
    "ss_num_train_items": "number of training items",
    "modelspec.date": "when it was trained, in local time",
    "modelspec.trigger_phrase": "words from the captions",
    "modelspec.usage_hint": "free text",
    "modelspec.tags": "words about the content",
    "modelspec.merged_from": "names of other files",
}
_LOW_PREFIXES = ("ss_", "sshs_", "modelspec.")
_LOW = frozenset(
    {
        "format",
        "version",
        "software",
        "training_info",
        "ot_branch",
        "ot_revision",
        "lora_adapter_metadata",
        "lycoris_config",
        "global_step",
    }
)
_ADAPTER_METADATA = "lora_adapter_metadata"
# Access tokens that trainers were seen to write: Hugging Face, OpenAI, AWS, GitHub, Slack.
_SECRET = re.compile(
    r"hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{32,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abp]-[0-9A-Za-z-]{20,}"
)
_PATH = re.compile(r"^(?:[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\])")

# Side files of an adapter directory: suffix or name to what it holds.
_SIDE_FILES: tuple[tuple[re.Pattern[str], Sensitivity, str], ...] = (
    (
        re.compile(r"training_args\.bin"),
        Sensitivity.HIGH,
        "a pickle with paths, and with the hub token in clear",
    ),
    (
        re.compile(r"README\.md", re.IGNORECASE),
        Sensitivity.HIGH,
        "configuration, prompts and paths, as trainers write it",
    ),
    (re.compile(r".*\.(png|jpe?g|webp|gif)", re.IGNORECASE), Sensitivity.HIGH, "sample image"),
    (re.compile(r"trainer_state\.json"), Sensitivity.MEDIUM, "absolute paths, losses"),
    (
        re.compile(r"(optimizer|scheduler|rng_state|random_states).*"),
        Sensitivity.MEDIUM,
        "state of the training run, mostly pickles",
    ),
    (re.compile(r".*\.(pt|pth|bin|ckpt|pkl|pickle)"), Sensitivity.MEDIUM, "a pickle"),
    (re.compile(r".*\.(toml|ya?ml|db|log)"), Sensitivity.HIGH, "training configuration or log"),
)
_CONFIG_KEY = "adapter_config.json:base_model_name_or_path"


def find_leaks(metadata: Iterable[tuple[str, str]]) -> tuple[Leak, ...]:
    """Return the keys of a header's metadata that tell something, worst first, then by name."""
    found = []
    for key, text in metadata:
        leak = _leak_of(key, text)
        if leak.sensitivity is not Sensitivity.LOW:
            found.append(leak)
    return sort_leaks(found)


def sort_leaks(leaks: Iterable[Leak]) -> tuple[Leak, ...]:
    """Return `leaks`, worst first, then by key."""
    order = list(Sensitivity)
    return tuple(sorted(leaks, key=lambda leak: (order.index(leak.sensitivity), leak.key)))


def _leak_of(key: str, text: str) -> Leak:
    if _SECRET.search(text):
        return Leak(key, Sensitivity.HIGH, "holds what looks like an access token")
    if key in _HIGH:
        return _unless_empty(Leak(key, Sensitivity.HIGH, _HIGH[key]), text)
    if key == _ADAPTER_METADATA and _names_a_path(text):
        return Leak(key, Sensitivity.HIGH, "path of the base model on the trainer's machine")
    if key in _MEDIUM:
        return _unless_empty(Leak(key, Sensitivity.MEDIUM, _MEDIUM[key]), text)
    if key in _LOW or key.startswith(_LOW_PREFIXES):
        return Leak(key, Sensitivity.LOW, "")
    return Leak(key, Sensitivity.UNKNOWN, "in no table of known keys; look at it before sharing")


def _unless_empty(leak: Leak, text: str) -> Leak:
    # kohya writes empty containers and the word None where there is nothing to tell.
    empty = text.strip() in ("", "None", "{}", "[]", "0", "null")
    return Leak(leak.key, Sensitivity.LOW, "") if empty else leak


def _names_a_path(text: str) -> bool:
    try:
        configs = parse_adapter_metadata(text)
    except FormatError:
        return False
    return any(is_path(settings.base_model_name_or_path) for _, settings in configs)


def is_path(text: str | None) -> bool:
    """Return whether `text` is a path on some machine and not a model's public name."""
    return text is not None and _PATH.match(text) is not None


def leaks_of_config(config: AdapterConfig | None) -> tuple[Leak, ...]:
    """Return what an adapter_config.json tells."""
    if config is None or not is_path(config.base_model_name_or_path):
        return ()
    reason = "path of the base model on the trainer's machine"
    return (Leak(_CONFIG_KEY, Sensitivity.HIGH, reason),)


def leaks_of_files(names: Iterable[str]) -> tuple[Leak, ...]:
    """Return the files beside an adapter that tell something, by their names alone."""
    found = []
    for name in names:
        for pattern, sensitivity, reason in _SIDE_FILES:
            if pattern.fullmatch(name.rpartition("/")[2]):
                found.append(Leak(name, sensitivity, reason))
                break
    return tuple(found)


def base_model_of(metadata: Mapping[str, str], config: AdapterConfig | None) -> str | None:
    """Return what the base model is called, None if nothing says. A claim; a path loses its folders."""
    named = config.base_model_name_or_path if config is not None else None
    if named is None:
        named = metadata.get("ss_sd_model_name") or _named_in_header(metadata)
    if not named or named == "None":
        return None
    if is_path(named) or "\\" in named:
        named = named.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return named if named.isprintable() and len(named) <= _MOST_NAME_CHARS else None


_MOST_NAME_CHARS = 200


def _named_in_header(metadata: Mapping[str, str]) -> str | None:
    if _ADAPTER_METADATA not in metadata:
        return None
    configs = parse_adapter_metadata(metadata[_ADAPTER_METADATA])
    names = [settings.base_model_name_or_path for _, settings in configs]
    return next((name for name in names if name), None)
