"""Intermediate saves, told from results by name alone.

| trainer | save on the way | result |
|---|---|---|
| sd-scripts, its GUIs, musubi-tuner | NAME-000004, NAME-step00000500 | NAME |
| ai-toolkit | NAME_000000250, for Wan 2.2 with _high_noise and _low_noise | NAME |
| OneTrainer | PREFIX2026-01-31_12-00-00-save-500-4-20 | what the settings name |
| diffusers, SimpleTuner, Trainer + PEFT, unsloth Studio | checkpoint-500/, checkpoint-500-rolling/ | the folder above |
| x-flux | checkpoint-500/lora | none |
| DiffSynth-Studio | epoch-4, step-500 | none |
| diffusion-pipe | epoch4/, step500/ | none |

Numbers that trainers pad with zeros must be padded: `portrait-241121` and `portrait-010224` bear dates and
are results.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from daemon.layouts.found import Save

if TYPE_CHECKING:
    from pathlib import PurePath

_FILES = (
    re.compile(r"(?P<run>.+)-(?P<epoch>00\d{4})\.(?:safetensors|ckpt|pt)"),
    re.compile(r"(?P<run>.+)-step(?P<step>0\d{7})\.(?:safetensors|ckpt|pt)"),
    re.compile(r"(?P<run>.+)_(?P<step>0\d{8})(?:_(?:high|low)_noise)?\.safetensors"),
    re.compile(
        r"(?P<run>.*?)\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-save-(?P<step>\d+)-\d+-\d+\.safetensors"
    ),
)
_FILES_WITHOUT_RESULT = (
    re.compile(r"(?P<run>)epoch-(?P<epoch>\d{1,5})\.safetensors"),
    re.compile(r"(?P<run>)step-(?P<step>\d{1,9})\.safetensors"),
)
_CHECKPOINT = re.compile(r"checkpoint-(?P<step>\d+)(?:-rolling)?")
_GATHERED = re.compile(r"epoch(?P<epoch>\d+)|step(?P<step>\d+)")
_XLABS_WEIGHTS = "lora.safetensors"


def is_save_with_result(path: PurePath) -> bool:
    """Return whether `path` is a save on the way whose trainer also writes a result of its own.

    `path` is a file or a PEFT folder. Where there are only saves, they are what people get.
    """
    place = PurePosixPath(path.as_posix())
    save = save_of_file(place) if place.suffix else save_of_folder(place, gathered=True)
    return save is not None and save.has_final


def save_of_file(path: PurePosixPath) -> Save | None:
    """Return which save the weights at `path` are by their own name or a checkpoint folder's."""
    for patterns, has_final in ((_FILES, True), (_FILES_WITHOUT_RESULT, False)):
        for pattern in patterns:
            if found := pattern.fullmatch(path.name):
                run = (path.parent, found["run"])
                return _save(run, found, has_final=has_final)
    save = save_of_folder(path.parent)
    if save is None:
        return None
    # Several files of one checkpoint are saves of several runs: none of them takes another's place.
    above, rest = save.run
    has_final = path.name != _XLABS_WEIGHTS
    return Save((above, f"{rest}/{path.name}"), save.unit, save.number, has_final=has_final)


def save_of_folder(folder: PurePosixPath, *, gathered: bool = False) -> Save | None:
    """Return which save a folder is by its name or that of one above it.

    `gathered`: it holds a PEFT adapter, which diffusion-pipe writes to `epochN` and `stepN`.
    """
    parts = folder.parts
    for index, part in enumerate(parts):
        if found := _CHECKPOINT.fullmatch(part):
            rest = "/".join(parts[index + 1 :])
            above = folder.parents[len(parts) - 1 - index]
            return _save((above, f"checkpoint/{rest}"), found)
    if gathered and (found := _GATHERED.fullmatch(folder.name)):
        return _save((folder.parent, ""), found, has_final=False)
    return None


def _save(run: tuple[PurePosixPath, str], found: re.Match[str], *, has_final: bool = True) -> Save:
    groups = found.groupdict()
    unit = "epoch" if groups.get("epoch") is not None else "step"
    return Save(run, unit, int(groups[unit]), has_final)
