"""How far one row of features lies from a cohort: robust z by feature, and one distance by conformal rank.

The robust z is the difference from the median over 1.4826 MAD. The distance is Mahalanobis' in robustly
scaled features, with the covariance of the clipped rows shrunk towards a multiple of the identity
(Ledoit and Wolf 2004), since there are few rows and many features. Its threshold is no table's: every
row of the cohort is measured in turn against all the others and the adapter, so under exchangeability (the
adapter is drawn like its peers) P(p <= a) <= a exactly, whatever the distribution (Vovk et al. 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from registry.audits.cohorts.features import as_text
from registry.audits.cohorts.intervals import clopper_pearson
from registry.audits.context import PeerGroup
from registry.audits.details import CohortPosition, FeaturePosition

MIN_PEERS = 50
MAX_PEERS = 1000  # more rows cost time and say no more; the group's first ones count
Z_LIMIT = 6.0
Z_FEATURES = 3
P_LIMIT = 0.01
_MAD_TO_SIGMA = 1.4826
_MEAN_DEVIATION_TO_SIGMA = 1.2533
# Rows are kept with five digits: what differs less than that does not differ.
_RESOLUTION = 1e-4
_CLIP = 5.0
_CAP = 1e6
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an adapter stands. `z` belongs to `names`; `distance` is in the cohort's own units.

    `far` counts features with |z| > 6. `p_value` is (1 + peers at least as far out) / (peers + 1). `false_flags` of
    `peers` were flagged by the same two rules when each was measured against the others.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    medians: tuple[float, ...]
    z: tuple[float, ...]
    distance: float
    p_value: float
    peers: int
    false_flags: int

    @property
    def far(self) -> int:
        """How many features have |z| beyond the limit."""
        return sum(abs(value) > Z_LIMIT for value in self.z)

    @property
    def is_far_by_feature(self) -> bool:
        """Whether enough single features are far out."""
        return self.far >= Z_FEATURES

    @property
    def is_far_by_distance(self) -> bool:
        """Whether the row as a whole is further out than all but 1 % would be, or than every peer."""
        return self.p_value <= p_limit(self.peers)

    @property
    def false_rate(self) -> tuple[float, float]:
        """The 95 % interval of the rate at which these rules flag ordinary members of the cohort."""
        return clopper_pearson(self.false_flags, self.peers)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The features that adapter and cohort share, and those that only one of them has."""

    group: PeerGroup
    names: tuple[str, ...]
    values: tuple[float, ...]
    unshared: tuple[str, ...]


def p_limit(peers: int) -> float:
    """Return the p value up to which a distance is flagged: 1 %, and with few peers 1 / (peers + 1)."""
    return max(P_LIMIT, 1 / (peers + 1))


def compare(group: PeerGroup, features: tuple[tuple[str, float], ...]) -> Comparison:
    """Return what can be compared of `features` with `group`; peers beyond `MAX_PEERS` are dropped."""
    mine = dict(features)
    shared = tuple(name for name in group.names if name in mine)
    places = [group.names.index(name) for name in shared]
    rows = tuple(tuple(row[place] for place in places) for row in group.rows[:MAX_PEERS])
    unshared = tuple(sorted({*group.names, *mine} - {*shared}))
    kept = PeerGroup(group.label, shared, rows)
    # Rounded as the rows are, or the last digits would count as a difference.
    values = tuple(float(as_text(mine[name])) for name in shared)
    return Comparison(kept, shared, values, unshared)


def standing_of(comparison: Comparison) -> Standing:
    """Return where the adapter of `comparison` stands; at least two peers and one shared feature."""
    rows = torch.tensor(comparison.group.rows, dtype=torch.float64)
    own = torch.tensor([comparison.values], dtype=torch.float64)
    everyone = torch.cat([rows, own])
    centre, scale = robust_scale(rows)
    z = _z(own, centre, scale)[0]
    scores, flagged = _leave_one_out(everyone)
    own_score, peer_scores = scores[-1], scores[:-1]
    p_value = (1 + int((peer_scores >= own_score).sum())) / len(everyone)
    # As many of the peers as would be flagged of newcomers: so many places at the top.
    places = math.floor(p_limit(len(rows)) * len(everyone) + _ROUNDING)
    by_distance = _places(peer_scores) <= places
    false_flags = int((by_distance | flagged[:-1]).sum())
    return Standing(
        names=comparison.names,
        values=comparison.values,
        medians=tuple(float(value) for value in centre),
        z=tuple(float(value) for value in z),
        distance=float(own_score),
        p_value=p_value,
        peers=len(rows),
        false_flags=false_flags,
    )


def place_among(group: PeerGroup, features: tuple[tuple[str, float], ...]) -> CohortPosition | None:
    """Return the place for a report's page; None with too few peers or nothing to compare."""
    if len(group.rows) < MIN_PEERS:
        return None
    comparison = compare(group, features)
    return position_of(group, standing_of(comparison)) if comparison.names else None


def position_of(group: PeerGroup, standing: Standing) -> CohortPosition:
    """Return `standing` as the page of a report shows it, features furthest out first."""
    order = sorted(range(len(standing.names)), key=lambda place: -abs(standing.z[place]))
    features = tuple(
        FeaturePosition(
            standing.names[place],
            as_text(standing.values[place]),
            as_text(standing.medians[place]),
            as_text(standing.z[place]),
        )
        for place in order
    )
    return CohortPosition(group.label, standing.peers, as_text(standing.distance), features)


def robust_scale(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centre and scale of every column of `rows` (n, p): median, and MAD as a standard deviation.

    Where more than half of the rows are equal the MAD is 0: then the mean absolute deviation counts,
    and at least what five digits can tell apart.
    """
    centre = _column_medians(rows)
    deviation = (rows - centre).abs()
    spread = _column_medians(deviation) * _MAD_TO_SIGMA
    fallback = deviation.mean(0) * _MEAN_DEVIATION_TO_SIGMA
    floor = _RESOLUTION * centre.abs().clamp_min(1.0)
    return centre, torch.where(spread > 0, spread, fallback).maximum(floor)


def shrunk_covariance(rows: torch.Tensor) -> torch.Tensor:
    """Return the covariance of `rows` (n, p) about zero, shrunk as Ledoit and Wolf (2004) say.

    S* = (1 - w) S + w m I with m the mean variance; w from the data, in [0, 1].
    """
    count, width = rows.shape
    sample = rows.T @ rows / count
    mean = sample.diagonal().mean()
    identity = torch.eye(width, dtype=rows.dtype)
    misfit = (sample - mean * identity).square().sum()
    # Sum over rows of ||x x' - S||^2 = sum ||x||^4 - n ||S||^2.
    noise = rows.square().sum(1).square().sum() / count - sample.square().sum()
    weight = float((noise / count / misfit).clamp(0, 1)) if float(misfit) > 0 else 1.0
    return (1 - weight) * sample + (weight * mean).clamp_min(1e-12) * identity


def _leave_one_out(everyone: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for every row, its distance from all the others, and whether its z alone flags it."""
    keep = torch.ones(len(everyone), dtype=torch.bool)
    scores, flagged = [], []
    for place in range(len(everyone)):
        keep[place] = False
        others = everyone[keep]
        keep[place] = True
        centre, scale = robust_scale(others)
        z = _z(everyone[place : place + 1], centre, scale)
        clipped = _z(others, centre, scale).clamp(-_CLIP, _CLIP)
        solved = torch.linalg.solve(shrunk_covariance(clipped), z[0])
        scores.append(float((z[0] @ solved).clamp_min(0).sqrt()))
        flagged.append(int((z.abs() > Z_LIMIT).sum()) >= Z_FEATURES)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(flagged)


def _places(scores: torch.Tensor) -> torch.Tensor:
    """Return how many of `scores` are at least as large, itself counted, for each of them."""
    return (scores[None, :] >= scores[:, None]).sum(1)


def _z(rows: torch.Tensor, centre: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return ((rows - centre) / scale).clamp(-_CAP, _CAP)


def _column_medians(rows: torch.Tensor) -> torch.Tensor:
    """Return the median of each column; of an even number of rows the lower of the two in the middle."""
    middles: torch.Tensor = rows.median(0).values
    return middles
