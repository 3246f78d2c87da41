"""A real registry in a temporary folder, and small adapters that pass or fail its audits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from daemon.cli.root import loraseal
from registry.formats.safetensors import dump_header, lay_out


@dataclass(frozen=True)
class Registry:
    """Where things are; `run` calls the command line in this process."""

    home: Path

    @property
    def settings(self) -> Path:
        return self.home / "loraseal.toml"

    @property
    def watched(self) -> Path:
        return self.home / "out"

    @property
    def stick(self) -> Path:
        return self.home / "stick"

    @property
    def alice(self) -> Path:
        return self.home / "alice"

    def run(self, *arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(loraseal, [str(item) for item in arguments])
        assert result.exit_code == code, (arguments, result.output, result.exception)
        return result


def make_registry(home: Path, *, extra: str = "", route: bool = True) -> Registry:
    """Initialise a registry with one enrolled recipient and an air-gap folder."""
    registry = Registry(home)
    for folder in (registry.watched, registry.stick):
        folder.mkdir(parents=True)
    registry.run(
        *("init", "--yes", "--registry", "test.studio", "--state", home / "state"),
        *("--watch", registry.watched, "--folder", registry.stick, "--config", registry.settings),
    )
    text = registry.settings.read_text().replace("settle_seconds = 2.0", "settle_seconds = 0.1")
    if route:
        text += '\n[[route]]\nto = "Alice"\nchannel = "folder"\n'
    registry.settings.write_text(text + extra)
    enrolment = home / "alice.enrol"
    registry.run("enrol", "--name", "Alice", "--home", registry.alice, "-o", enrolment)
    registry.run("recipient", "add", "Alice", enrolment, "--yes", "--config", registry.settings)
    return registry


def write_adapter(
    path: Path,
    *,
    seed: str = "",
    modules: int = 10,
    dead: int = 0,
    nan: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a kohya-shaped adapter of plausible numbers, under its name only when it is whole."""
    rank, width = 4, 16
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(modules):
        base = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_{number}_attn1_to_q"
        entries.append((f"{base}.lora_down.weight", "F32", (rank, width)))
        entries.append((f"{base}.lora_up.weight", "F32", (width, rank)))
        entries.append((f"{base}.alpha", "F32", ()))
    tensors = lay_out(entries)
    part = path.with_name(f".tmp{path.stem[-6:]}")
    with part.open("wb") as sink:
        said = {"ss_network_dim": str(rank), **(metadata or {})}
        sink.write(dump_header(tensors, said.items()))
        for tensor in tensors:
            values = _values(seed + path.name, tensor.name, tensor.shape, rank)
            number = int(tensor.name.split("transformer_blocks_")[1].split("_")[0])
            if number < dead and "lora_up" in tensor.name:
                values[:] = 0
            if nan and number == 0 and "lora_up" in tensor.name:
                values[3] = np.nan
            sink.write(values.astype("<f4").tobytes())
    part.rename(path)
    return path


def _values(seed: str, name: str, shape: tuple[int, ...], rank: int) -> np.ndarray:
    if name.endswith(".alpha"):
        return np.full(1, float(rank), np.float32)
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    return generator.standard_normal(int(np.prod(shape)), dtype=np.float32) * 0.02
