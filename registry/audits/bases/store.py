"""Where caches of base models lie: `<state>/bases/NAME.safetensors`, one for each name. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.reading import open_source
from registry.audits.bases.cache import facts_in, read_cache_header
from registry.durable import remove_durably
from registry.errors import FormatError, NotFoundError, UsageError, naming

if TYPE_CHECKING:
    from pathlib import Path

    from registry.audits.bases.cache import BaseFacts

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class StoredBase:
    """One cache: its name, size in bytes, and what it says of itself; None where it is unreadable."""

    name: str
    size: int
    facts: BaseFacts | None


def base_path(folder: Path, name: str) -> Path:
    """Return where the cache called `name` lies or would lie.

    Raises:
        UsageError: the name is no plain one (a-z, 0-9, dot, dash, underscore inside): it becomes a file's.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"base name {name!r} is not like sd15 or flux1-dev",
            hint="use a-z and 0-9, with . - _ inside, at most 64 characters",
        )
    return folder / f"{name}{SUFFIX}"


def find_base(folder: Path, name: str) -> Path:
    """Return the file of the cache called `name`.

    Raises:
        NotFoundError: there is none.
        UsageError: the name is no plain one.
    """
    path = base_path(folder, name)
    if not path.is_file():
        raise NotFoundError(
            f"no base is called {name!r}",
            hint="see them with: loraseal base list; add one: base add",
        )
    return path


def list_bases(folder: Path) -> tuple[StoredBase, ...]:
    """Return every cache in `folder`, by name; none where the folder does not exist."""
    if not folder.is_dir():
        return ()
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    return tuple(_stored(path) for path in paths if not path.name.startswith("."))


def remove_base(folder: Path, name: str) -> int:
    """Remove the cache called `name` and return its size in bytes.

    Raises:
        NotFoundError: there is none.
        UsageError: the name is no plain one.
    """
    path = find_base(folder, name)
    size = path.stat().st_size
    remove_durably(path)
    return size


def read_facts(path: Path) -> BaseFacts:
    """Return what the cache at `path` says of itself; its header only is read.

    Raises:
        FormatError: it is no cache, or cut off.
        LorasealError: not there, unreadable, a link.
    """
    with naming(path), open_source(path) as source:
        return facts_in(read_cache_header(source.read_at, source.size))


def _stored(path: Path) -> StoredBase:
    try:
        facts = read_facts(path)
    except FormatError:
        facts = None
    return StoredBase(path.name.removesuffix(SUFFIX), path.stat().st_size, facts)
