"""A trainer's output: small adapters of every fate, each moved into the watched folder when whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registry.formats.safetensors import dump_header, lay_out
from tests.daemon.registry_on_disk import write_adapter

PEFT_CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 4,
    "target_modules": ["to_q"],
    "base_model_name_or_path": "studio/base",
}
PLAIN_BYTES = 48


@dataclass(frozen=True)
class Work:
    """One artifact: the name it is known by, what becomes of it, and its files as they were trained."""

    name: str
    outcome: str
    files: dict[str, bytes]

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(hashlib.sha256(data).hexdigest() for data in self.files.values())

    @property
    def plain(self) -> tuple[bytes, ...]:
        """Bytes from the middle of each tensor body, which nobody else may hold."""
        bodies = [data for name, data in self.files.items() if name.endswith(".safetensors")]
        return tuple(data[-4096:][:PLAIN_BYTES] for data in bodies)


def train(number: int, making: Path, watched: Path) -> Work:
    """Make artifact `number`: every ninth a PEFT directory, some with NaN or with dead modules."""
    making.mkdir(exist_ok=True)
    fate = {11: "rejected", 43: "rejected", 14: "held", 59: "held"}.get(number % 100, "released")
    if number % 9 == 4:
        name, fate = f"wave-{number:03}-peft", "released"
        return _move(_peft(making / name), watched, fate)
    name = f"wave-{number:03}.safetensors"
    dead, nan = (2 if fate == "held" else 0), fate == "rejected"
    return _move(write_adapter(making / name, dead=dead, nan=nan), watched, fate)


def _move(made: Path, watched: Path, outcome: str) -> Work:
    paths = sorted(made.iterdir()) if made.is_dir() else [made]
    work = Work(made.name, outcome, {path.name: path.read_bytes() for path in paths})
    made.rename(watched / made.name)
    return work


def _peft(folder: Path) -> Path:
    folder.mkdir()
    rank, width = 4, 16
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(10):
        base = f"base_model.model.down_blocks.0.attentions.0.transformer_blocks.{number}.attn1.to_q"
        entries.append((f"{base}.lora_A.weight", "F32", (rank, width)))
        entries.append((f"{base}.lora_B.weight", "F32", (width, rank)))
    tensors = lay_out(entries)
    seed = int.from_bytes(hashlib.sha256(folder.name.encode()).digest()[:8], "little")
    generator = np.random.Generator(np.random.PCG64(seed))
    with (folder / "adapter_model.safetensors").open("wb") as sink:
        sink.write(dump_header(tensors, ()))
        for tensor in tensors:
            values = generator.standard_normal(int(np.prod(tensor.shape)), dtype=np.float32)
            sink.write((values * 0.02).astype("<f4").tobytes())
    (folder / "adapter_config.json").write_text(json.dumps(PEFT_CONFIG))
    return folder
