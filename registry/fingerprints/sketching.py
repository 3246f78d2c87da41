"""From an opened payload to its sketch; no update is ever formed in full.

Each part costs about as much as reading its factors: P up and down Q.T first, then a product of (k, r)
and (r, k). float32, the last product and the scale float64.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from registry.errors import FormatError
from registry.fingerprints.projections import WIDTH_LIMIT, Projections
from registry.fingerprints.signs import hashed_name, key_id_of
from registry.fingerprints.sketch import SKETCH_PARTS, K, Omissions, Sketch, build_sketch
from registry.updates.factors import Full, Kronecker, LowRank, NoSpectrum, update_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.fingerprints.parts import CanonicalPart
    from registry.updates.files import LocatedModule, Payload

# Values of the widest product on the way through a Kronecker update: 128 MiB of float32.
_BIASES = frozenset({"diff_b", "up_bias", "down_bias"})
_KRONECKER_VALUES = 2**25
_Factored: TypeAlias = "LowRank | Kronecker | Full"


def make_sketch(
    payload: Payload,
    parts: Sequence[tuple[CanonicalPart, ...]],
    key: bytes,
    device: str = "cpu",
) -> Sketch:
    """Return the sketch of `payload`; `parts` are those of each of its modules, in their order.

    Scales are applied; where the files state none, 1 is (`LocatedModule.is_stated`). Of DoRA the direction
    factor is sketched, and counted. What cannot be sketched is counted, never an error.

    Raises:
        FormatError: more than `SKETCH_PARTS` parts, or files whose scales cannot be told.
        ValueError: the key is too short, or `parts` has not one entry for each module.
    """
    count = sum(len(own) for own in parts)
    if count > SKETCH_PARTS:
        raise FormatError(f"adapter has {count} parts, more than {SKETCH_PARTS}")
    making = _Making(key, device)
    for located, own in zip(payload.modules, parts, strict=True):
        making.take(located, own)
    return making.finish()


class _Making:
    """One pass over all modules; nothing waits for the device before the end."""

    def __init__(self, key: bytes, device: str) -> None:
        self._key = key
        self._device = torch.device(device)
        self._projections = Projections(key, device)
        self._omitted: Counter[str] = Counter()
        self._numbers: list[int] = []
        self._values: list[torch.Tensor] = []

    def take(self, located: LocatedModule, parts: tuple[CanonicalPart, ...]) -> None:
        if not parts:
            self._omitted["unnamed"] += 1
            return
        try:
            update = update_of(located)
        except FormatError:
            self._omitted["faulty"] += len(parts)
            return
        if any(role in _BIASES for role, _ in located.module.tensors):
            self._omitted["no_factors"] += 1
        if isinstance(update, NoSpectrum):
            self._omitted["no_factors"] += len(parts)
        elif _is_too_large(update):
            self._omitted["too_large"] += len(parts)
        else:
            moved = _moved(update, self._device)
            for part in parts:
                self._add(moved, part, located)

    def _add(self, update: _Factored, part: CanonicalPart, located: LocatedModule) -> None:
        outputs, inputs = _shape_of(update)
        rows = range(outputs) if part.rows is None else part.rows
        if rows.step != 1 or not 0 <= rows.start < rows.stop <= outputs:
            self._omitted["faulty"] += 1
            return
        left, right = self._projections.of_part(part.name, len(rows), inputs)
        self._values.append(_project(update, left, right, rows) * located.factor)
        self._numbers.append(hashed_name(self._key, part.name))
        if located.module.find_tensor("magnitude") is not None:
            self._omitted["direction_only"] += 1

    def finish(self) -> Sketch:
        values = np.zeros((0, K, K))
        if self._values:
            values = torch.stack(self._values).cpu().numpy()
        omissions = Omissions(**self._omitted)
        numbers = np.array(self._numbers, np.uint64)
        return build_sketch(key_id_of(self._key), numbers, values, omissions)


def _shape_of(update: _Factored) -> tuple[int, int]:
    if isinstance(update, LowRank):
        return update.up.shape[0], update.down.shape[1]
    if isinstance(update, Full):
        return update.matrix.shape[0], update.matrix.shape[1]
    left, right = _shape_of(update.left), _shape_of(update.right)
    return left[0] * right[0], left[1] * right[1]


def _is_too_large(update: _Factored) -> bool:
    """Whether small factors, multiplied out as a Kronecker product, would cost more than they show."""
    outputs, inputs = _shape_of(update)
    if max(outputs, inputs) > WIDTH_LIMIT:
        return True
    if not isinstance(update, Kronecker):
        return False
    first = _shape_of(update.left)[0] * max(_shape_of(update.right)[1], _rank_of(update.right))
    second = _shape_of(update.right)[1] * max(_shape_of(update.left)[1], _rank_of(update.left))
    return K * max(first, second) > _KRONECKER_VALUES


def _rank_of(side: LowRank | Full) -> int:
    return side.down.shape[0] if isinstance(side, LowRank) else 0


def _moved(update: _Factored, device: torch.device) -> _Factored:
    """Return `update` on `device`, as float32 or float64."""
    if isinstance(update, LowRank):
        return LowRank(_widened(update.up.to(device)), _widened(update.down.to(device)))
    if isinstance(update, Full):
        return Full(_widened(update.matrix.to(device)))
    return Kronecker(_moved_side(update.left, device), _moved_side(update.right, device))


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def _moved_side(side: LowRank | Full, device: torch.device) -> LowRank | Full:
    moved = _moved(side, device)
    if isinstance(moved, Kronecker):
        raise TypeError("a side of a Kronecker product is none itself")
    return moved


def _project(
    update: _Factored, left: torch.Tensor, right: torch.Tensor, rows: range
) -> torch.Tensor:
    """Return left @ W[rows] @ right.T, (k, k), float64. `left` has one column for each of `rows`."""
    if isinstance(update, Kronecker):
        outputs, _ = _shape_of(update)
        padded = left.new_zeros((left.shape[0], outputs))
        padded[:, rows.start : rows.stop] = left
        return _through_kronecker(padded, update).double() @ right.double().T
    if isinstance(update, Full):
        taken = update.matrix[rows.start : rows.stop]
        return (left.to(taken.dtype) @ taken).double() @ right.double().T
    up = update.up[rows.start : rows.stop]
    down = update.down
    return (left.to(up.dtype) @ up).double() @ (down @ right.to(down.dtype).T).double()


def _through_kronecker(left: torch.Tensor, update: Kronecker) -> torch.Tensor:
    """Return left @ (A (x) B), (k, inputs): column (a, b) of `left` meets A by a and B by b."""
    rows, columns = _shape_of(update.right)
    outer, inner = _shape_of(update.left)
    k = left.shape[0]
    met = _times(left.reshape(k * outer, rows), update.right).reshape(k, outer, columns)
    turned = met.transpose(1, 2).reshape(k * columns, outer)
    crossed = _times(turned, update.left).reshape(k, columns, inner)
    return crossed.transpose(1, 2).reshape(k, inner * columns)


def _times(matrix: torch.Tensor, side: LowRank | Full) -> torch.Tensor:
    if isinstance(side, Full):
        return matrix.to(side.matrix.dtype) @ side.matrix
    return (matrix.to(side.up.dtype) @ side.up) @ side.down.to(side.up.dtype)
