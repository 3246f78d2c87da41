"""One look at a folder that a trainer wrote: its files with their stamps, and the by-products among them.

No link is followed, nothing is opened for writing, locked or changed; of weights the header is read, since
their name alone could take an adapter for a cache.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from registry.artifacts.byproducts.finding import ByProduct, find_byproducts, find_trainers
from registry.artifacts.byproducts.names import (
    Category,
    Trainer,
    is_excluded_directory,
    is_excluded_file,
)
from registry.artifacts.classifying import kinds
from registry.artifacts.classifying.classify import classify
from registry.artifacts.digesting import read_head
from registry.artifacts.reading import Stamp, open_source
from registry.errors import FormatError, LorasealError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 8
MAX_FILES = 100_000
_WEIGHTS = ".safetensors"
# classify tells training state from an adapter by its folders.
_HINT_PARTS = 4
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CACHES = (kinds.DATASET_CACHE, kinds.TEXTUAL_INVERSION, None)
_MODELS = (kinds.FULL_CHECKPOINT, kinds.FULL_MODEL_PART, kinds.QUANTISED_MODEL, None)
# What the header must say of weights that are named as these; of other classes any kind but an adapter.
_EXPECTED = {
    Category.LATENT_CACHE: _CACHES,
    Category.TEXT_CACHE: _CACHES,
    Category.MERGED_MODEL: _MODELS,
}


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A regular file, by its path in the folder, as it was when it was seen; `links` counts its names."""

    path: PurePosixPath
    stamp: Stamp
    links: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not looked at: symbolic links, special files, folders that were closed or too deep."""

    links: int = 0
    special: int = 0
    closed_folders: int = 0
    deep_folders: int = 0


@dataclass(frozen=True, slots=True)
class FolderLook:
    """What is in a folder. `files` has every regular file but ours and editors', sorted by path."""

    root: Path
    files: tuple[SeenFile, ...]
    products: tuple[ByProduct, ...]
    trainers: tuple[Trainer, ...]
    left_out: LeftOut


def look_at(root: Path) -> FolderLook:
    """Return what is in `root` now.

    Raises:
        OSError: `root` cannot be listed.
        FormatError: it holds more than `MAX_FILES` files.
    """
    walk = _Walk(root)
    files = tuple(sorted(walk.files(), key=lambda file: file.path))
    found = find_byproducts((file.path, file.stamp.size) for file in files)
    products = tuple(item for product in found if (item := _confirmed(root, product)) is not None)
    return FolderLook(
        root, files, products, find_trainers(file.path for file in files), walk.left_out
    )


class _Walk:
    """A walk by open folders, so that one which becomes a link on the way leads nowhere."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found = 0
        self.left_out = LeftOut()

    def files(self) -> Iterator[SeenFile]:
        descriptor = os.open(self._root, _FOLDER_FLAGS)
        try:
            yield from self._below(descriptor, PurePosixPath(), 0)
        finally:
            os.close(descriptor)

    def _below(self, descriptor: int, folder: PurePosixPath, depth: int) -> Iterator[SeenFile]:
        with os.scandir(descriptor) as entries:
            names = sorted(entries, key=lambda entry: entry.name)
        for entry in names:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISDIR(status.st_mode):
                yield from self._enter(descriptor, folder / entry.name, depth)
            elif stat.S_ISREG(status.st_mode):
                if not is_excluded_file(entry.name):
                    self._count()
                    yield SeenFile(folder / entry.name, Stamp.of(status), status.st_nlink)
            elif stat.S_ISLNK(status.st_mode):
                self.left_out = replace(self.left_out, links=self.left_out.links + 1)
            else:
                self.left_out = replace(self.left_out, special=self.left_out.special + 1)

    def _enter(self, parent: int, folder: PurePosixPath, depth: int) -> Iterator[SeenFile]:
        if is_excluded_directory(folder.name):
            return
        if depth >= MAX_DEPTH:
            self.left_out = replace(self.left_out, deep_folders=self.left_out.deep_folders + 1)
            return
        try:
            descriptor = os.open(folder.name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
        except OSError:
            closed = self.left_out.closed_folders + 1
            self.left_out = replace(self.left_out, closed_folders=closed)
            return
        try:
            yield from self._below(descriptor, folder, depth + 1)
        finally:
            os.close(descriptor)

    def _count(self) -> None:
        self._found += 1
        if self._found > MAX_FILES:
            raise FormatError(
                f"{str(self._root)!r} holds more than {MAX_FILES} files",
                hint="give the folder of one training run",
            )


def _confirmed(root: Path, product: ByProduct) -> ByProduct | None:
    """Return `product` as its header lets it stand; None for what is an adapter after all."""
    if product.path.suffix != _WEIGHTS:
        return product
    path = root / product.path
    hint = "/".join(path.parts[-_HINT_PARTS:])
    try:
        with open_source(path, root=root) as source:
            kind = classify(read_head(source).header, name_hint=hint).kind
    except LorasealError:
        return replace(product, doubt="its header cannot be read: it may be an adapter")
    if kind == kinds.ADAPTER:
        return None
    expected = _EXPECTED.get(product.category)
    if expected is not None and kind not in expected:
        return replace(product, doubt="its header does not say what its name says")
    return product
