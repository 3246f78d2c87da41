"""A manifest: relative path, size and sha256 of every file of one artifact. Its digest is the id.

Schema `loraseal/manifest.v1`, canonical JSON, entries sorted by path components.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from registry.limits import MANIFEST_ENTRIES, MANIFEST_PATH_CHARS

SCHEMA = "loraseal/manifest.v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file: its path inside the artifact (POSIX, NFC, no `..`), size in bytes, sha256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of one artifact, sorted by path components, each path once."""

    entries: tuple[ManifestEntry, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.entries) <= MANIFEST_ENTRIES:
            raise FormatError(
                f"manifest has {len(self.entries)} entries, expected 1 to {MANIFEST_ENTRIES}"
            )
        for entry in self.entries:
            _check_entry(entry)
        keys = [PurePosixPath(entry.path).parts for entry in self.entries]
        if any(first >= second for first, second in zip(keys, keys[1:], strict=False)):
            raise FormatError("manifest paths are not sorted, or one stands twice")

    @classmethod
    def of(cls, entries: list[ManifestEntry]) -> Self:
        """Return the manifest of `entries`, in any order."""
        return cls(tuple(sorted(entries, key=lambda entry: PurePosixPath(entry.path).parts)))

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Return the manifest in `value` (parsed JSON).

        Raises:
            FormatError: wrong schema, wrong types, unsafe or repeated paths.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise FormatError(f"manifest does not say {SCHEMA}")
        rows = value.get("entries")
        if not isinstance(rows, list):
            raise FormatError("manifest has no list of entries")
        return cls(tuple(_entry_from(row) for row in rows))

    def to_json(self) -> Json:
        """Return the manifest as JSON data."""
        rows: list[Json] = [
            {"path": entry.path, "size": entry.size, "sha256": entry.sha256}
            for entry in self.entries
        ]
        return {"schema": SCHEMA, "entries": rows}

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, whose sha256 is the artifact's id."""
        return dump_canonical(self.to_json())


def _entry_from(row: Json) -> ManifestEntry:
    if not isinstance(row, dict):
        raise FormatError("manifest entry is not an object")
    path, size, sha256 = row.get("path"), row.get("size"), row.get("sha256")
    if not isinstance(path, str) or not isinstance(size, int) or not isinstance(sha256, str):
        raise FormatError("manifest entry needs path, size and sha256")
    return ManifestEntry(path, size, sha256)


def _check_entry(entry: ManifestEntry) -> None:
    if isinstance(entry.size, bool) or entry.size < 0:
        raise FormatError("manifest entry has no valid size")
    if not _SHA256.fullmatch(entry.sha256):
        raise FormatError("manifest entry has no sha256 in lower-case hex")
    check_relative_path(entry.path)


def check_relative_path(path: str) -> None:
    """Refuse a path that could leave the artifact's folder or be read as two different names.

    Raises:
        FormatError: empty, absolute, `.`/`..`, backslash, control character, not NFC, too long.
    """
    parts = path.split("/")
    if not path or len(path) > MANIFEST_PATH_CHARS:
        raise FormatError(f"manifest path must have 1 to {MANIFEST_PATH_CHARS} characters")
    if any(part in ("", ".", "..") for part in parts):
        raise FormatError(f"manifest path {path!r} is not a plain relative path")
    if "\\" in path or any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        raise FormatError(f"manifest path {path!r} has a character that is not allowed")
    if unicodedata.normalize("NFC", path) != path:
        raise FormatError(f"manifest path {path!r} is not in Unicode form NFC")
