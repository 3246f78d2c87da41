"""An adapter module as the algebra of its update: low rank, or a Kronecker product of small ones.

Sources of the formulas: LyCORIS f49d30d, PEFT 5d602fd, sd-scripts 48d368f. Every form below is exact:

- LoRA: up @ down, convolutions with all dimensions after the first flattened;
- Tucker (`lora_mid`): up @ M with M[m,(j,h,w)] = sum over n of mid[m,n,h,w] down[n,j];
- LoHa: (w1a w1b) * (w2a w2b), entry by entry, is the row-wise Khatri-Rao product of w1a and w2a times the
  column-wise one of w1b and w2b, so an ordinary low-rank update of rank r**2;
- LoKr: w1 (x) w2, whose singular values are all products of one of w1 and one of w2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.errors import FormatError
from registry.updates.tensors import as_matrix, view_tensor

if TYPE_CHECKING:
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import LocatedModule, WeightFile


@dataclass(frozen=True, slots=True)
class LowRank:
    """up @ down, unscaled: `up` is (m, r), `down` is (r, n), of the stored or a wider float type."""

    up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True, slots=True)
class Full:
    """A matrix as it is, unscaled."""

    matrix: torch.Tensor


@dataclass(frozen=True, slots=True)
class Kronecker:
    """left (x) right, unscaled."""

    left: LowRank | Full
    right: LowRank | Full


@dataclass(frozen=True, slots=True)
class NoSpectrum:
    """A module whose update has no low-rank form in the file alone, and why."""

    reason: str


Update: TypeAlias = LowRank | Kronecker | NoSpectrum


def update_of(located: LocatedModule) -> Update:
    """Return the update of one module in its factored form; nothing of full size is made.

    Raises:
        FormatError: factors that do not fit together, or of a type that is not a float.
    """
    if located.module.faults:
        raise FormatError("; ".join(located.module.faults))
    parts = _Parts(located.file, dict(located.module.tensors))
    if parts.has("down", "up"):
        return _lora(parts)
    if parts.has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"):
        return _loha(parts)
    if any(parts.has(f"lokr_{side}") or parts.has(f"lokr_{side}_a") for side in ("w1", "w2")):
        return Kronecker(_side(parts, "w1"), _side(parts, "w2"))
    return NoSpectrum(f"method {located.module.method} has no low-rank form")


@dataclass(frozen=True, slots=True)
class _Parts:
    file: WeightFile
    roles: dict[str, TensorInfo]

    def has(self, *names: str) -> bool:
        return all(name in self.roles for name in names)

    def tensor(self, name: str) -> torch.Tensor:
        info = self.roles.get(name)
        if info is None:
            raise FormatError(f"factor {name!r} is missing")
        return view_tensor(self.file, info)


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` as float32, or as it is where it is float64."""
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def _lora(parts: _Parts) -> LowRank:
    up, down = as_matrix(parts.tensor("up")), parts.tensor("down")
    if parts.has("mid"):
        mid = parts.tensor("mid")
        down = _tucker(mid, as_matrix(down))
    return _low_rank(up, as_matrix(down))


def _loha(parts: _Parts) -> LowRank:
    pairs = []
    for number in ("1", "2"):
        left = as_matrix(parts.tensor(f"hada_w{number}_a"))
        right = as_matrix(parts.tensor(f"hada_w{number}_b"))
        if parts.has(f"hada_t{number}"):
            # With a core both factors come as (r, out) and (r, in).
            left, right = left.T, _tucker(parts.tensor(f"hada_t{number}"), right)
        pairs.append(_low_rank(left, as_matrix(right)))
    first, second = pairs
    if first.up.shape[0] != second.up.shape[0] or first.down.shape[1] != second.down.shape[1]:
        raise FormatError("the two products of a LoHa module differ in size")
    up = torch.einsum("ip,iq->ipq", widen(first.up), widen(second.up)).flatten(1)
    down = torch.einsum("pj,qj->pqj", widen(first.down), widen(second.down)).flatten(0, 1)
    return LowRank(up, down)


def _side(parts: _Parts, side: str) -> LowRank | Full:
    if parts.has(f"lokr_{side}"):
        return Full(as_matrix(parts.tensor(f"lokr_{side}")))
    left = as_matrix(parts.tensor(f"lokr_{side}_a"))
    right = parts.tensor(f"lokr_{side}_b")
    if side == "w2" and parts.has("lokr_t2"):
        return _low_rank(left.T, _tucker(parts.tensor("lokr_t2"), as_matrix(right)))
    return _low_rank(left, as_matrix(right))


def _tucker(core: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return the (r, n * h * w) matrix of a core (r, s, h, w) and a factor (s, n)."""
    if core.ndim < 2 or core.shape[1] != down.shape[0]:  # noqa: PLR2004 - a core has r and s
        raise FormatError(f"core {tuple(core.shape)} does not fit factor {tuple(down.shape)}")
    flat = widen(core).reshape(core.shape[0], core.shape[1], -1)
    return torch.einsum("msk,sn->mnk", flat, widen(down)).flatten(1)


def _low_rank(up: torch.Tensor, down: torch.Tensor) -> LowRank:
    if up.shape[1] != down.shape[0]:
        raise FormatError(f"factors {tuple(up.shape)} and {tuple(down.shape)} do not share a rank")
    return LowRank(up, down)
