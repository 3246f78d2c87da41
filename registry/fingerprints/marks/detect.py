"""Find a recipient's mark in a file that turned up, with the original from the vault at hand.

What a suspect keeps of the original's directions is computed once (`compare`), then weighed against the
seed of each recipient (`weigh`). Per module, with the original's U, s, V and the suspect's update X:

- spread spectrum: C = U.T X V without its diagonal, each entry weighted by how clean it is (`weighting.py`),
  scaled to one; its inner product with the chips, times the root of their number;
- gauge: diag(s)^-1/2 U.T up' is Q where the suspect still has the stored factors; its inner product with Q.

The sum over modules is z. Chips and rotations of a recipient whose copy was not used are independent of
the suspect, whatever was done to it, so z is then distributed like N(0, 1) however C looks: the chips
are random, not the weights. What may be wrong with a suspect (other rank, scale, names, half of the modules, a
merge) can only lower the z of who is guilty.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.fingerprints.marks.basis import ModuleBasis, study
from registry.fingerprints.marks.chips import chips, rotations
from registry.fingerprints.marks.pieces import Parts, Pieces, own_parts
from registry.fingerprints.marks.weighting import weighted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.fingerprints.marks.basis import Studied
    from registry.updates.files import Payload

# A merge by concatenation puts the original's rank anywhere among those of the others.
_MOST_WINDOWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class RankEvidence:
    """All compared modules of one rank r. `seen` (modules, r, r) has squared norm `chips` each, zero elsewhere.

    `carries` (modules, r, r) is 1 where a chip is. `turned` (modules, windows, r, r) holds what may be Q, its rows
    beyond the strong directions zero; its squared norm is the number of those, or 0 without evidence.
    """

    rank: int
    keys: tuple[tuple[str, int], ...]
    seen: torch.Tensor
    carries: torch.Tensor
    turned: torch.Tensor
    turns: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a suspect shows of the original's directions; no seed is in it. `modules` were compared of `of`."""

    groups: tuple[RankEvidence, ...]
    modules: int
    of: int
    chips: int
    turns: int

    @property
    def tests(self) -> int:
        """Return how many z one seed is given: one by the spread mark, one per window by the gauge."""
        return 1 + max((group.turned.shape[1] for group in self.groups), default=0)


@dataclass(frozen=True, slots=True)
class Detection:
    """How well one seed explains a suspect.

    `spread_z` and `gauge_z` are like N(0, 1) each for a recipient whose copy was not used, but `gauge_z` is the
    largest of `tests` - 1. `gauge_correlation` is 1 where the factors are as delivered. `chips` and
    `turns` are what was there to compare: the square of the largest z that was possible.
    """

    spread_z: float
    gauge_z: float
    gauge_correlation: float
    modules: int
    chips: int
    turns: int
    tests: int

    @property
    def z(self) -> float:
        """Return the larger z; a threshold for it must count `tests` for each recipient."""
        return max(self.spread_z, self.gauge_z)


def detect(original: Payload, suspect: Payload, seed: bytes, parts: Parts = own_parts) -> Detection:
    """Return how well the mark of `seed` explains `suspect`; see `compare` and `weigh`."""
    return weigh(compare(study(original), suspect, parts), seed)


def compare(bases: Iterable[Studied], suspect: Payload, parts: Parts = own_parts) -> Evidence:
    """Return what `suspect` shows of the directions in `bases`, those of the original.

    `parts` gives the canonical parts of a module, by which modules of the two files are matched. A module
    of the suspect that is missing, of another method or shape, or not finite gives no evidence.
    """
    pieces = Pieces(suspect, parts)
    groups: dict[int, list[_Compared]] = defaultdict(list)
    total = 0
    for basis in bases:
        if not isinstance(basis, ModuleBasis):
            continue
        total += 1
        compared = _compare(basis, pieces)
        if compared is not None:
            groups[basis.rank].append(compared)
    gathered = tuple(_gather(rank, group) for rank, group in sorted(groups.items()))
    return Evidence(
        groups=gathered,
        modules=sum(len(group.keys) for group in gathered),
        of=total,
        chips=sum(int(group.carries.sum()) for group in gathered),
        turns=sum(int(group.turns.sum()) for group in gathered),
    )


def weigh(evidence: Evidence, seed: bytes) -> Detection:
    """Return how well the mark of `seed` explains `evidence`."""
    spread = gauge = matched = 0.0
    windows = torch.zeros(max(1, evidence.tests - 1), dtype=torch.float64)
    for group in evidence.groups:
        drawn = chips(seed, group.keys, group.rank) * group.carries
        norms = drawn.square().sum((1, 2)).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        counts = group.carries.sum((1, 2))
        spread += float((counts.sqrt() * (group.seen * drawn).sum((1, 2)) / norms).sum())
        turned = rotations(seed, group.keys, group.rank)
        sums = (group.turned * turned[:, None]).sum((0, 2, 3)) * group.rank
        windows += torch.cat([sums, sums[-1:].expand(len(windows) - len(sums))])
        matched += float(group.turned[:, 0].square().sum() * group.rank)
    gauge = float(windows.max())
    return Detection(
        spread_z=spread / math.sqrt(evidence.chips) if evidence.chips else 0.0,
        gauge_z=gauge / math.sqrt(evidence.turns) if evidence.turns else 0.0,
        gauge_correlation=gauge / matched if matched else 0.0,
        modules=evidence.modules,
        chips=evidence.chips,
        turns=evidence.turns,
        tests=evidence.tests,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """One module: see `RankEvidence`; `windows` (windows, directions, r)."""

    basis: ModuleBasis
    seen: torch.Tensor
    windows: torch.Tensor


def _compare(basis: ModuleBasis, pieces: Pieces) -> _Compared | None:
    found = pieces.see(basis)
    if found is None:
        return None
    seen = weighted(found.core, basis)
    windows = torch.empty(0, basis.directions, basis.rank, dtype=torch.float64)
    if found.gauge is not None:
        windows = _windows(found.gauge, basis)
    return _Compared(basis, seen, windows)


def _windows(gauge: torch.Tensor, basis: ModuleBasis) -> torch.Tensor:
    """Return what may be Q (windows, d, r): every run of r columns that a concatenation may have left."""
    count, rank = basis.directions, basis.rank
    last = gauge.shape[1] - rank
    if last < 0:
        return torch.empty(0, count, rank, dtype=torch.float64)
    starts = sorted({*list(range(0, last + 1, rank))[: _MOST_WINDOWS - 1], last})
    white = gauge[:count] / basis.values[:count, None].sqrt()
    found = torch.stack([white[:, start : start + rank] for start in starts])
    norms = found.square().sum((1, 2), keepdim=True).sqrt()
    scaled = found * (math.sqrt(count) / norms)
    return torch.where(norms > 0, scaled, 0).cpu()


def _gather(rank: int, group: list[_Compared]) -> RankEvidence:
    """Put the modules of one rank into tensors, padded to (rank, rank)."""
    most = max(1, *(len(one.windows) for one in group))
    seen = torch.zeros(len(group), rank, rank, dtype=torch.float64)
    carries, turned = torch.zeros_like(seen), seen[:, None].repeat(1, most, 1, 1)
    turns = torch.zeros(len(group), dtype=torch.float64)
    for number, one in enumerate(group):
        count = one.basis.directions
        seen[number, :count, :count] = one.seen
        if bool(one.seen.any()):
            carries[number, :count, :count] = 1 - torch.eye(count)
        if len(one.windows):
            # A module that was not merged has one window: it counts with each of the others.
            padded = torch.cat(
                [one.windows, one.windows[-1:].expand(most - len(one.windows), -1, -1)]
            )
            turned[number, :, :count] = padded
            turns[number] = one.basis.turns
    keys = tuple(one.basis.key for one in group)
    return RankEvidence(rank, keys, seen, carries, turned, turns)
