"""What a suspect has for each part of the original, whatever its modules are called or fused to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.errors import FormatError
from registry.fingerprints.parts import CanonicalPart
from registry.updates.factors import LowRank, update_of
from registry.updates.files import LocatedModule

if TYPE_CHECKING:
    from registry.fingerprints.marks.basis import ModuleBasis
    from registry.updates.files import Payload

Parts: TypeAlias = Callable[[LocatedModule], Sequence[CanonicalPart]]


def own_parts(located: LocatedModule) -> tuple[CanonicalPart, ...]:
    """Return the module as one part under the name that its file gives it."""
    return (CanonicalPart(located.module.name, ""),)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A suspect's module seen from the original's directions, float64.

    `core` (k, k) is left.T @ update @ right, scale included. `gauge` (k, r) is left.T @ up, or None where
    the parts of the module have inner bases of their own.
    """

    core: torch.Tensor
    gauge: torch.Tensor | None


class Pieces:
    """The modules of a suspect by canonical part; of parts that stand twice the first one counts."""

    def __init__(self, suspect: Payload, parts: Parts) -> None:
        self._parts = parts
        self._found: dict[str, tuple[LocatedModule, range | None]] = {}
        for located in suspect.modules:
            for part in parts(located):
                self._found.setdefault(part.name, (located, part.rows))

    def see(self, basis: ModuleBasis) -> Seen | None:
        """Return the suspect's counterpart of the original's module, None if there is nothing to compare.

        A part that is missing counts as zero.
        """
        seen = [
            one
            for part in self._parts(basis.located)
            if (one := self._see_part(basis, part)) is not None
        ]
        if not seen:
            return None
        gauges = [one.gauge for one in seen if one.gauge is not None]
        shared = len({gauge.shape for gauge in gauges}) == 1
        core = torch.stack([one.core for one in seen]).sum(0)
        return Seen(core, torch.stack(gauges).sum(0) if shared else None)

    def _see_part(self, basis: ModuleBasis, part: CanonicalPart) -> Seen | None:
        located, rows = self._found.get(part.name, (None, None))
        if located is None:
            return None
        try:
            update = update_of(located)
        except FormatError:
            return None
        if not isinstance(update, LowRank):
            return None
        left, up = _rows(basis.left, part.rows), _rows(update.up, rows)
        if up.shape[0] != left.shape[0] or update.down.shape[1] != basis.right.shape[0]:
            return None
        gauge = left.T @ up.to(left)
        core = gauge @ (update.down.to(left) @ basis.right) * located.factor
        if not bool(torch.isfinite(core).all() and torch.isfinite(gauge).all()):
            return None
        return Seen(core, gauge)


def _rows(matrix: torch.Tensor, rows: range | None) -> torch.Tensor:
    return matrix if rows is None else matrix[rows.start : rows.stop]
