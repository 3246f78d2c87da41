"""An adapter module as the algebra of its update: low rank, in full, or a Kronecker product.

Sources of the formulas: LyCORIS f49d30d, PEFT 5d602fd, sd-scripts 48d368f. Every form below is exact:

- LoRA: up @ down, convolutions with all dimensions after the first flattened;
- AdaLoRA: lora_b @ diag(lora_e) @ lora_a; loralib the same without lora_e;
- Tucker (`lora_mid`): up @ M with M[m,(j,h,w)] = sum over n of mid[m,n,h,w] down[n,j];
- LoHa: (w1a w1b) * (w2a w2b), entry by entry, is the row-wise Khatri-Rao product of w1a and w2a times the
  column-wise one of w1b and w2b, so an ordinary low-rank update of rank r**2; where that is no longer low,
  the product itself;
- LoKr: w1 (x) w2, whose singular values are all products of one of w1 and one of w2;
- GLoRA: the update is W A + B; only B = b1 @ b2 is in the file, and only B is given (see `caveat_of`).

Products of stored values are formed in float64: for float32 and narrower they are exact, so nothing is lost
before the decomposition, however the factors were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.errors import FormatError
from registry.updates.tensors import as_matrix, view_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import LocatedModule, WeightFile

FULL_ENTRIES = 2**25  # a matrix beyond this is not decomposed; SD1.5's largest has 13 million
DORA_CAVEAT = "dora: direction only"
GLORA_CAVEAT = "glora: additive part only"

_MATRIX = 2
_NO_SPECTRUM = {
    "oft": "oft rotates the base weights: the update is not in the file",
    "boft": "boft rotates the base weights: the update is not in the file",
    "ia3": "ia3 scales channels of the base model: the update is not in the file",
    "vera": "vera's projections are drawn from a seed: the update is not in the file",
    "norm": "a norm's weights are a vector, which has no spectrum",
    "scale": "a norm's scale is a vector, which has no spectrum",
}


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
    """A module whose singular values are not computed, and why.

    `is_limit`: it has some, but is beyond what is computed; otherwise the method has none that the file
    alone could tell.
    """

    reason: str
    is_limit: bool = False


Update: TypeAlias = LowRank | Full | Kronecker | NoSpectrum


def update_of(located: LocatedModule) -> Update:
    """Return the update of one module in its factored form.

    Nothing of the update's full size is made but for LoHa of high rank, and then at most
    `FULL_ENTRIES` values.

    Raises:
        FormatError: factors that do not fit together, or of a type that is not a float.
    """
    if located.module.faults:
        raise FormatError("; ".join(located.module.faults))
    method = located.module.method
    form = _FORMS.get(method)
    if form is None:
        reason = _NO_SPECTRUM.get(method, f"method {method} has no update in the file")
        return NoSpectrum(reason)
    return form(_Parts(located.file, dict(located.module.tensors)))


def caveat_of(located: LocatedModule) -> str:
    """Return what the singular values of this module are not, "" if they are the update's.

    DoRA divides by norms of the base weights, GLoRA multiplies them: neither is in the file.
    """
    if located.module.find_tensor("magnitude") is not None:
        return DORA_CAVEAT
    return GLORA_CAVEAT if located.module.method == "glora" else ""


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

    def matrix(self, name: str) -> torch.Tensor:
        return as_matrix(self.tensor(name))


def _lora(parts: _Parts) -> LowRank:
    if parts.has("lora_a", "lora_b"):
        return _low_rank(parts.matrix("lora_b"), parts.matrix("lora_a"))
    up, down = parts.matrix("up"), parts.matrix("down")
    if parts.has("mid"):
        down = _tucker(parts.tensor("mid"), down)
    return _low_rank(up, down)


def _adalora(parts: _Parts) -> LowRank:
    up, values = parts.matrix("lora_b"), parts.tensor("lora_e").reshape(-1)
    if len(values) != up.shape[1]:
        raise FormatError(f"lora_e has {len(values)} values, expected {up.shape[1]}")
    return _low_rank(up.double() * values.double(), parts.matrix("lora_a"))


def _glora(parts: _Parts) -> LowRank:
    first, second = parts.matrix("b1"), parts.matrix("b2")
    # b1 (out, r) and b2 (r, in); in the first releases b1 (r, in) and b2 (out, r).
    # a1 is (in, r) or (r, in) likewise, and tells which where the rank fits both ways.
    a1, a2 = parts.matrix("a1"), parts.matrix("a2")
    is_new = a1.shape[1] == a2.shape[0] == first.shape[1] == parts.tensor("b2").shape[0]
    up, down = (first, second) if is_new else (second, first)
    if parts.has("bm"):
        down = _tucker(parts.tensor("bm"), down)
    return _low_rank(up, down)


def _loha(parts: _Parts) -> LowRank | Full | NoSpectrum:
    first, second = (_hada_pair(parts, number) for number in ("1", "2"))
    rows, columns = first.up.shape[0], first.down.shape[1]
    if (rows, columns) != (second.up.shape[0], second.down.shape[1]):
        raise FormatError("the two products of a LoHa module differ in size")
    if 2 * first.up.shape[1] * second.up.shape[1] > min(rows, columns):
        if rows * columns > FULL_ENTRIES:
            return NoSpectrum(f"loha of high rank with more than {FULL_ENTRIES} values", True)
        return Full(_product(first).mul_(_product(second)))
    up = torch.einsum("ip,iq->ipq", first.up.double(), second.up.double()).flatten(1)
    down = torch.einsum("pj,qj->pqj", first.down.double(), second.down.double()).flatten(0, 1)
    return LowRank(up, down)


def _hada_pair(parts: _Parts, number: str) -> LowRank:
    left, right = parts.matrix(f"hada_w{number}_a"), parts.matrix(f"hada_w{number}_b")
    if parts.has(f"hada_t{number}"):
        # With a core both factors come as (r, out) and (r, in).
        left, right = left.T, _tucker(parts.tensor(f"hada_t{number}"), right)
    return _low_rank(left, right)


def _product(pair: LowRank) -> torch.Tensor:
    return pair.up.double() @ pair.down.double()


def _lokr(parts: _Parts) -> Kronecker:
    return Kronecker(_side(parts, "w1"), _side(parts, "w2"))


def _side(parts: _Parts, side: str) -> LowRank | Full:
    if parts.has(f"lokr_{side}"):
        return Full(parts.matrix(f"lokr_{side}"))
    left, right = parts.matrix(f"lokr_{side}_a"), parts.matrix(f"lokr_{side}_b")
    if side == "w2" and parts.has("lokr_t2"):
        return _low_rank(left.T, _tucker(parts.tensor("lokr_t2"), right))
    return _low_rank(left, right)


def _full(parts: _Parts) -> Full | NoSpectrum:
    if not parts.has("diff"):
        return NoSpectrum("only a bias is changed, which has no spectrum")
    diff = parts.tensor("diff")
    if diff.ndim < _MATRIX:
        return NoSpectrum("a vector of weights is changed, which has no spectrum")
    if diff.numel() > FULL_ENTRIES:
        return NoSpectrum(f"a full difference of more than {FULL_ENTRIES} values", True)
    return Full(as_matrix(diff))


def _tucker(core: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return the (r, n * h * w) matrix of a core (r, s, h, w) and a factor (s, n), in float64."""
    if core.ndim < _MATRIX or core.shape[1] != down.shape[0]:
        raise FormatError(f"core {tuple(core.shape)} does not fit factor {tuple(down.shape)}")
    flat = core.double().reshape(core.shape[0], core.shape[1], -1)
    return torch.einsum("msk,sn->mnk", flat, down.double()).flatten(1)


def _low_rank(up: torch.Tensor, down: torch.Tensor) -> LowRank:
    if up.shape[1] != down.shape[0]:
        raise FormatError(f"factors {tuple(up.shape)} and {tuple(down.shape)} do not share a rank")
    return LowRank(up, down)


_FORMS: dict[str, Callable[[_Parts], Update]] = {
    "lora": _lora,
    "dora": _lora,
    "adalora": _adalora,
    "glora": _glora,
    "loha": _loha,
    "lokr": _lokr,
    "full": _full,
}
