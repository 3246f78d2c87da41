"""Words of `byproducts`: trainers and the marks of their folders, classes, and names left out.

The marks are facts of 15 layouts, read in the trainers' sources. Nothing here touches a disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Trainer(StrEnum):
    """Whose convention the names of a folder follow."""

    SD_SCRIPTS = "sd-scripts"
    KOHYA_GUI = "kohya-gui"
    LORA_SCRIPTS = "lora-scripts"
    MUSUBI = "musubi-tuner"
    AI_TOOLKIT = "ai-toolkit"
    ONE_TRAINER = "onetrainer"
    SIMPLE_TUNER = "simpletuner"
    DIFFUSERS = "diffusers"
    TRANSFORMERS = "transformers"
    LLAMA_FACTORY = "llama-factory"
    UNSLOTH = "unsloth"
    AXOLOTL = "axolotl"
    DIFFUSION_PIPE = "diffusion-pipe"
    DIFFSYNTH = "diffsynth-studio"
    X_FLUX = "x-flux"


class Category(StrEnum):
    """What a by-product is, as the report and the settings call it."""

    TRAINING_LOG = "training-log"
    OPTIMIZER_STATE = "optimizer-state"
    RANDOM_STATE = "random-state"
    SCHEDULER_STATE = "scheduler-state"
    GRADIENTS = "gradients"
    LATENT_CACHE = "latent-cache"
    TEXT_CACHE = "text-cache"
    AUGMENTED_COPY = "augmented-copy"
    SAMPLE_IMAGE = "sample-image"
    TRAINING_CONFIG = "training-config"
    CAPTION = "caption"
    TRAINING_DATA = "training-data"
    PICKLE = "pickle"
    TRAINING_STATE = "training-state"
    MERGED_MODEL = "merged-model"
    TOKENIZER_COPY = "tokenizer-copy"
    EMA = "ema-weights"
    MODEL_CARD = "model-card"
    TRANSIENT = "transient"


class When(StrEnum):
    """When a name is proof enough to act on: else it is only reported.

    A run is a folder with weights or with a trainer's marks; `IN_RUN` is in one or at most two folders
    below it, `BESIDE` right in it.
    """

    ALWAYS = "always"
    IN_RUN = "in a run"
    BESIDE = "beside weights"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Rule:
    """One class of names. A trainer's rule is matched below its marks, any other against the whole path.

    `name_tells`: the names of these files or of their folders leak too (a prompt, a host's name).
    """

    category: Category
    pattern: re.Pattern[str]
    when: When = When.ALWAYS
    trainer: Trainer | None = None
    name_tells: bool = False


MEDIA_SUFFIX = r"(?:png|jpe?g|webp|gif|bmp|avif|jxl|mp4|webm|mov|avi|mkv)"
PICKLED_SUFFIX = r"(?:pt|pth|bin|pkl|pickle|ckpt)"
CACHED_SUFFIX = r"(?:safetensors|np[yz]|pt|pth|arrow|parquet|json)"
LOGGED_SUFFIX = r"(?:log|txt|jsonl?|csv|out|err|ya?ml|db|wandb)"
MODEL_FILE = (
    r"(?:[^/]+\.(?:safetensors|bin|gguf)|[^/]*(?:config|index|tokens_map|tokenizer|vocab)\.json)"
)
DATE = r"\d{8}-\d{6}"
NAME = r"[^/]+"

MEDIA = re.compile(rf"{NAME}\.{MEDIA_SUFFIX}", re.IGNORECASE)
CAPTIONS = (".txt", ".caption", ".tags")

# Ours, other tools' and editors': neither a by-product nor a sign that a trainer is at work.
_EXCLUDED_DIRECTORIES = frozenset(
    {".git", ".svn", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints"}
)
_EXCLUDED = re.compile(
    r".*\.age|.*\.trend\.json|\..*\.part|.*~|\..*\.sw[a-z]|\.#.*|#.*#|\.DS_Store|Thumbs\.db"
    r"|~syncthing~.*|\.syncthing\..*|.*\.(?:crdownload|incomplete|partial)",
    re.IGNORECASE,
)

# Part of the adapter that lies beside it.
ADAPTER_CONFIGS = frozenset({"adapter_config.json", "lycoris_config.json"})
ADAPTER_INDEX = "adapter_model.safetensors.index.json"
TOKENIZER_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
# Adapters that were saved as pickles: theirs is the owner's business, not that of by-products.
PICKLED_ADAPTERS = re.compile(
    r"(?:adapter_model|pytorch_lora_weights)\.bin|.+-(?:\d{6}|step\d{8})\.(?:ckpt|pt)|.+_\d{9}\.pt",
    re.IGNORECASE,
)
# Weights that make no folder a run: parts of base models.
BASE_MODEL_WEIGHTS = re.compile(
    r"(?:model|pytorch_model|diffusion_pytorch_model)(?:[-.].+)?\.safetensors", re.IGNORECASE
)


def is_excluded_directory(name: str) -> bool:
    """Return whether nothing below a folder of this name is looked at."""
    return name in _EXCLUDED_DIRECTORIES


def is_excluded_file(name: str) -> bool:
    """Return whether a file of this name is ours, an editor's or a synchroniser's."""
    return _EXCLUDED.fullmatch(name) is not None


def _mark(trainer: Trainer, *patterns: str) -> tuple[Trainer, re.Pattern[str]]:
    joined = "|".join(patterns)
    # Lazy: the mark lies as high as it can, since a nested one would hide what is around it.
    return trainer, re.compile(rf"(?P<base>(?:[^/]+/)*?)(?:{joined})", re.IGNORECASE)


CHECKPOINT = r"checkpoint-\d+(?:-rolling|-tmp)?"
MARKS: tuple[tuple[Trainer, re.Pattern[str]], ...] = (
    _mark(
        Trainer.SD_SCRIPTS,
        rf"{NAME}-(?:\d{{6}}|step\d{{8}})\.(?:safetensors|ckpt|pt)",
        rf"{NAME}-state/train_state\.json",
        rf"sample/{NAME}_(?:e\d{{6}}|\d{{6}})_\d{{2}}_\d{{14}}(?:_\d+)?\.png",
    ),
    _mark(Trainer.KOHYA_GUI, rf"{NAME}_{DATE}\.json", rf"config_lora-{DATE}\.toml"),
    _mark(Trainer.LORA_SCRIPTS, rf"config/autosave/{DATE}(?:\.toml|-promopt\.txt)"),
    _mark(Trainer.MUSUBI, rf"{NAME}_\d{{4}}x\d{{4}}_[a-z0-9]+\.safetensors"),
    _mark(
        Trainer.AI_TOOLKIT,
        rf"{NAME}_\d{{9}}(?:_(?:high|low)_noise)?\.safetensors",
        r"loss_log\.db",
    ),
    _mark(
        Trainer.ONE_TRAINER,
        rf"save/{NAME}-save-\d+-\d+-\d+\.safetensors",
        rf"backup/{NAME}-backup-\d+-\d+-\d+/.+",
    ),
    _mark(
        Trainer.SIMPLE_TUNER,
        rf"{CHECKPOINT}/(?:\.guard|checkpoint_manifest\.json|training_state\.json)",
        rf"validation_images/step_{NAME}\.{MEDIA_SUFFIX}",
    ),
    _mark(
        Trainer.DIFFUSERS,
        r"pytorch_lora_weights(?:_kohya)?\.safetensors",
        rf"{CHECKPOINT}/(?:pytorch_lora_weights\.safetensors|random_states_\d+\.pkl)",
    ),
    _mark(
        Trainer.TRANSFORMERS, r"training_args\.bin", rf"{CHECKPOINT}/(?:trainer_state\.json|rng_state{NAME})"
    ),
    _mark(Trainer.LLAMA_FACTORY, r"trainer_log\.jsonl", r"llamaboard_config\.ya?ml"),
    _mark(Trainer.UNSLOTH, r"_unsloth_temporary_saved_buffers/.+", r"\.tmp-checkpoint-.+/.+"),
    _mark(Trainer.AXOLOTL, rf"{CHECKPOINT}/tokens_state\.json", r"axolotl_config\.ya?ml"),
    _mark(
        Trainer.DIFFUSION_PIPE,
        r"(?:step|epoch)\d+/(?:adapter_model\.safetensors|adapter_config\.json)",
    ),
    _mark(Trainer.DIFFSYNTH, r"(?:epoch|step)-\d+\.safetensors"),
    _mark(Trainer.X_FLUX, rf"{CHECKPOINT}/lora\.safetensors"),
)  # fmt: skip

AUGMENTED_FOLDER = re.compile(
    r"\.?(?:aug(?:mented|mentations?)?|resized|flipped|mirrored|bucket(?:s|ed)?|crops|cropped)"
    r"(?:[_-].*)?",
    re.IGNORECASE,
)
