"""What a header says of its base model, and the findings of `registry.artifacts.leaks` for its callers.

A leak names a key or a side file and why it matters; its value is never repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.leaks.folder import scan_folder
from registry.artifacts.leaks.header import (
    ADAPTER_METADATA,
    find_leaks,
    leaks_of_config,
    leaks_of_tensors,
)
from registry.artifacts.leaks.leak import Certainty, Leak, Sensitivity, sort_leaks
from registry.artifacts.leaks.paths import is_path
from registry.artifacts.leaks.scan import scan_text
from registry.artifacts.leaks.side_files import scan_side_file
from registry.artifacts.leaks.side_names import leaks_of_files
from registry.formats.adapter_config import parse_adapter_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.formats.adapter_config import AdapterConfig

__all__ = [
    "Certainty",
    "Leak",
    "Sensitivity",
    "base_model_of",
    "find_leaks",
    "is_path",
    "leaks_of_config",
    "leaks_of_files",
    "leaks_of_tensors",
    "scan_folder",
    "scan_side_file",
    "sort_leaks",
]


def base_model_of(metadata: Mapping[str, str], config: AdapterConfig | None) -> str | None:
    """Return what the base model is called, None if nothing says. A claim; a path loses its folders."""
    named = config.base_model_name_or_path if config is not None else None
    if named is None:
        named = metadata.get("ss_sd_model_name") or _named_in_header(metadata)
    if not named or named == "None":
        return None
    if is_path(named) or "\\" in named:
        named = named.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if not named.isprintable() or len(named) > _MOST_NAME_CHARS:
        return None
    # It is shown and kept as a name: a number or an address in its place is somebody's.
    return None if scan_text(named) else named


_MOST_NAME_CHARS = 200


def _named_in_header(metadata: Mapping[str, str]) -> str | None:
    if ADAPTER_METADATA not in metadata:
        return None
    configs = parse_adapter_metadata(metadata[ADAPTER_METADATA])
    names = [settings.base_model_name_or_path for _, settings in configs]
    return next((name for name in names if name), None)
