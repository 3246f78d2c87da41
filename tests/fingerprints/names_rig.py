"""Header-level adapters by name, and their canonical parts, for the tests of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry.artifacts.classifying.modules import AdapterModule, pair_modules
from registry.fingerprints.names import canonical_modules
from registry.fingerprints.parts import CanonicalPart
from tests.sheet import make_header

Widths = tuple[int, int]
RANK = 2
NATIVE = "diffusion_model."


def modules_of(
    layers: Mapping[str, Widths] | Iterable[str], *, rank: int = 2
) -> tuple[AdapterModule, ...]:
    """Return LoRA modules of these names; widths are (outputs, inputs), 8 and 8 if none are given."""
    sizes = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, (8, 8))
    tensors: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in sizes.items():
        tensors[f"{name}.lora_down.weight"] = (rank, inputs)
        tensors[f"{name}.lora_up.weight"] = (outputs, rank)
    return pair_modules(make_header(tensors))


def parts_by_name(
    layers: Mapping[str, Widths] | Iterable[str],
) -> dict[str, tuple[CanonicalPart, ...]]:
    """Return the parts of every module of one file by the module's own name."""
    modules = modules_of(layers)
    return {
        module.name: parts
        for module, parts in zip(modules, canonical_modules(modules), strict=True)
    }


def names_of(layers: Mapping[str, Widths] | Iterable[str]) -> dict[str, str]:
    """Return the one canonical name of every module; every module must have just one."""
    found = parts_by_name(layers)
    assert all(len(parts) == 1 for parts in found.values())
    return {name: parts[0].name for name, parts in found.items()}


def rows_by_name(parts: Iterable[CanonicalPart]) -> dict[str, range | None]:
    return {part.name: part.rows for part in parts}


def prefixed(layers: dict[str, tuple[int, int]], prefix: str) -> dict[str, tuple[int, int]]:
    flat = prefix.endswith("_")
    return {
        prefix + (name.replace(".", "_") if flat else name): widths
        for name, widths in layers.items()
    }


def lora_shapes(layers: dict[str, tuple[int, int]], style: str) -> dict[str, tuple[int, ...]]:
    down, up = ("lora_down", "lora_up") if style == "kohya" else ("lora_A", "lora_B")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in layers.items():
        shapes[f"{name}.{down}.weight"] = (RANK, inputs)
        shapes[f"{name}.{up}.weight"] = (outputs, RANK)
        if style == "kohya":
            shapes[f"{name}.alpha"] = ()
    return shapes
