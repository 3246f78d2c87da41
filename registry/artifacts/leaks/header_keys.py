"""The metadata keys that trainers write into a header, and what each tells.

After the table `metadata_keys` of the fixture sheet (facts/formats.md section 2).
"""

from __future__ import annotations

from registry.artifacts.leaks.leak import Sensitivity

_HIGH, _MEDIUM = Sensitivity.HIGH, Sensitivity.MEDIUM

# Key to sensitivity, kind (registry.artifacts.leaks.kinds) and what it is.
TELLING_KEYS: dict[str, tuple[Sensitivity, str, str]] = {
    "ss_tag_frequency": (_HIGH, "caption-tags", "every caption tag with its count"),
    "ss_dataset_dirs": (_HIGH, "dataset-names", "names of the training folders"),
    "ss_reg_dataset_dirs": (_HIGH, "dataset-names", "names of the training folders"),
    "ss_datasets": (
        _HIGH,
        "dataset-names",
        "folders, class words and captions of the training data",
    ),
    "ss_output_name": (_HIGH, "output-name", "name given by the trainer's user"),
    "ss_training_comment": (_HIGH, "free-text", "free text"),
    "modelspec.title": (_HIGH, "output-name", "name given by the trainer's user"),
    "modelspec.author": (_HIGH, "person-name", "a person's name"),
    "modelspec.description": (_HIGH, "free-text", "free text"),
    "modelspec.thumbnail": (_HIGH, "image", "an image"),
    "modelspec.comment": (_HIGH, "free-text", "free text"),
    "trained_words": (_HIGH, "caption", "words from the captions"),
    "ot_config": (
        _HIGH,
        "training-config",
        "whole training configuration with paths and prompts",
    ),
    "name": (_HIGH, "output-name", "name given by the trainer's user"),
    "caption1": (_HIGH, "caption", "a caption"),
    "ss_bucket_info": (_MEDIUM, "data-size", "sizes and number of the training images"),
    "ss_sd_model_name": (_MEDIUM, "base-model-name", "name or path of the base model file"),
    "ss_vae_name": (_MEDIUM, "base-model-name", "name or path of the VAE file"),
    "ss_session_id": (_MEDIUM, "run-id", "links all files of one run"),
    "ss_training_started_at": (_MEDIUM, "timing", "when it was trained"),
    "ss_training_finished_at": (_MEDIUM, "timing", "when it was trained"),
    "ss_num_train_images": (_MEDIUM, "data-size", "number of training images"),
    "ss_num_reg_images": (_MEDIUM, "data-size", "number of training images"),
    "ss_num_validation_images": (_MEDIUM, "data-size", "number of training images"),
    "ss_num_train_items": (_MEDIUM, "data-size", "number of training items"),
    "modelspec.date": (_MEDIUM, "timing", "when it was trained, in local time"),
    "modelspec.trigger_phrase": (_MEDIUM, "content-words", "words from the captions"),
    "modelspec.usage_hint": (_MEDIUM, "content-words", "free text"),
    "modelspec.tags": (_MEDIUM, "content-words", "words about the content"),
    "modelspec.merged_from": (_MEDIUM, "lineage-names", "names of other files"),
}
_HARMLESS_PREFIXES = ("ss_", "sshs_", "modelspec.")
_HARMLESS = frozenset(
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


def is_harmless_key(key: str) -> bool:
    """Return whether `key` is a known one that tells nothing by itself; its value may still."""
    return key in _HARMLESS or (key.startswith(_HARMLESS_PREFIXES) and key not in TELLING_KEYS)
