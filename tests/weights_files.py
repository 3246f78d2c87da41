"""Small safetensors files for tests, always the same bytes for the same arguments."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from registry.formats.safetensors import dump_header, lay_out

METADATA = {"ss_network_dim": "4", "ss_output_name": "sample"}


def lora_bytes(
    modules: int = 3, *, rank: int = 4, width: int = 16, metadata: dict[str, str] | None = None
) -> bytes:
    """Return a kohya-shaped adapter: down, up and alpha for each module."""
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(modules):
        base = f"lora_unet_block_{number}"
        entries.append((f"{base}.lora_down.weight", "F16", (rank, width)))
        entries.append((f"{base}.lora_up.weight", "F16", (width, rank)))
        entries.append((f"{base}.alpha", "F32", ()))
    tensors = lay_out(entries)
    parts = [dump_header(tensors, (METADATA if metadata is None else metadata).items())]
    for tensor in tensors:
        size = tensor.end - tensor.start
        scalar = not tensor.shape
        filling = hashlib.shake_128(tensor.name.encode()).digest(size)
        parts.append(struct.pack("<f", float(rank)) if scalar else filling)
    return b"".join(parts)


def write_lora(path: Path, modules: int = 3, **arguments: int) -> Path:
    """Write `lora_bytes` to `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lora_bytes(modules, **arguments))
    return path
