"""What is done to marked copies before they turn up: one function per attack, on factors of one module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

Factors: TypeAlias = tuple[torch.Tensor, torch.Tensor]
# Factors (m, r) and (r, n) of the marked copy, those of another adapter's module, and a source of noise.
Attack: TypeAlias = Callable[[Factors, Factors, torch.Generator], Factors]
# Cores (copies, k, k) of colluders in the directions of their mean, to one core.
Collusion: TypeAlias = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def cast(dtype: torch.dtype) -> Attack:
    """Store both factors as `dtype`."""
    return lambda mine, _other, _source: (mine[0].to(dtype).double(), mine[1].to(dtype).double())


def int8_rows(mine: Factors, _other: Factors, _source: torch.Generator) -> Factors:
    """Round each row to 8 bits of its own scale."""
    up, down = (_quantised(factor, factor.abs().amax(1, keepdim=True) / 127) for factor in mine)
    return up, down


def _quantised(factor: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    step = step.clamp_min(1e-30)
    return (factor / step).round() * step


def fp8(mine: Factors, _other: Factors, _source: torch.Generator) -> Factors:
    """Store as fp8 e4m3 with one scale per factor, as those writers do that keep the function."""
    up, down = (_as_fp8(factor, float(factor.abs().max()) / 448) for factor in mine)
    return up, down


def _as_fp8(factor: torch.Tensor, scale: float) -> torch.Tensor:
    return (factor / scale).float().to(torch.float8_e4m3fn).double() * scale


def refactor(mine: Factors, _other: Factors, source: torch.Generator) -> Factors:
    """Put a random basis between the factors."""
    rank = mine[1].shape[0]
    mix = torch.randn(rank, rank, generator=source, dtype=torch.float64)
    return mine[0] @ mix, torch.linalg.solve(mix, mine[1])


def rescale(mine: Factors, _other: Factors, _source: torch.Generator) -> Factors:
    """Fold 0.7 into the update."""
    return mine[0] * 0.7, mine[1]


def resize(part: int) -> Attack:
    """Keep the strongest 1/part of the directions."""

    def attack(mine: Factors, _other: Factors, _source: torch.Generator) -> Factors:
        left, values, right = decompose(mine)
        rank = max(1, len(values) // part)
        return left[:, :rank] * values[:rank], right[:rank]

    return attack


def prune(part: float) -> Attack:
    """Set the smallest entries of both factors to zero."""

    def attack(mine: Factors, _other: Factors, _source: torch.Generator) -> Factors:
        up, down = (_pruned(factor, part) for factor in mine)
        return up, down

    return attack


def _pruned(factor: torch.Tensor, part: float) -> torch.Tensor:
    bound = factor.abs().flatten().kthvalue(max(1, int(part * factor.numel()))).values
    return factor * (factor.abs() > bound)


def merge(weight: float) -> Attack:
    """Concatenate ranks with another adapter, whose update is brought to the same norm."""

    def attack(mine: Factors, other: Factors, _source: torch.Generator) -> Factors:
        balance = norm(mine) / max(norm(other), 1e-30) * (1 - weight) / weight
        return torch.cat([mine[0], other[0] * balance], 1), torch.cat([mine[1], other[1]])

    return attack


def fine_tune(part: float) -> Attack:
    """Add a random update of the same rank and `part` of the norm."""

    def attack(mine: Factors, _other: Factors, source: torch.Generator) -> Factors:
        up = torch.randn(mine[0].shape, generator=source, dtype=torch.float64)
        down = torch.randn(mine[1].shape, generator=source, dtype=torch.float64)
        balance = part * norm(mine) / norm((up, down))
        return torch.cat([mine[0], up * balance], 1), torch.cat([mine[1], down])

    return attack


def core_noise(part: float) -> Attack:
    """Noise in the copy's own singular directions: what a thief does who knows the scheme."""

    def attack(mine: Factors, _other: Factors, source: torch.Generator) -> Factors:
        left, values, right = decompose(mine)
        noise = torch.randn(len(values), len(values), generator=source, dtype=torch.float64)
        core = values.diag() + noise * (part * values.norm() / noise.norm())
        return left @ core, right

    return attack


ATTACKS: dict[str, Attack] = {
    "fp16": cast(torch.float16),
    "bf16": cast(torch.bfloat16),
    "int8 per row": int8_rows,
    "fp8 e4m3": fp8,
    "refactored": refactor,
    "alpha x 0.7": rescale,
    "rank / 2": resize(2),
    "rank / 4": resize(4),
    "pruned 30 %": prune(0.3),
    "pruned 50 %": prune(0.5),
    "merge .5/.5": merge(0.5),
    "merge .3/.7": merge(0.3),
    "fine-tune noise 30 %": fine_tune(0.3),
    "core noise 1 %": core_noise(0.01),
    "core noise 3 %": core_noise(0.03),
    "core noise 10 %": core_noise(0.1),
    "core noise 30 %": core_noise(0.3),
}


def _random_of_copies(cores: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    chosen = torch.randint(len(cores), cores.shape[1:], generator=source)
    return cores.gather(0, chosen[None])[0]


def _least_or_most(cores: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    coin = torch.rand(cores.shape[1:], generator=source) < 0.5
    return torch.where(coin, cores.amin(0), cores.amax(0))


COLLUSIONS: dict[str, Collusion] = {
    "mean": lambda cores, _source: cores.mean(0),
    "median (majority vote)": lambda cores, _source: cores.quantile(0.5, dim=0),
    "midrange": lambda cores, _source: (cores.amin(0) + cores.amax(0)) / 2,
    "minimum": lambda cores, _source: cores.amin(0),
    "min or max by a coin": _least_or_most,
    "one copy's entry by lot": _random_of_copies,
    "min + max - median": lambda cores, _source: (
        cores.amin(0) + cores.amax(0) - cores.quantile(0.5, dim=0)
    ),
}


def collude(copies: Sequence[Factors], rule: Collusion, source: torch.Generator) -> Factors:
    """Compare copies entry by entry in the singular directions of their mean, and mix by `rule`."""
    count = len(copies)
    mean = torch.cat([up for up, _ in copies], 1) / count, torch.cat([down for _, down in copies])
    left, _, right = decompose(mean)
    rank = copies[0][1].shape[0]
    left, right = left[:, :rank], right[:rank]
    cores = torch.stack([(left.T @ up) @ (down @ right.T) for up, down in copies])
    return left @ rule(cores, source), right


def decompose(factors: Factors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the thin singular value decomposition of up @ down."""
    across, inner = torch.linalg.qr(factors[0])
    along, outer = torch.linalg.qr(factors[1].T)
    left, values, right = torch.linalg.svd(inner @ outer.T, full_matrices=False)
    return across @ left, values, right @ along.T


def norm(factors: Factors) -> float:
    """Return the Frobenius norm of up @ down."""
    up, down = factors
    return float(((up.T @ up) * (down @ down.T)).sum().clamp_min(0).sqrt())
