"""Which names are looked at: weights and their side files; the marks that say a save is whole; nothing else.

A mark is only seen: it is never opened and never part of an artifact.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from daemon.layouts.found import PEFT_CONFIG, PICKLE_SUFFIXES, WEIGHTS_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Container

_IGNORED_DIRECTORIES = (
    ".*",
    "*-state",
    "backup",
    "*-backup-*",
    "checkpoint-*-tmp",
    "tmp",
    "_unsloth_temporary_saved_buffers",
    "CRITIC_*",
    "sample",
    "samples",
    "validation_images",
    "tensorboard",
    "wandb",
    "logs",
    "runs",
)
_IGNORED_FILES = (
    ".*",
    "optimizer.*",
    "ema_adapter.safetensors",
    "CRITIC_*",
    "~syncthing~*",
    "*.part",
    "*.crdownload",
    "*.incomplete",
    "*.partial",
    "*~",
)
# What musubi-tuner caches beside its dataset: NAME_0960x0544_wan.safetensors and NAME_wan_te.safetensors, with
# its own short words for architectures. Others in that place are part of a name; a cache that slips through
# is refused by its header.
_ARCHITECTURES = r"(?:hv|hv15|wan|fp|fk|fkc|f2|qi|hi|zi|k5)"
_CACHE = re.compile(rf".+_(?:\d{{4}}x\d{{4}}_{_ARCHITECTURES}|{_ARCHITECTURES}_te)\.safetensors")
# Folders that belong to a save or a job, and are anybody's elsewhere: a ControlNet of an ai-toolkit job, and
# what SimpleTuner keeps in its checkpoints.
_CONTROLNET_FOLDER = re.compile(r".+_cn_\d+")
_JOB_MARKS = frozenset({"optimizer.pt", "loss_log.db"})
_CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+(-rolling|-tmp)?|.*-backup-.*")
_IN_CHECKPOINTS = frozenset({"ema", "assets"})
# Of a model in several files only the first is looked at: one refusal says it all.
_LATER_SHARD = re.compile(r"(?!adapter_model).+-(?!00001)\d{5}-of-\d{5}\.safetensors")
# Pickles that are surely meant as weights: they are seen, so that their refusal is.
_PICKLED_WEIGHTS = ("*.ckpt", "adapter_model.bin", "pytorch_lora_weights.bin")
# Pickles of a run's state, which no owner means when asking for conversion.
_PICKLED_STATE = (
    "ema*",
    "optimizer*",
    "random_states*",
    "rng_state*",
    "scaler*",
    "scheduler*",
    "training_args*",
)
# Beside the weights of a PEFT directory; no pickle, no README (it may hold prompts and paths), no logs.
PEFT_SIDE_FILES = frozenset(
    {
        PEFT_CONFIG,
        "adapter_model.safetensors.index.json",
        "added_tokens.json",
        "chat_template.jinja",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    }
)
GUARD, TRAINER_STATE, OPTIMIZER, BEING_GATHERED = (
    ".guard",
    "trainer_state.json",
    "optimizer.pt",
    "tmp",
)
SIMPLETUNER = frozenset({"training_state.json", "checkpoint_manifest.json"})
_MARKS = frozenset({GUARD, TRAINER_STATE, OPTIMIZER, *SIMPLETUNER})
_MARK_PATTERNS = ("random_states_*.pkl", "*.toml")


def is_ignored_directory(name: str, *, parent: str = "", beside: Container[str] = ()) -> bool:
    """Return whether nothing below a directory of this name is looked at.

    `parent` is the name of the folder that holds it, `beside` are the names that stand there with it.
    """
    if _fits(name, _IGNORED_DIRECTORIES):
        return True
    if name in _IN_CHECKPOINTS:
        return _CHECKPOINT_FOLDER.fullmatch(parent) is not None
    is_job = any(mark in beside for mark in _JOB_MARKS)
    return is_job and _CONTROLNET_FOLDER.fullmatch(name) is not None


def is_interesting_file(name: str, *, pickles: bool = False) -> bool:
    """Return whether a file of this name can be part of an artifact.

    `pickles`: also what torch saved under any name, since the owner wants it converted.
    """
    if _fits(name, _IGNORED_FILES):
        return False
    if name.endswith(WEIGHTS_SUFFIX):
        return not (_CACHE.fullmatch(name) or _LATER_SHARD.fullmatch(name))
    if is_pickle(name):
        return pickles or _fits(name, _PICKLED_WEIGHTS)
    return name in PEFT_SIDE_FILES


def is_pickle(name: str) -> bool:
    """Return whether `name` is that of pickled weights, not of a run's state."""
    return name.endswith(PICKLE_SUFFIXES) and not _fits(name, _PICKLED_STATE)


def is_mark(name: str, *, directory: bool = False) -> bool:
    """Return whether a file or directory of this name says how far a save is."""
    if directory:
        return name == BEING_GATHERED
    return name in _MARKS or _fits(name, _MARK_PATTERNS)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
