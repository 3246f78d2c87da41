"""What a look at a folder finds, and what it makes of it: files, and groups that are one artifact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath

WEIGHTS_SUFFIX = ".safetensors"
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
PEFT_CONFIG = "adapter_config.json"


class Layout(StrEnum):
    """Which convention the names follow; a pair is the two experts of one Wan 2.2 adapter."""

    SINGLE = "single-file"
    PAIR = "pair"
    DIFFUSERS = "diffusers"
    PEFT = "peft"


class Stage(StrEnum):
    """Whether the trainer means it as its result."""

    FINAL = "final"
    INTERMEDIATE = "intermediate"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of the watched folder: path relative to it, size, its own times in nanoseconds."""

    path: PurePosixPath
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Save:
    """An intermediate save: the `number`-th `unit` (`epoch` or `step`) of its `run`.

    Runs are equal for saves that replace one another. `has_final` is false for trainers that never
    write a result under a name of its own.
    """

    run: tuple[PurePosixPath, str]
    unit: str
    number: int
    has_final: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are one artifact together, sorted by path.

    `base` is what the candidate is called: the file, the first of a pair, or the PEFT directory ("." for
    the watched folder itself). `save` says which intermediate save it is, None for a result. `missing`
    names what the layout still needs. `sealed_off` says that the trainer's own mark of a whole save is
    there, so that nothing more is to come. `header_comes` says that the trainer writes the weights first and
    then once more, with a header.
    """

    layout: Layout
    base: PurePosixPath
    files: tuple[FoundFile, ...]
    save: Save | None = None
    missing: str | None = None
    sealed_off: bool = False
    header_comes: bool = False

    @property
    def stage(self) -> Stage:
        """Whether it is a result or a save on the way."""
        return Stage.FINAL if self.save is None else Stage.INTERMEDIATE
