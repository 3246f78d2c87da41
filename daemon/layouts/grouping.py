"""From the files of a folder to artifacts: which belong together, and whether their trainer is done."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.layouts.found import PEFT_CONFIG, WEIGHTS_SUFFIX, FoundFile, Group, Layout
from daemon.layouts.names import (
    BEING_GATHERED,
    GUARD,
    OPTIMIZER,
    PEFT_SIDE_FILES,
    SIMPLETUNER,
    TRAINER_STATE,
    is_interesting_file,
    is_pickle,
)
from daemon.layouts.saves import save_of_file, save_of_folder
from registry.artifacts.folders import partner_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import PurePosixPath

    from daemon.layouts.found import Save

_PEFT_WEIGHTS = re.compile(r"adapter_model(-\d{5}-of-\d{5})?\.safetensors|adapter_model\.bin")
_DIFFUSERS_WEIGHTS = "pytorch_lora_weights"
# What train_dreambooth_lora_sdxl_advanced writes beside its adapter: embeddings, no adapter.
_EMBEDDINGS = "_emb.safetensors"
_RANDOM_STATES = "random_states_"


def group_files(files: Iterable[FoundFile]) -> tuple[Group, ...]:
    """Return the artifacts that `files` form, sorted by their base; each file is in one at most.

    Among `files` are the marks beside them (`names.is_mark`), which are in none.
    """
    folders: dict[PurePosixPath, dict[str, FoundFile]] = defaultdict(dict)
    for file in files:
        folders[file.path.parent][file.path.name] = file
    simpletuner = {
        path.parent for path, found in folders.items() if (SIMPLETUNER | {GUARD}) & found.keys()
    }
    groups = [
        group
        for path, found in folders.items()
        for group in _Folder(path, found, header_comes=path in simpletuner).groups()
    ]
    return tuple(sorted(groups, key=lambda group: group.base.parts))


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder's files by name, marks among them; `header_comes` if SimpleTuner has its saves in it."""

    path: PurePosixPath
    files: Mapping[str, FoundFile]
    header_comes: bool = False

    def groups(self) -> Iterator[Group]:
        """Yield the artifacts in this folder."""
        weights = {
            name
            for name in self.files
            if (name.endswith(WEIGHTS_SUFFIX) and is_interesting_file(name)) or is_pickle(name)
        }
        # Of the same weights in both forms the pickle is not looked at.
        weights -= {
            name for name in weights if is_pickle(name) and _as_safetensors(name) in weights
        }
        peft = sorted(name for name in weights if _PEFT_WEIGHTS.fullmatch(name))
        if peft:
            yield self._peft(peft)
        diffusers = {name for name in weights if name.startswith(_DIFFUSERS_WEIGHTS)}
        rest = weights.difference(peft, diffusers)
        if diffusers:
            rest = {name for name in rest if not name.endswith(_EMBEDDINGS)}
        for name in diffusers:
            yield self._diffusers(name)
        yield from self._singles(rest)

    def _peft(self, weights: list[str]) -> Group:
        names = [*weights, *(name for name in self.files if name in PEFT_SIDE_FILES)]
        files = tuple(self.files[name] for name in sorted(names))
        save = save_of_folder(self.path, gathered=True)
        # The trainer writes the weights first (facts/formats.md section 8).
        missing = None if PEFT_CONFIG in self.files else PEFT_CONFIG
        missing = missing or _missing_shard(weights) or self._missing_in_peft(save)
        return Group(
            Layout.PEFT, self.path, files, save, missing, sealed_off=TRAINER_STATE in self.files
        )

    def _missing_in_peft(self, save: Save | None) -> str | None:
        if save is None:
            return None
        if save.has_final:
            return None if self._has_last_mark() else TRAINER_STATE
        if BEING_GATHERED in self.files:
            return f"end of {BEING_GATHERED}/"
        # diffusion-pipe copies its configuration last.
        copied = any(name.endswith(".toml") for name in self.files)
        return None if copied else "copy of the .toml"

    def _diffusers(self, name: str) -> Group:
        file = self.files[name]
        save = save_of_file(file.path)
        missing = None
        if save is not None:
            needs_guard = bool(SIMPLETUNER & self.files.keys()) and GUARD not in self.files
            missing = GUARD if needs_guard else None
            if missing is None and not self._has_last_mark():
                missing = f"{_RANDOM_STATES}0.pkl, {TRAINER_STATE} or {GUARD}"
        return Group(
            Layout.DIFFUSERS,
            file.path,
            (file,),
            save,
            missing,
            sealed_off=GUARD in self.files,
            header_comes=self.header_comes and save is None,
        )

    def _has_last_mark(self) -> bool:
        return any(
            name in (GUARD, TRAINER_STATE) or name.startswith(_RANDOM_STATES) for name in self.files
        )

    def _singles(self, names: set[str]) -> Iterator[Group]:
        for name in names:
            file, partner = self.files[name], partner_of(name)
            save = save_of_file(file.path)
            if partner is None:
                missing = self._missing_state(file)
                yield Group(Layout.SINGLE, file.path, (file,), save, missing)
            elif partner not in names:
                yield Group(Layout.PAIR, file.path, (file,), save, partner)
            elif name < partner:
                pair = (file, self.files[partner])
                missing = self._missing_state(max(pair, key=lambda one: one.mtime_ns))
                yield Group(Layout.PAIR, file.path, pair, save, missing)

    def _missing_state(self, file: FoundFile) -> str | None:
        # ai-toolkit writes this over after every save, and only then removes older ones.
        state = self.files.get(OPTIMIZER)
        is_older = state is not None and state.mtime_ns < file.mtime_ns
        return f"{OPTIMIZER} of this save" if is_older else None


def _as_safetensors(name: str) -> str:
    return name.rpartition(".")[0] + WEIGHTS_SUFFIX


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
