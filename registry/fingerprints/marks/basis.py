"""The singular directions of every module that can bear a mark, from the original's own bytes.

Embedding and detection both start here, so both see the same directions: float64, values descending,
and of each pair of directions the sign that makes the largest entry of the left one positive.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.errors import FormatError
from registry.updates.factors import LowRank, update_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.updates.files import LocatedModule, Payload

# Directions weaker than this part of the strongest carry no chips: rounding alone would drown them.
FLOOR = 1e-3
MOST_RANK = 1024
_LEAST_DIRECTIONS = 2
_ROLES = frozenset({"down", "up", "alpha", "scalar", "up_bias", "magnitude"})
_DTYPES = frozenset({"F16", "BF16", "F32", "F64"})


@dataclass(frozen=True, slots=True, eq=False)
class ModuleBasis:
    """One module's update, unscaled, as left @ diag(values) @ right.T; all float64.

    Shapes: `left` (m, k), `values` (k,) descending, `right` (n, k), with k = min(m, rank, n). `directions`
    is how many of the k are strong enough to carry chips. `ratio` is the root of the norm of the stored
    up factor over that of the stored down factor. `gauge` (k, rank) is the stored up factor seen from the left:
    left.T @ up. `takes_spread` is False for DoRA: what a changed direction does to the layer cannot be
    measured without the base weights.
    """

    located: LocatedModule
    occurrence: int
    rank: int
    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor
    directions: int
    ratio: float
    gauge: torch.Tensor
    takes_spread: bool

    @property
    def key(self) -> tuple[str, int]:
        """Return the name and occurrence that chips and rotations are drawn for."""
        return self.located.module.name, self.occurrence

    @property
    def chips(self) -> int:
        """Return how many chips the module carries: pairs of two different strong directions."""
        return self.directions * (self.directions - 1) if self.takes_spread else 0

    @property
    def turns(self) -> int:
        """Return how many numbers of the rotation can be read back."""
        return self.directions * self.rank


@dataclass(frozen=True, slots=True)
class Left:
    """A module that bears no mark and stays as it is, and why; `reason` names no name."""

    reason: str


Studied: TypeAlias = ModuleBasis | Left


def study(payload: Payload, device: str = "cpu") -> Iterator[Studied]:
    """Yield the basis of every module of `payload`, in order, or why it has none.

    Lazy: the bases of a whole adapter in float64 are several times its file.
    """
    seen: Counter[str] = Counter()
    for located in payload.modules:
        name = located.module.name
        yield study_module(located, seen[name], device)
        seen[name] += 1


def study_module(located: LocatedModule, occurrence: int, device: str) -> Studied:
    """Return the basis of one module, or why it cannot bear a mark."""
    reason = _objection(located)
    if reason:
        return Left(reason)
    try:
        update = update_of(located)
        if not isinstance(update, LowRank):
            return Left("method without low-rank factors")
        return _decompose(located, occurrence, update, device)
    except FormatError:
        return Left("its factors do not fit together")
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # torch's own stubs leave it out
        return Left("its update cannot be decomposed")


def _objection(located: LocatedModule) -> str:
    """Return what the header alone says against a mark, or ""."""
    module = located.module
    if module.faults:
        return "its factors do not fit together"
    if module.method not in {"lora", "dora"}:
        return f"method {module.method}"
    roles = dict(module.tensors)
    if not {"down", "up"} <= roles.keys():
        return "its factors are stored in another form"
    others = roles.keys() - _ROLES
    if others:
        return f"{min(others)} beside its factors"
    return _objection_to_numbers(located, {roles[role].dtype for role in ("down", "up")})


def _objection_to_numbers(located: LocatedModule, dtypes: set[str]) -> str:
    rank = located.module.rank
    if dtypes - _DTYPES:
        return f"stored as {min(dtypes - _DTYPES)}"
    if not math.isfinite(located.factor) or located.factor == 0:
        return "its scale is 0 or no number"
    if rank is None or rank > MOST_RANK:
        return f"rank beyond {MOST_RANK}"
    return "rank 1" if rank < _LEAST_DIRECTIONS else ""


def _decompose(located: LocatedModule, occurrence: int, update: LowRank, device: str) -> Studied:
    up = update.up.to(device, torch.float64)
    down = update.down.to(device, torch.float64)
    norms = float(up.norm()), float(down.norm())
    if not all(math.isfinite(norm) for norm in norms):
        return Left("it is not finite")
    if 0 in norms:
        return Left("its update is zero")
    across, inner = torch.linalg.qr(up)
    along, outer = torch.linalg.qr(down.T)
    core_left, values, core_right = torch.linalg.svd(inner @ outer.T)
    count = len(values)
    core_left, core_right = core_left[:, :count], core_right[:count].T
    strongest = float(values[0])
    # Against the norms of the factors: what is left of two factors that cancel is rounding.
    if strongest <= torch.finfo(torch.float64).eps * norms[0] * norms[1]:
        return Left("its update is zero")
    directions = int((values >= FLOOR * strongest).sum())
    if directions < _LEAST_DIRECTIONS:
        return Left("its update has one direction only")
    left = across @ core_left
    signs = _signs(left)
    return ModuleBasis(
        located=located,
        occurrence=occurrence,
        rank=up.shape[1],
        left=left * signs,
        values=values,
        right=(along @ core_right) * signs,
        directions=directions,
        ratio=math.sqrt(norms[0] / norms[1]),
        gauge=(core_left * signs).T @ inner,
        takes_spread=located.module.method == "lora",
    )


def _signs(left: torch.Tensor) -> torch.Tensor:
    pivots = left.gather(0, left.abs().argmax(0, keepdim=True))[0]
    return torch.where(pivots < 0, -1.0, 1.0).to(left)
