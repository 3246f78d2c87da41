"""Files and folders that trainers write beside an adapter, by their names (facts/formats.md 1, 2 and 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.leaks.kinds import make_leak
from registry.artifacts.leaks.leak import Leak, Sensitivity
from registry.artifacts.leaks.scan import scan_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIGH, _MEDIUM = Sensitivity.HIGH, Sensitivity.MEDIUM

# The first that fits the whole name, in any case of letters: kind, sensitivity, what it is.
_FILES: tuple[tuple[str, str, Sensitivity, str], ...] = (
    (r"training_args\.bin", "pickle", _HIGH, "a pickle with paths, and with the hub token in clear"),
    (r"readme\.md", "training-config", _HIGH, "configuration, prompts and paths, as trainers write it"),
    (r"\.env(\..*)?|\.netrc|\.?git-credentials|\.npmrc|\.pypirc|credentials(\.json)?|kaggle\.json|stored_tokens|id_(rsa|ed25519|ecdsa)|.*\.(pem|key|p12|pfx)", "credentials-file", _HIGH, "a file that is made to hold credentials"),
    (r"(training_loss|loss|.*_loss)\.(png|jpe?g)", "training-state", _MEDIUM, "a curve of the training run"),
    (r"prompts?\.txt|.*-promopt\.txt|.*prompts?\.(txt|json|ya?ml|toml)", "prompt", _HIGH, "sample prompts"),
    (r".*\.(png|jpe?g|webp|gif|bmp|avif|heic|tiff?)", "image", _HIGH, "sample image"),
    (r".*\.(mp4|webm|mov|mkv|avi)", "image", _HIGH, "sample video"),
    (r".*\.(wav|mp3|flac|ogg|m4a)", "image", _HIGH, "sample of a voice or other sound"),
    (r".*_te\.safetensors", "training-data", _HIGH, "a cache of captions, in clear"),
    (r".*_[0-9]{2,5}x[0-9]{2,5}_.*\.safetensors|.*\.npz", "training-data", _HIGH, "a cache of training images"),
    (r"(metadata|captions?|dataset.*|train|eval|validation)\.(jsonl?|csv|parquet|arrow)|.*\.(caption|parquet|arrow)", "caption", _HIGH, "captions, or training data itself"),
    (r"events\.out\.tfevents\..*", "training-config", _MEDIUM, "a TensorBoard log, with the machine's name in its own"),
    (r"trainer_state\.json", "training-state", _MEDIUM, "absolute paths, losses"),
    (r"(optimizer|scheduler|rng_state|random_states).*", "pickle", _MEDIUM, "state of the training run, mostly pickles"),
    (r"(training_state|train_state|checkpoint_manifest|tokens_state|meta)\.json", "training-state", _MEDIUM, "state of the training run"),
    (r"(all|train|eval)_results\.json|trainer_log\.jsonl", "training-state", _MEDIUM, "when and how long it was trained"),
    (r"(args|concepts|samples|llamaboard_config|training_args|.*_[0-9]{8}-[0-9]{6}|.*[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2})\.json", "training-config", _HIGH, "training configuration with paths and prompts"),
    (r".*\.(pt|pth|bin|ckpt|pkl|pickle)", "pickle", _MEDIUM, "a pickle"),
    (r".*\.(toml|ya?ml|db|sqlite3?|log|ini|cfg|conf|sh|bat|ps1|ipynb)|running_log\.txt", "training-config", _HIGH, "training configuration or log"),
    (r"\.gitconfig|\.gitattributes|\.mailmap", "version-control", _MEDIUM, "version control data"),
)  # fmt: skip
_FILE_ROWS = tuple((re.compile(row[0], re.IGNORECASE), *row[1:]) for row in _FILES)

# Folders: the first name in a path that fits says what all files below it are.
_FOLDERS: tuple[tuple[str, str, Sensitivity, str], ...] = (
    (r"runs|wandb|mlruns|swanlog|tensorboard|lightning_logs|logs?", "host-name", _MEDIUM, "logs of the run, whose folders are named after machines and users"),
    (r"samples?|validation_images|assets|images?", "image", _HIGH, "sample images, in folders that OneTrainer names after their prompts"),
    (r"\.git|\.hg|\.svn", "version-control", _MEDIUM, "version control data"),
    (r"\.(ssh|aws|huggingface|kaggle|config)", "credentials-file", _HIGH, "a folder that holds credentials"),
    (r"backup|.*-state|checkpoint-.*", "training-state", _MEDIUM, "state of the training run"),
    (r"onetrainer_config|config|autosave", "training-config", _HIGH, "training configuration with paths and prompts"),
)  # fmt: skip
_FOLDER_ROWS = tuple((re.compile(row[0], re.IGNORECASE), *row[1:]) for row in _FOLDERS)
# Below these, folders are named after machines, runs or prompts.
_TELLING_PARENTS = frozenset(
    {"runs", "wandb", "samples", "sample", "swanlog", "tensorboard", "logs"}
)
_EVENTS = re.compile(r"events\.out\.tfevents\..*", re.IGNORECASE)
_HIDDEN = "*"


def leaks_of_files(names: Iterable[str]) -> tuple[Leak, ...]:
    """Return the files beside an adapter that tell something, by their names alone; one leak a file."""
    leaks = (_by_name(name) for name in names)
    return tuple(leak for leak in leaks if leak is not None)


def _by_name(name: str) -> Leak | None:
    *folders, last = name.split("/")
    for pattern, kind, sensitivity, what in _FILE_ROWS:
        if pattern.fullmatch(last):
            return make_leak(shown_name(name), kind, what=what, sensitivity=sensitivity)
    for pattern, kind, sensitivity, what in _FOLDER_ROWS:
        if any(pattern.fullmatch(folder) for folder in folders):
            return make_leak(shown_name(name), kind, what=what, sensitivity=sensitivity)
    return None


def shown_name(name: str) -> str:
    """Return the relative path `name` as findings give it: `*` for a part that tells something itself.

    Parts are hidden that hold a number, an address or the like, names of folders of runs and prompts, and
    of TensorBoard's files all behind their mark, which is the name of the machine.
    """
    shown: list[str] = []
    for part in name.split("/"):
        if _EVENTS.fullmatch(part):
            shown.append("events.out.tfevents.*")
        elif _is_telling(part, shown, is_last=len(shown) == name.count("/")):
            shown.append(_HIDDEN + _suffix(part))
        else:
            shown.append(part)
    return "/".join(shown)


def _is_telling(part: str, before: list[str], *, is_last: bool) -> bool:
    below = not is_last and bool(before) and before[-1].lower() in _TELLING_PARENTS
    return below or bool(scan_text(part))


def _suffix(part: str) -> str:
    match = re.search(r"\.[A-Za-z0-9]{1,11}$", part, re.ASCII)
    # Digits are what a suffix of a number could be.
    return match[0] if match and match[0][1:].isalpha() else ""
