"""Of which known adapters a merge is made, and with which weights.

Sketches are linear, so the sketch of a weighted merge is the weighted sum of the sketches of its parts,
however it was stored: added, concatenated in rank, resized afterwards. Matching pursuit: take
the candidate that explains most of what is left, if that is no chance; fit all taken ones anew by
least squares; look again with what is left. The look-up is asked anew each time, because a small part
shows only when the large ones are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from registry.fingerprints.match import shared_places
from registry.fingerprints.null import chance_bound
from registry.fingerprints.sketch import K, Sketch, build_sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Candidate: TypeAlias = tuple[str, Sketch]
CandidatesOf: TypeAlias = Callable[[Sketch], Sequence[Candidate]]

MOST_COMPONENTS = 16
# A candidate below three deviations of the null is not looked at closer.
_PREFILTER = 3.0
# A candidate is taken if, over all comparisons, chance would bring one like it this often at most.
ACCEPTED_RATE = 1e-3
# Adapters of one base have something in common without one being made of the other: unrelated trainings
# on a tiny base reached a cosine of 0.29 (bench/sketches.py). What explains no more of what the other
# components leave is no component. Once all parts of a merge are known, each of them explains nearly all.
BACKGROUND = 0.3
# Share of the target's norm below which a rest or a component is rounding, not signal.
NOISE_SHARE = 2e-3


@dataclass(frozen=True, slots=True)
class Component:
    """A known adapter in a merge: the target holds `weight` times its update.

    `error` is the standard error of the weight. `share` is the part of the adapter's energy that lies
    in layers of the target: below 1 the merge left some of its layers out.
    """

    artifact_id: str
    weight: float
    error: float
    share: float


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Components, strongest first, and the rest: its norm as a part of the target's norm.

    The rest is what no known adapter explains: another component, further training, pruning, noise.
    `compared` is among how many adapters it was looked. Of several adapters with one function only one
    is named.
    """

    components: tuple[Component, ...]
    residual: float
    compared: int


def decompose(
    target: Sketch,
    candidates_of: CandidatesOf,
    *,
    compared: int,
    most: int = MOST_COMPONENTS,
    background: float = BACKGROUND,
) -> Decomposition:
    """Return of which known adapters `target` is made.

    `candidates_of` returns the (id, sketch) that may be in a sketch: the nearest of an index, or all
    there are; it is asked with the target and then with each rest. `compared` is how many it chose from.
    A component is there by chance at a rate of `ACCEPTED_RATE` at most, and has a cosine of more than
    `background` with what the others leave, in its own layers.

    Raises:
        ValueError: candidates of another key or version, or `compared` below 1.
    """
    if compared < 1:
        raise ValueError("there is at least the one candidate")
    fit = _Fit(target)
    while len(fit.taken) < most and fit.residual_share > NOISE_SHARE:
        best = fit.best_of(candidates_of(fit.residual()), compared)
        if best is None:
            break
        fit.take(*best)
    fit.drop_idle(background)
    return Decomposition(fit.components(), fit.residual_share, compared)


def decompose_among(target: Sketch, candidates: Sequence[Candidate]) -> Decomposition:
    """Return of which of `candidates` the target is made.

    Raises:
        ValueError: see `decompose`.
    """
    return decompose(target, lambda _rest: candidates, compared=max(1, len(candidates)))


class _Fit:
    """Least squares of the target on the candidates taken so far, over the layers of the target."""

    def __init__(self, target: Sketch) -> None:
        self._target = target
        self._wanted = _flat(target)
        self._norm = float(np.linalg.norm(self._wanted))
        self.taken: list[str] = []
        self._columns: list[NDArray[np.float64]] = []
        self._shares: list[float] = []
        self._solve()

    @property
    def residual_share(self) -> float:
        """Norm of the rest as a part of the target's norm; 0 for a target that is zero."""
        return float(np.linalg.norm(self._rest)) / self._norm if self._norm > 0 else 0.0

    def residual(self) -> Sketch:
        """Return the rest as a sketch that an index can be asked with."""
        rest = self._rest.reshape(-1, K, K)
        return build_sketch(self._target.key_id, self._target.numbers, rest)

    def best_of(
        self, candidates: Sequence[Candidate], compared: int
    ) -> tuple[str, NDArray[np.float64], float] | None:
        """Return the candidate that explains most of the rest and is there by no chance, or None."""
        energies = np.square(self._rest).sum(1)
        scored = []
        for artifact_id, sketch in candidates:
            if artifact_id in self.taken:
                continue
            column = self._column(sketch)
            norm = float(np.linalg.norm(column))
            product = float(np.vdot(column, self._rest))
            spread = float(np.sqrt((np.square(column).sum(1) * energies).sum())) / K
            if norm > 0 and abs(product) > _PREFILTER * spread:
                scored.append((abs(product) / norm, artifact_id, column, sketch))
        for _, artifact_id, column, sketch in sorted(scored, key=lambda row: (-row[0], row[1])):
            if compared * self._chance(column, energies) <= ACCEPTED_RATE:
                return artifact_id, column, _share(column, sketch)
        return None

    def take(self, artifact_id: str, column: NDArray[np.float64], share: float) -> None:
        """Add a candidate and fit anew."""
        self.taken.append(artifact_id)
        self._columns.append(column)
        self._shares.append(share)
        self._solve()

    def drop_idle(self, background: float) -> None:
        """Drop, least first, what the others make idle: an older merge of the same parts, say."""
        while self.taken:
            gains = self._gains()
            least = int(np.argmin(gains))
            if gains[least] > background:
                return
            for rows in (self.taken, self._columns, self._shares):
                del rows[least]
            self._solve()

    def _gains(self) -> NDArray[np.float64]:
        """Return the cosine of each component with what the others leave, in its own layers."""
        matrix = self._matrix()
        # What the rest would grow by without it (Frisch, Waugh and Lovell).
        alone = np.diag(np.linalg.pinv(matrix.T @ matrix)).clip(np.finfo(float).tiny)
        grown = np.square(self._weights) / alone
        energies = np.square(self._rest).sum(1)
        own = np.stack([column.any(1) for column in self._columns])
        # Below this there is only the rounding of sketches to be explained.
        noise = (NOISE_SHARE * self._norm) ** 2
        gains: NDArray[np.float64] = np.sqrt(grown / np.maximum(grown + own @ energies, noise))
        return gains

    def components(self) -> tuple[Component, ...]:
        """Return what was taken, by how much of the target it makes up."""
        if not self.taken:
            return ()
        matrix = self._matrix()
        free = max(1, matrix.shape[0] - matrix.shape[1])
        variance = float(np.square(self._rest).sum()) / free
        errors = np.sqrt(variance * np.diag(np.linalg.pinv(matrix.T @ matrix)).clip(0))
        sizes = np.abs(self._weights) * np.linalg.norm(matrix, axis=0)
        return tuple(
            Component(
                self.taken[place],
                float(self._weights[place]),
                float(errors[place]),
                self._shares[place],
            )
            for place in np.argsort(-sizes, kind="stable")
        )

    def _solve(self) -> None:
        self._weights: NDArray[np.float64] = np.zeros(0)
        self._rest = self._wanted
        if self._columns:
            matrix = self._matrix()
            solution = np.linalg.lstsq(matrix, self._wanted.ravel(), rcond=None)[0]
            self._weights = solution.astype(np.float64)
            self._rest = self._wanted - (matrix @ self._weights).reshape(self._wanted.shape)

    def _matrix(self) -> NDArray[np.float64]:
        return np.stack([column.ravel() for column in self._columns], axis=1)

    def _column(self, sketch: Sketch) -> NDArray[np.float64]:
        """Return the candidate over the layers of the target, zero in those that it lacks."""
        if not sketch.is_comparable(self._target):
            raise ValueError("sketches of different keys or versions cannot be compared")
        places, own = shared_places(self._target.numbers, sketch.numbers)
        column = np.zeros_like(self._wanted)
        column[places] = _flat(sketch)[own]
        return column

    def _chance(self, column: NDArray[np.float64], energies: NDArray[np.float64]) -> float:
        own = np.square(column).sum(1)
        # Over the layers in common: a candidate of few layers is not thinned out by the others.
        common = (own > 0) & (energies > 0)
        scale = float(own[common].sum()) * float(energies[common].sum())
        if scale == 0:
            return 1.0
        cosine = float(np.vdot(column, self._rest)) / scale**0.5
        return chance_bound(cosine, np.sqrt(own[common] * energies[common] / scale))


def _flat(sketch: Sketch) -> NDArray[np.float64]:
    return sketch.values.reshape(len(sketch), K * K).astype(np.float64)


def _share(column: NDArray[np.float64], sketch: Sketch) -> float:
    return float(np.square(column).sum()) / float(sketch.energies.sum())
