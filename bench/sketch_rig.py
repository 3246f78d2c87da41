"""Adapters as factors, what is done to them, and the exact cosine of their updates.

An adapter is a mapping of module name to (up, down), float32, scale 1. Every sketch is made from the bytes of a
real file of it, as for a user.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import torch

from bench.spectra import FAMILIES, shapes
from registry.artifacts.notes import PayloadForm
from registry.fingerprints.parts import CanonicalPart
from registry.fingerprints.sketching import make_sketch
from registry.formats.safetensors import dump_header, lay_out
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registry.fingerprints.sketch import Sketch
    from registry.updates.files import Payload

Adapter: TypeAlias = dict[str, tuple[torch.Tensor, torch.Tensor]]
KEY = b"key of the bench, 32 bytes long."
# Values that fall by this factor over 32: the resize rows of published measurements (.985, .910, .761) come out
# with it, so that the other rows can be held against theirs.
CONDITION = 29
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_FLUX_SQUARE, _FLUX_TEXT = 3072, 12288


def widths(family: str) -> list[tuple[int, int]]:
    """Outputs and inputs of every module; Flux as diffusers names it, q, k and v apart."""
    if family in FAMILIES:
        return shapes(family)
    square, wide = (_FLUX_SQUARE, _FLUX_SQUARE), (_FLUX_TEXT, _FLUX_SQUARE)
    double = [square] * 8 + [wide, wide[::-1]] * 2 + [(18432, _FLUX_SQUARE)] * 2
    single = [square] * 3 + [wide, (_FLUX_SQUARE, 15360), (9216, _FLUX_SQUARE)]
    return 19 * double + 38 * single


def random_adapter(seed: int, sizes: Iterable[tuple[int, int]], rank: int) -> Adapter:
    """Singular values fall by a factor of 100, as those of trained adapters do."""
    source = torch.Generator().manual_seed(seed)
    decay = torch.logspace(0, -math.log10(CONDITION), rank)
    return {
        f"lora_unet_m_{number}": (
            torch.randn(outputs, rank, generator=source) * decay * outputs**-0.5,
            torch.randn(rank, inputs, generator=source) * inputs**-0.5,
        )
        for number, (outputs, inputs) in enumerate(sizes)
    }


def read(adapter: Adapter, dtype: str = "F32") -> Payload:
    """The adapter as the payload of a kohya file."""
    tensors = {}
    for name, (up, down) in adapter.items():
        tensors[f"{name}.lora_up.weight"] = up.to(DTYPES[dtype])
        tensors[f"{name}.lora_down.weight"] = down.to(DTYPES[dtype])
    rows = lay_out((name, dtype, tuple(value.shape)) for name, value in tensors.items())
    data = bytearray(dump_header(rows, ()))
    for row in rows:
        data += tensors[row.name].contiguous().view(torch.uint8).numpy().tobytes()
    return read_payload(memoryview(data), PayloadForm.RAW, "adapter.safetensors")


def sketch(payload: Payload) -> Sketch:
    """The sketch, with the modules' own names as canonical ones."""
    parts = tuple((CanonicalPart(located.module.name, ""),) for located in payload.modules)
    return make_sketch(payload, parts, KEY)


def sketch_adapter(adapter: Adapter, dtype: str = "F32") -> Sketch:
    """The sketch of the adapter's file."""
    return sketch(read(adapter, dtype))


def exact_cosine(first: Adapter, second: Adapter) -> float:
    """Cosine of the updates over the modules of either, float64; no update is formed."""

    def product(one: Adapter, other: Adapter) -> float:
        total = 0.0
        for name in one.keys() & other.keys():
            (up, down), (up_2, down_2) = one[name], other[name]
            ups, downs = up.double().T @ up_2.double(), down.double() @ down_2.double().T
            total += float((ups * downs).sum())
        return total

    return product(first, second) / math.sqrt(product(first, first) * product(second, second))


def changed(adapter: Adapter, change: Callable[[torch.Tensor], torch.Tensor]) -> Adapter:
    """Every factor put through `change`."""
    return {name: (change(up), change(down)) for name, (up, down) in adapter.items()}


def refactored(adapter: Adapter, seed: int = 5) -> Adapter:
    """B R and inv(R) A with another R, of condition 10, for every module."""
    source = torch.Generator().manual_seed(seed)
    found = {}
    for name, (up, down) in adapter.items():
        rank = up.shape[1]
        turn = torch.linalg.qr(torch.randn(rank, rank, generator=source)).Q
        turn = turn * torch.logspace(-0.5, 0.5, rank)
        found[name] = (up @ turn, torch.linalg.solve(turn.double(), down.double()).float())
    return found


def resized(adapter: Adapter, rank: int) -> Adapter:
    """The best approximation of this rank, as resize scripts make it."""
    found = {}
    for name, (up, down) in adapter.items():
        left, core_left = torch.linalg.qr(up.double())
        right, core_right = torch.linalg.qr(down.double().T)
        u, s, v = torch.linalg.svd(core_left @ core_right.T)
        root = s[:rank].sqrt()
        found[name] = (
            (left @ u[:, :rank] * root).float(),
            ((right @ v[:rank].T * root).T).float(),
        )
    return found


def pruned(adapter: Adapter, share: float) -> Adapter:
    """The smallest values of every factor set to zero."""

    def cut(factor: torch.Tensor) -> torch.Tensor:
        limit = factor.abs().ravel().kthvalue(max(1, int(share * factor.numel()))).values
        return torch.where(factor.abs() > limit, factor, 0)

    return changed(adapter, cut)


def int8_rows(factor: torch.Tensor) -> torch.Tensor:
    """Rounded to 255 steps of each row's largest value."""
    step = factor.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    return (factor / step).round() * step


def fp8(factor: torch.Tensor) -> torch.Tensor:
    """Rounded to float8_e4m3 after scaling to its range."""
    step = factor.abs().max().clamp_min(1e-12) / 448
    return (factor / step).to(torch.float8_e4m3fn).float() * step


def merged(parts: Iterable[tuple[float, Adapter]]) -> Adapter:
    """The weighted sum, its factors concatenated."""
    found: Adapter = {}
    for weight, adapter in parts:
        for name, (up, down) in adapter.items():
            one = (weight * up, down)
            if name in found:
                one = (torch.cat([found[name][0], one[0]], 1), torch.cat([found[name][1], down]))
            found[name] = one
    return found


def trained_on(adapter: Adapter, share: float, seed: int = 6) -> Adapter:
    """A random update of the same rank and `share` of the norm on top, module by module."""
    source = torch.Generator().manual_seed(seed)
    noise = {}
    for name, (up, down) in adapter.items():
        other = torch.randn(up.shape, generator=source), torch.randn(down.shape, generator=source)
        size = _norm(up, down) / _norm(*other)
        noise[name] = (other[0] * size, other[1])
    return merged([(1.0, adapter), (share, noise)])


def _norm(up: torch.Tensor, down: torch.Tensor) -> float:
    grams = (up.double().T @ up.double()) * (down.double() @ down.double().T)
    return float(grams.sum().clamp_min(0)) ** 0.5
