"""New factors for one module, so that its update bears the marks, stored in place of the old ones.

With the update U diag(s) V.T of the original (`basis.py`):

- gauge: the inner basis of the factors is turned by a keyed orthogonal Q; up @ down is the same but for
  rounding. Any re-factoring (a resize, a merge by SVD) removes it.
- spread spectrum: diag(s) becomes diag(s) + E with E = e |s| W / |W|, W_ij = chip_ij sqrt(s_i s_j) / s_1 off
  the diagonal. Its norm is e |s|, so no singular value moves further than that (Weyl), the rank stays,
  and it survives re-factoring because it is in the update.

The new factors are U diag(s)^1/2 (1 + F/2) Q and Q.T (1 + F/2)^-1 (1 + F) diag(s)^1/2 V.T with
F = diag(s)^-1/2 E diag(s)^-1/2, which is white and small, so nothing is divided by a weak value. They keep
the ratio of norms that the stored factors had. After Cox et al. 1997 (spread spectrum), in the core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.fingerprints.marks.chips import chips, rotations
from registry.fingerprints.marks.report import Change
from registry.updates.tensors import FLOAT_DTYPES, view_tensor

if TYPE_CHECKING:
    from registry.fingerprints.marks.basis import ModuleBasis
    from registry.fingerprints.marks.options import MarkOptions
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import LocatedModule

# What storage may add to a module's relative change: bf16 adds 0.0023, fp16 0.0003 (facts).
_STORAGE_ERROR = 5e-3


def remake(
    basis: ModuleBasis, located: LocatedModule, seed: bytes, options: MarkOptions
) -> Change | None:
    """Overwrite the factors of `located` with marked ones and return what that changed.

    `located` lies in writable memory and holds what `basis` was made from. None: stored as their dtype the
    new factors would lose too much, with the old ratio of norms and with equal norms; nothing was
    written.
    """
    infos = dict(located.module.tensors)
    core = _core(basis, seed, options)
    # Equal norms keep furthest from both ends of a narrow range.
    for ratio in (basis.ratio, 1.0):
        up = _as_stored(basis.left @ (core.up * ratio), infos["up"])
        down = _as_stored((core.down / ratio) @ basis.right.T, infos["down"])
        change, storage = _compare(basis, core, up.double(), down.double())
        if storage <= _STORAGE_ERROR:
            _write(located, infos["up"], up)
            _write(located, infos["down"], down)
            return change
    return None


def whitened(basis_values: torch.Tensor, drawn: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return F for the values (k,) and the chips (d, d) of the d strongest directions: (k, k)."""
    count, directions = len(basis_values), len(drawn)
    strong = basis_values[:directions]
    envelope = (strong[:, None] * strong).sqrt() / strong[0]
    white = drawn - drawn.diagonal().diag()
    strength = epsilon * basis_values.norm() / (strong[0] * (white * envelope).norm())
    return torch.nn.functional.pad(white * strength, (0, count - directions) * 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Core:
    """Inner parts of the new factors, (k, rank) and (rank, k), and their product, (k, k)."""

    up: torch.Tensor
    down: torch.Tensor
    product: torch.Tensor


def _core(basis: ModuleBasis, seed: bytes, options: MarkOptions) -> _Core:
    values, directions = basis.values, basis.directions
    root = values.sqrt()
    one = torch.eye(len(values), dtype=values.dtype, device=values.device)
    up, down, product = one, one, values.diag()
    if options.spread and basis.takes_spread:
        drawn = chips(seed, [basis.key], basis.rank)[0, :directions, :directions].to(values)
        white = whitened(values, drawn, options.epsilon)
        up = one + white / 2
        down = torch.linalg.solve(up, one + white)
        product = root[:, None] * (one + white) * root
    turn = _turn(basis, seed, options)
    return _Core(root[:, None] * up @ turn, turn.T @ down * root, product)


def _turn(basis: ModuleBasis, seed: bytes, options: MarkOptions) -> torch.Tensor:
    """Return the inner basis, (k, rank) with orthonormal rows: the keyed one, or nearest to the stored."""
    if options.gauge:
        return rotations(seed, [basis.key], basis.rank)[0, : len(basis.values)].to(basis.values)
    left, _, right = torch.linalg.svd(
        basis.values.sqrt()[:, None] * basis.gauge, full_matrices=False
    )
    nearest: torch.Tensor = left @ right
    return nearest


def _as_stored(factor: torch.Tensor, info: TensorInfo) -> torch.Tensor:
    return factor.to(FLOAT_DTYPES[info.dtype])


def _compare(
    basis: ModuleBasis, core: _Core, up: torch.Tensor, down: torch.Tensor
) -> tuple[Change, float]:
    """Return what changed against the original, and the relative error of storing against the aim."""
    stored = float(((up.T @ up) * (down @ down.T)).sum())
    seen = (basis.left.T @ up) @ (down @ basis.right)
    change = Change(
        stored, float((seen.diagonal() * basis.values).sum()), float((basis.values**2).sum())
    )
    aim = Change(stored, float((seen * core.product).sum()), float((core.product**2).sum()))
    return change, aim.relative


def _write(located: LocatedModule, info: TensorInfo, factor: torch.Tensor) -> None:
    view_tensor(located.file, info).copy_(factor.view(info.shape))
