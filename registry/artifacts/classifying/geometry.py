"""Rank, input and output width of a module out of its factors' shapes, and what does not fit.

Conventions: facts of LyCORIS f49d30d, PEFT 5d602fd, sd-scripts 48d368f. Widths are those of the
weight that the module changes; convolution kernels count apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Shape: TypeAlias = "tuple[int, ...]"
Shapes: TypeAlias = "Mapping[str, Shape]"

_MATRIX = 2
_BOFT_DIMENSIONS = 4
_LOHA_FACTORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Rank and widths of one module; None where the method has none or the factors do not say.

    `kernel` is the number of positions of a convolution kernel (1 for a linear layer). `faults`
    names, in words, factors that are missing or do not fit each other; empty for a sound module.
    """

    rank: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    kernel: int = 1
    faults: tuple[str, ...] = ()


def measure(method: str, shapes: Shapes) -> Geometry:
    """Return the geometry of a module of `method` with tensors of these shapes, by role."""
    geometry = _MEASURES.get(method, _unmeasured)(shapes)
    for role in ("alpha", "scalar"):
        shape = shapes.get(role)
        if shape is not None and math.prod(shape) != 1:
            fault = f"{role} has shape {list(shape)}, expected one number"
            geometry = _with_fault(geometry, fault)
    return geometry


def _with_fault(geometry: Geometry, fault: str) -> Geometry:
    return Geometry(
        geometry.rank,
        geometry.inputs,
        geometry.outputs,
        geometry.kernel,
        (*geometry.faults, fault),
    )


def _missing(shapes: Shapes, roles: tuple[str, ...]) -> tuple[str, ...]:
    there = [role for role in roles if role in shapes]
    gone = [role for role in roles if role not in shapes]
    return tuple(f"{'/'.join(there) or 'module'} without {role}" for role in gone)


def _not_matrices(shapes: Shapes, roles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"{role} has shape {list(shapes[role])}, expected at least two dimensions"
        for role in roles
        if len(shapes[role]) < _MATRIX
    )


def _lora(shapes: Shapes) -> Geometry:
    roles = ("lora_a", "lora_b") if shapes.keys() & {"lora_a", "lora_b"} else ("down", "up")
    faults = _missing(shapes, roles) or _not_matrices(shapes, roles)
    if faults:
        return Geometry(faults=faults)
    down, up = shapes[roles[0]], shapes[roles[1]]
    mid = shapes.get("mid", ())
    rank, inputs, outputs = down[0], down[1], up[0]
    kernel = math.prod(mid[2:]) if mid else math.prod(down[2:])
    found = []
    if up[1] != rank:
        found.append(f"down has rank {rank} and up has rank {up[1]}")
    if mid and mid[:2] != (rank, rank):
        found.append(f"mid has shape {list(mid)}, expected rank {rank} twice")
    found += _magnitude_faults(shapes, inputs, outputs)
    bias = shapes.get("up_bias")
    if bias is not None and bias != (outputs,):
        found.append(f"up_bias has shape {list(bias)}, expected [{outputs}]")
    return Geometry(rank, inputs, outputs, kernel, tuple(found))


def _adalora(shapes: Shapes) -> Geometry:
    if faults := _missing(shapes, ("lora_a", "lora_b", "lora_e")):
        return Geometry(faults=faults)
    geometry = _lora(shapes)
    values = math.prod(shapes["lora_e"])
    if geometry.rank is None or values == geometry.rank:
        return geometry
    return _with_fault(geometry, f"lora_e has {values} values, expected {geometry.rank}")


def _magnitude_faults(shapes: Shapes, inputs: int, outputs: int) -> list[str]:
    magnitude = shapes.get("magnitude")
    # LyCORIS writes [out, 1], OneTrainer [1, in], PEFT [out].
    if magnitude is None or math.prod(magnitude) in (inputs, outputs):
        return []
    return [f"magnitude has shape {list(magnitude)}, expected {outputs} or {inputs} values"]


def _loha(shapes: Shapes) -> Geometry:
    faults = _missing(shapes, _LOHA_FACTORS) or _not_matrices(shapes, _LOHA_FACTORS)
    if faults:
        return Geometry(faults=faults)
    first, second = _hada_pair(shapes, 1), _hada_pair(shapes, 2)
    found = [*first.faults, *second.faults]
    if (first.inputs, first.outputs) != (second.inputs, second.outputs):
        found.append("its two products have different shapes")
    found += _magnitude_faults(shapes, first.inputs or 0, first.outputs or 0)
    return Geometry(first.rank, first.inputs, first.outputs, first.kernel, tuple(found))


def _hada_pair(shapes: Shapes, number: int) -> Geometry:
    left, right = shapes[f"hada_w{number}_a"], shapes[f"hada_w{number}_b"]
    core = shapes.get(f"hada_t{number}")
    name = f"hada_w{number}_a and _b"
    if core is not None:  # Tucker: [r, r, k, k] with a [r, out] and b [r, in]
        sound = len(core) > _MATRIX and left[0] == core[0] and right[0] == core[1]
        faults = () if sound else (f"{name} do not fit hada_t{number} {list(core)}",)
        return Geometry(left[0], right[1], left[1], math.prod(core[2:]), faults)
    faults = () if left[1] == right[0] else (f"{name} have ranks {left[1]} and {right[0]}",)
    return Geometry(right[0], right[1], left[0], 1, faults)


def _lokr(shapes: Shapes) -> Geometry:
    first, second = _kron_factor(shapes, 1), _kron_factor(shapes, 2)
    faults = (*first.faults, *second.faults)
    if faults or not first.outputs or not second.outputs:
        return Geometry(faults=faults or ("a factor is empty",))
    inputs = (first.inputs or 0) * (second.inputs or 0)
    outputs = first.outputs * second.outputs
    rank = second.rank if second.rank is not None else first.rank
    found = tuple(_magnitude_faults(shapes, inputs, outputs))
    return Geometry(rank, inputs, outputs, second.kernel, found)


def _kron_factor(shapes: Shapes, number: int) -> Geometry:
    whole = shapes.get(f"lokr_w{number}")
    names = (f"lokr_w{number}_a", f"lokr_w{number}_b")
    if whole is not None:
        if len(whole) < _MATRIX or any(name in shapes for name in names):
            return Geometry(faults=(f"lokr_w{number} {list(whole)} does not stand alone",))
        return Geometry(None, whole[1], whole[0], math.prod(whole[2:]))
    faults = _missing(shapes, names) or _not_matrices(shapes, names)
    if faults:
        return Geometry(faults=faults)
    left, right = shapes[names[0]], shapes[names[1]]
    core = shapes.get(f"lokr_t{number}")
    if core is not None:  # Tucker: [r, r, k, k] with a [r, out] and b [r, in]
        sound = len(core) > _MATRIX and left[0] == core[0] and right[0] == core[1]
        problem = () if sound else (f"{names[0]} and _b do not fit lokr_t{number}",)
        return Geometry(left[0], right[1], left[1], math.prod(core[2:]), problem)
    problem = () if left[1] == right[0] else (f"{names[0]} and _b disagree on the rank",)
    return Geometry(right[0], right[1], left[0], 1, problem)


def _oft(shapes: Shapes) -> Geometry:
    blocks = shapes.get("oft_blocks")
    if blocks is None:  # PEFT: [blocks, size (size - 1) / 2], a skew-symmetric matrix each
        packed = shapes.get("oft_r", ())
        return Geometry(packed[0] if packed else None)
    square = len(blocks) > _MATRIX and blocks[-1] == blocks[-2]
    faults = () if square else (f"oft_blocks has shape {list(blocks)}, expected square blocks",)
    if not square:
        return Geometry(faults=faults)
    # LyCORIS: [blocks, size, size]; the rank is the size.
    return Geometry(blocks[-1], None, blocks[-3] * blocks[-1])


def _glora(shapes: Shapes) -> Geometry:
    roles = ("a1", "a2", "b1", "b2")
    if faults := _missing(shapes, roles) or _not_matrices(shapes, roles):
        return Geometry(faults=faults)
    a1, a2, b1, b2 = (shapes[role] for role in roles)
    kernel = math.prod(shapes.get("bm", ())[2:]) * math.prod(b2[2:])
    if a1[1] == a2[0] == b1[1] == b2[0]:  # a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in)
        return Geometry(a2[0], a2[1], b1[0], kernel)
    if a1[0] == a2[1] == b1[0] == b2[1]:  # the first releases: a1 (r, in), ... b2 (out, r)
        return Geometry(a1[0], a1[1], b2[0], kernel)
    return Geometry(faults=("a1, a2, b1 and b2 disagree on the rank",))


def _vera(shapes: Shapes) -> Geometry:
    if faults := _missing(shapes, ("vera_lambda_b", "vera_lambda_d")):
        return Geometry(faults=faults)
    rank, outputs = math.prod(shapes["vera_lambda_d"]), math.prod(shapes["vera_lambda_b"])
    return Geometry(rank, None, outputs)


def _boft(shapes: Shapes) -> Geometry:
    blocks = shapes.get("oft_blocks", shapes.get("boft_r", ()))
    if len(blocks) != _BOFT_DIMENSIONS or blocks[-1] != blocks[-2]:
        return Geometry(faults=(f"its blocks have shape {list(blocks)}, expected four dimensions",))
    # [stages, blocks, size, size]
    return Geometry(blocks[-1], None, blocks[-3] * blocks[-1])


def _full(shapes: Shapes) -> Geometry:
    diff, bias = shapes.get("diff"), shapes.get("diff_b")
    if diff is None or len(diff) < _MATRIX:
        return Geometry(None, None, math.prod(bias) if bias is not None else None)
    faults = () if bias is None or bias == diff[:1] else ("diff and diff_b have different widths",)
    return Geometry(None, diff[1], diff[0], math.prod(diff[2:]), faults)


def _ia3(shapes: Shapes) -> Geometry:
    if "ia3_l" in shapes or {"weight", "on_input"} <= shapes.keys():
        # One factor per channel; `on_input` is a value, so which side it scales is not known here.
        return Geometry(outputs=math.prod(shapes.get("weight", shapes.get("ia3_l", ()))))
    return Geometry(faults=("on_input without weight",))


def _unmeasured(_shapes: Shapes) -> Geometry:
    return Geometry()


_MEASURES: dict[str, Callable[[Shapes], Geometry]] = {
    "lora": _lora,
    "dora": _lora,
    "adalora": _adalora,
    "loha": _loha,
    "lokr": _lokr,
    "oft": _oft,
    "boft": _boft,
    "glora": _glora,
    "vera": _vera,
    "full": _full,
    "ia3": _ia3,
}
