"""Real adapter files for the demonstration and the benches, from recorded structures.

`fixtures/*.json` hold which tensors a full adapter of a kind has; the numbers inside are drawn from
SHAKE-256, so that every machine makes the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from registry.formats.safetensors import dump_header, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parent / "fixtures"
SCALE = 0.02


def expand(fixture: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (name, dtype, shape) of every tensor of a recorded structure."""
    sheet = json.loads((FIXTURES / f"{fixture}.json").read_text("utf-8"))
    for group in sheet["groups"]:
        for indices in _indices(group):
            base = group["template"].format(*indices)
            for suffix, shape in group["tensors"].items():
                dtype = sheet["alpha_dtype"] if suffix == "alpha" else sheet["dtype"]
                yield f"{base}.{suffix}", dtype, tuple(shape)


def write_adapter(
    path: Path,
    fixture: str,
    *,
    alpha: float = 8.0,
    poison: str = "",
    metadata: dict[str, str] | None = None,
) -> int:
    """Write a full adapter to `path` and return its size in bytes.

    `poison` names a part of a tensor's name: the first tensor that has it gets one NaN.
    """
    tensors = lay_out(expand(fixture))
    poisoned = next((row.name for row in tensors if poison and poison in row.name), None)
    with path.open("wb") as sink:
        sink.write(dump_header(tensors, (metadata or {}).items()))
        for row in tensors:
            values = _values(row.name, row.shape, alpha)
            if row.name == poisoned:
                values[len(values) // 2] = np.nan
            sink.write(values.astype("<f2").tobytes())
        return sink.tell()


def _values(name: str, shape: tuple[int, ...], alpha: float) -> np.ndarray:
    if name.endswith(".alpha"):
        return np.full(1, alpha, dtype=np.float32)
    count = int(np.prod(shape))
    seed = struct.unpack("<Q", hashlib.shake_256(name.encode()).digest(8))[0]
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal(count, dtype=np.float32) * SCALE


def _indices(group: dict[str, object]) -> list[tuple[object, ...]]:
    if "indices" in group:
        return [tuple(row) for row in group["indices"]]  # type: ignore[attr-defined] # a JSON list
    axes = [
        row["values"] if isinstance(row, dict) else list(range(row[0], row[1] + 1))
        for row in group["ranges"]  # type: ignore[attr-defined] # a JSON list
    ]
    return list(itertools.product(*axes))
