"""What trainers call their files: pure rules from names to candidates (facts/formats.md sections 1, 8).

Known here: one `.safetensors` file (kohya and most others), the diffusers examples, and PEFT directories.
Nothing in this module touches a disk.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import PurePosixPath

WEIGHTS_SUFFIX = ".safetensors"
PEFT_CONFIG = "adapter_config.json"


class Layout(StrEnum):
    """Which convention the names follow."""

    SINGLE = "single-file"
    DIFFUSERS = "diffusers"
    PEFT = "peft"


class Stage(StrEnum):
    """Whether the trainer means it as its result."""

    FINAL = "final"
    INTERMEDIATE = "intermediate"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file of the watched folder: path relative to it, size, its own times in nanoseconds."""

    path: PurePosixPath
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are one artifact together, sorted by path.

    `base` is what the candidate is called: the file, or the PEFT directory ("." for the watched folder
    itself). `missing` names a file that the layout needs and that is not there yet.
    """

    layout: Layout
    stage: Stage
    base: PurePosixPath
    files: tuple[FoundFile, ...]
    missing: str | None = None


_IGNORED_DIRECTORIES = (
    ".*",
    "*-state",
    "backup",
    "checkpoint-*-tmp",
    "tmp",
    "_unsloth_temporary_saved_buffers",
    "sample",
    "samples",
    "validation_images",
    "logs",
    "runs",
)
_IGNORED_FILES = (
    ".*",
    "optimizer*",
    "*_te.safetensors",
    "~syncthing~*",
    "*.part",
    "*.crdownload",
    "*.incomplete",
    "*.partial",
    "*~",
)
# Beside the weights of a PEFT directory; no pickle, no README (it may hold prompts and paths), no logs.
_PEFT_SIDE_FILES = frozenset(
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
_PEFT_WEIGHTS = re.compile(r"adapter_model(-\d{5}-of-\d{5})?\.safetensors")
_CHECKPOINT_DIRECTORY = re.compile(r"checkpoint-\d+(-rolling)?")
# kohya: NAME-000004 (epoch), NAME-step00000500; at-step… and epoch-… where no name was set.
_KOHYA_INTERMEDIATE = re.compile(r".+-(\d{6}|step\d{8})\.safetensors")


def is_ignored_directory(name: str) -> bool:
    """Return whether nothing below a directory of this name is looked at."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _IGNORED_DIRECTORIES)


def is_interesting_file(name: str) -> bool:
    """Return whether a file of this name can be part of an artifact."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _IGNORED_FILES):
        return False
    return name.endswith(WEIGHTS_SUFFIX) or name in _PEFT_SIDE_FILES


def group_files(files: Iterable[FoundFile]) -> tuple[Group, ...]:
    """Return the artifacts that `files` form, sorted by their base; each file is in one at most."""
    folders: dict[PurePosixPath, list[FoundFile]] = defaultdict(list)
    for file in files:
        folders[file.path.parent].append(file)
    groups = [group for folder, found in folders.items() for group in _in_folder(folder, found)]
    return tuple(sorted(groups, key=lambda group: group.base.parts))


def stage_of(path: PurePosixPath) -> Stage:
    """Return whether `path` is named as a trainer names an intermediate save."""
    in_checkpoint = any(_CHECKPOINT_DIRECTORY.fullmatch(part) for part in path.parts)
    if in_checkpoint or _KOHYA_INTERMEDIATE.fullmatch(path.name):
        return Stage.INTERMEDIATE
    return Stage.FINAL


def _in_folder(folder: PurePosixPath, found: list[FoundFile]) -> Iterator[Group]:
    by_name = {file.path.name: file for file in found}
    peft_weights = sorted(name for name in by_name if _PEFT_WEIGHTS.fullmatch(name))
    if peft_weights:
        yield _peft(folder, by_name, peft_weights)
    for name, file in by_name.items():
        if name.endswith(WEIGHTS_SUFFIX) and name not in peft_weights:
            diffusers = name.startswith("pytorch_lora_weights")
            layout = Layout.DIFFUSERS if diffusers else Layout.SINGLE
            yield Group(layout, stage_of(file.path), file.path, (file,))


def _peft(folder: PurePosixPath, by_name: dict[str, FoundFile], weights: list[str]) -> Group:
    names = [*weights, *(name for name in by_name if name in _PEFT_SIDE_FILES)]
    files = tuple(by_name[name] for name in sorted(names))
    # The trainer writes the weights first (facts/formats.md section 8).
    missing = None if PEFT_CONFIG in by_name else PEFT_CONFIG
    return Group(Layout.PEFT, stage_of(folder), folder, files, missing or _missing_shard(weights))


def _missing_shard(weights: list[str]) -> str | None:
    for name in weights:
        numbers = re.search(r"-(\d{5})-of-(\d{5})", name)
        if numbers is None:
            continue
        for number in range(1, int(numbers[2]) + 1):
            shard = f"adapter_model-{number:05d}-of-{numbers[2]}{WEIGHTS_SUFFIX}"
            if shard not in weights:
                return shard
    return None
