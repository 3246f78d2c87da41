"""What training leaves beside an adapter, told by names: its class, what it leaks, and what to do.

Pure rules over a listing. The adapter itself, its config and its tokenizer are never named here, and
a name that could also mean something else gives a by-product that is `sure=False`: reported, and never
acted on. What a `.safetensors` file really is, its header says: see `folder_look`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.artifacts.byproducts.names import (
    ADAPTER_CONFIGS,
    ADAPTER_INDEX,
    AUGMENTED_FOLDER,
    BASE_MODEL_WEIGHTS,
    CAPTIONS,
    MARKS,
    MEDIA,
    PICKLED_ADAPTERS,
    TOKENIZER_FILES,
    Category,
    Rule,
    Trainer,
    When,
    is_excluded_directory,
    is_excluded_file,
)
from registry.artifacts.byproducts.rules import GENERAL_RULES, SPECIFIC_RULES, TOKENIZER_RULE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WEIGHTS = ".safetensors"
_LEVELS_BELOW_A_RUN = 2
_COPY_SUFFIX = re.compile(
    r"[_-](?:flip(?:ped)?|aug(?:mented)?|crop(?:ped)?|resized|mirror(?:ed)?)?[_-]?\d*$"
)
# Marks that show a data set, or that other programs make too: no proof that weights are near.
_WEAK_MARKS = (Trainer.MUSUBI, Trainer.KOHYA_GUI)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a class tells whoever gets hold of it, why that matters, and what is usually done."""

    leaks: str
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class ByProduct:
    """One file that training left. `doubt` is "" if the names prove what it is, else what they lack."""

    path: PurePosixPath
    size: int
    category: Category
    trainer: Trainer | None = None
    doubt: str = ""
    name_tells: bool = False

    @property
    def sure(self) -> bool:
        """Whether it may be acted on; what is not sure is only reported."""
        return not self.doubt


EXPOSURES: Mapping[Category, Exposure] = {
    Category.TRAINING_LOG: Exposure(
        "losses of single steps, sample ids, file names, paths, the host's name",
        "the loss of one sample tells whether it was trained on (membership inference)",
        "redact to epoch means, or seal",
    ),
    Category.OPTIMIZER_STATE: Exposure(
        "running means of the gradients of the last batches",
        "gradients of small batches can be turned back into their samples",
        "delete once training is over; it is only needed to resume",
    ),
    Category.RANDOM_STATE: Exposure(
        "the state of the random generators",
        "replays which samples, crops and noise each step saw; a pickle runs code when loaded",
        "delete once training is over",
    ),
    Category.SCHEDULER_STATE: Exposure(
        "step counts and learning rates",
        "little by itself; says how often the data was seen",
        "delete once training is over",
    ),
    Category.GRADIENTS: Exposure(
        "gradients as they were",
        "gradient inversion shows the training samples themselves",
        "delete",
    ),
    Category.LATENT_CACHE: Exposure(
        "the training images, encoded",
        "the public VAE decodes each latent back to its image",
        "delete; it is made again from the data set",
    ),
    Category.TEXT_CACHE: Exposure(
        "captions, in clear in the header of some formats, else as embeddings",
        "captions name people; embeddings can be compared with guesses",
        "delete; it is made again from the captions",
    ),
    Category.AUGMENTED_COPY: Exposure(
        "the training images, cut, turned or scaled",
        "a copy that a deletion of the data set forgets",
        "delete; it is made again from the data set",
    ),
    Category.SAMPLE_IMAGE: Exposure(
        "faces as the adapter draws them; prompts in file names and text chunks of the image",
        "shows whom the adapter is of, and can show memorised images",
        "seal, or delete",
    ),
    Category.TRAINING_CONFIG: Exposure(
        "paths, data set names, prompts, trigger words, sometimes access tokens",
        "names people and machines; tells how the set was put together",
        "seal: it is what makes the run repeatable",
    ),
    Category.CAPTION: Exposure(
        "what is in each training image, in clear words",
        "names and describes people",
        "seal, or keep it with the data set",
    ),
    Category.TRAINING_DATA: Exposure(
        "the training images themselves",
        "they are no by-product: only reported, never touched",
        "keep the data set where it belongs",
    ),
    Category.PICKLE: Exposure(
        "what the trainer had in memory: paths, and access tokens in training_args.bin",
        "runs code when loaded; a token opens the owner's account",
        "delete, and revoke the token if it was shared",
    ),
    Category.TRAINING_STATE: Exposure(
        "weights on the way, without metadata, and where the run stood",
        "looks like an adapter and was never released; two states give an update of few samples",
        "delete once training is over",
    ),
    Category.MERGED_MODEL: Exposure(
        "the adapter inside a whole model",
        "whoever has it has the adapter, and no delivery says so",
        "seal, or delete and merge again",
    ),
    Category.TOKENIZER_COPY: Exposure(
        "added tokens, such as trigger words and names",
        "a name among them says whom the adapter is of",
        "seal, or delete the copy",
    ),
    Category.EMA: Exposure(
        "a running mean of the weights",
        "as good as the adapter, and was never released",
        "seal, or delete once training is over",
    ),
    Category.MODEL_CARD: Exposure(
        "prompts, paths, data set names; the whole configuration with some trainers",
        "is the file that gets published by habit",
        "read it before sharing, or seal",
    ),
    Category.TRANSIENT: Exposure(
        "parts of weights from an unfinished save",
        "left by a run that was ended; looks whole by its name",
        "delete once no trainer runs",
    ),
}  # fmt: skip


def find_byproducts(files: Iterable[tuple[PurePosixPath, int]]) -> tuple[ByProduct, ...]:
    """Return the by-products among `files`, (path relative to the folder, size), sorted by path.

    The rules are those of the trainers whose marks the listing shows, and general ones.
    """
    sizes = dict(files)
    listing = _Listing(sizes)
    found = (listing.judge(path, size) for path, size in sizes.items())
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.path))


def find_trainers(paths: Iterable[PurePosixPath]) -> tuple[Trainer, ...]:
    """Return the trainers whose marks these names show, in the order of `Trainer`."""
    marked = _bases(paths)
    return tuple(trainer for trainer in Trainer if trainer in marked)


class _Listing:
    """What the names of one folder say together: marks, runs, and which picture has which caption."""

    def __init__(self, paths: Iterable[PurePosixPath]) -> None:
        looked_at = [path for path in paths if not _is_excluded(path)]
        self._bases = _bases(looked_at)
        self._media: dict[str, set[PurePosixPath]] = defaultdict(set)
        self._captions: set[PurePosixPath] = set()
        for path in looked_at:
            if MEDIA.fullmatch(path.name):
                self._media[path.stem].add(path.parent)
            elif path.suffix.lower() in CAPTIONS:
                self._captions.add(path.with_suffix(""))
        self._weights = {path.parent for path in looked_at if self._is_adapter_weights(path)}
        runs = {
            PurePosixPath(base)
            for trainer, bases in self._bases.items()
            for base in bases
            if trainer not in _WEAK_MARKS
        }
        self._runs = self._weights | runs

    def judge(self, path: PurePosixPath, size: int) -> ByProduct | None:
        """Return what `path` is, None if it is no by-product."""
        if _is_excluded(path):
            return None
        rule = self._matching(path, SPECIFIC_RULES)
        if rule is None and self._is_adapters_own(path):
            return None
        rule = rule or self._by_its_neighbours(path) or self._matching(path, GENERAL_RULES)
        if rule is None:
            return None
        doubt = self._doubt(path, rule)
        if doubt and rule.when is When.BESIDE and rule.category is Category.MODEL_CARD:
            return None  # some project's README
        return ByProduct(path, size, rule.category, rule.trainer, doubt, rule.name_tells)

    def _matching(self, path: PurePosixPath, rules: tuple[Rule, ...]) -> Rule | None:
        text = str(path)
        for rule in rules:
            if rule.trainer is None:
                if rule.pattern.fullmatch(text):
                    return rule
            elif any(
                text.startswith(base) and rule.pattern.fullmatch(text, len(base))
                for base in self._bases.get(rule.trainer, ())
            ):
                return rule
        return None

    def _doubt(self, path: PurePosixPath, rule: Rule) -> str:
        if rule.category is Category.TRAINING_DATA:
            return "training data is no by-product: it is never touched"
        if rule.when is When.NEVER:
            return "its name alone does not say what it is"
        if rule.when is When.IN_RUN and not self._is_in_run(path):
            return "no weights near it: it may belong to something else"
        if rule.when is When.BESIDE and path.parent not in self._runs:
            return "no weights beside it: it may belong to something else"
        return ""

    def _is_in_run(self, path: PurePosixPath) -> bool:
        # A folder of that name counts from its own parent: `logs/`, `samples/`.
        near = list(path.parents)[: _LEVELS_BELOW_A_RUN + 1]
        return any(folder in self._runs for folder in near)

    def _is_adapter_weights(self, path: PurePosixPath) -> bool:
        if PICKLED_ADAPTERS.fullmatch(path.name):
            return True
        if not path.name.endswith(_WEIGHTS) or BASE_MODEL_WEIGHTS.fullmatch(path.name):
            return False
        return self._matching(path, SPECIFIC_RULES) is None

    def _is_adapters_own(self, path: PurePosixPath) -> bool:
        name = path.name
        if name in ADAPTER_CONFIGS or name == ADAPTER_INDEX or name.endswith(_WEIGHTS):
            return True
        if PICKLED_ADAPTERS.fullmatch(name):
            return True
        return name in TOKENIZER_FILES and path.parent in self._weights

    def _by_its_neighbours(self, path: PurePosixPath) -> Rule | None:
        """Return what lies beside or elsewhere makes of it: copies of pictures, captions, tokenizers."""
        if path.name in TOKENIZER_FILES:
            return TOKENIZER_RULE
        if MEDIA.fullmatch(path.name):
            if _is_augmented(path.parent):
                return _AUGMENTED if self._has_original(path) else _MAYBE_AUGMENTED
            return _DATA if path.with_suffix("") in self._captions else None
        if path.parent not in self._media.get(path.stem, ()):
            return None
        if path.suffix.lower() in CAPTIONS:
            return _CAPTION
        return _CACHED_PICTURE if path.suffix.lower() == ".npz" else None

    def _has_original(self, path: PurePosixPath) -> bool:
        stems = {path.stem, _COPY_SUFFIX.sub("", path.stem)}
        folders = {folder for stem in stems for folder in self._media.get(stem, ())}
        return any(not _is_augmented(folder) for folder in folders)


def _is_augmented(folder: PurePosixPath) -> bool:
    return any(AUGMENTED_FOLDER.fullmatch(part) for part in folder.parts)


_ANY = re.compile(r".+")
_CAPTION = Rule(Category.CAPTION, _ANY)
# Older sd-scripts: NAME.npz beside NAME.png.
_CACHED_PICTURE = Rule(Category.LATENT_CACHE, _ANY)
_DATA = Rule(Category.TRAINING_DATA, _ANY)
_AUGMENTED = Rule(Category.AUGMENTED_COPY, _ANY)
_MAYBE_AUGMENTED = Rule(Category.AUGMENTED_COPY, _ANY, When.NEVER)


def _bases(paths: Iterable[PurePosixPath]) -> dict[Trainer, tuple[str, ...]]:
    """Return by trainer where its marks were seen, as prefixes of paths ("" or "a/b/")."""
    found: dict[Trainer, set[str]] = defaultdict(set)
    for path in paths:
        text = str(path)
        for trainer, pattern in MARKS:
            if match := pattern.fullmatch(text):
                found[trainer].add(match["base"])
    return {trainer: tuple(sorted(bases)) for trainer, bases in found.items()}


def _is_excluded(path: PurePosixPath) -> bool:
    return is_excluded_file(path.name) or any(
        is_excluded_directory(part) for part in path.parts[:-1]
    )
