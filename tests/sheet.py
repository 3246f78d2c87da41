"""The fixture sheet of real adapters (../shared/data/adapters.json), expanded to headers only."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.formats.safetensors import SafetensorsHeader, dump_header, lay_out, parse_header

_SHEET = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "adapters.json"


@functools.cache
def sheet() -> dict[str, Any]:
    """Return the whole sheet, {} where it is not beside this checkout."""
    return json.loads(_SHEET.read_text()) if _SHEET.is_file() else {}


def rows(kind: str) -> list[dict[str, Any]]:
    """Return the rows of one table of the sheet (`adapters`, `negatives`, `broken_files`)."""
    return sheet().get(kind, [])


def tensors_of(fixture: dict[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, dtype and shape of every tensor of an adapter of the sheet."""
    for group in fixture["module_groups"]:
        for index in _indices(group):
            base = group["template"].format(*index)
            for suffix, shape in group["tensors"].items():
                name = f"{base}.{suffix}" if suffix else base
                yield name, _dtype(fixture, suffix, name), tuple(shape)


def _indices(group: dict[str, Any]) -> list[tuple[int, ...]]:
    if "ranges" not in group:
        return [tuple(index) for index in group["indices"]]
    axes = [
        axis["values"] if isinstance(axis, dict) else range(axis[0], axis[1] + 1)
        for axis in group["ranges"]
    ]
    return list(itertools.product(*axes))


def _dtype(fixture: dict[str, Any], suffix: str, name: str) -> str:
    for pattern, dtype in fixture.get("dtype_overrides", {}).items():
        if re.search(pattern, name):
            return str(dtype)
    return str(fixture["alpha_dtype"] if suffix == "alpha" else fixture["dtype"])


def header_bytes(fixture: dict[str, Any], *, metadata: bool = True) -> bytes:
    """Return the header of an adapter of the sheet, as the official writer would lay it out."""
    pairs = fixture["metadata"].items() if metadata else ()
    return dump_header(lay_out(tensors_of(fixture)), pairs)


def header(fixture: dict[str, Any], *, metadata: bool = True) -> SafetensorsHeader:
    """Return `header_bytes`, parsed."""
    return parse_header(header_bytes(fixture, metadata=metadata), file_size=None)


def make_header(
    tensors: dict[str, tuple[int, ...]], *, dtype: str = "F16", **metadata: str
) -> SafetensorsHeader:
    """Return a header of these tensors (name to shape), all of one dtype."""
    found = lay_out((name, dtype, shape) for name, shape in tensors.items())
    return parse_header(dump_header(found, metadata.items()), file_size=None)
