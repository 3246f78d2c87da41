"""What a DoRA really adds to its base weight: m * (W + dV) / ||W + dV|| - W, along the axis of m.

Without the base only dV can be seen, which is not the update: it is neither low rank nor of the same
size. The axis is told by the tensor: PEFT's `lora_magnitude_vector` has one number for each output in
whatever shape, LyCORIS' `dora_scale` says by its shape ([out, 1] or [1, in]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.errors import FormatError

if TYPE_CHECKING:
    from registry.formats.safetensors import TensorInfo

_PEFT = "lora_magnitude_vector"


@dataclass(frozen=True, slots=True, eq=False)
class Effective:
    """The update (m, n) and by how much it rescales: `factors` are m / ||W + dV||, one for each row or column."""

    update: torch.Tensor
    factors: torch.Tensor


def is_by_output(info: TensorInfo, outputs: int, inputs: int) -> bool:
    """Return whether a magnitude counts outputs (else inputs) of a layer with these widths.

    Raises:
        FormatError: its shape fits neither.
    """
    count = math.prod(info.shape)
    if _PEFT in info.name or len(info.shape) <= 1:
        fits_outputs, fits_inputs = count == outputs, False
    else:
        fits_outputs = info.shape[0] == count == outputs
        fits_inputs = info.shape[1] == count == inputs
    if not fits_outputs and not fits_inputs:
        raise FormatError(
            f"magnitude has shape {list(info.shape)}, expected {outputs} or {inputs} values"
        )
    return fits_outputs


def effective_update(
    weight: torch.Tensor, direction: torch.Tensor, magnitude: torch.Tensor, *, by_output: bool
) -> Effective:
    """Return the effective update of `weight` (m, n), as float32; `direction` (m, n) has its scale.

    A magnitude for each input of a convolution counts for all positions of its kernel.

    Raises:
        FormatError: a row or column of W + dV is zero, so that it has no direction.
    """
    base = weight.float()
    changed = base + direction
    magnitude = magnitude.float().flatten()
    if by_output:
        lengths = torch.linalg.vector_norm(changed, dim=1)
        factors = _ratio(magnitude, lengths)
        return Effective(changed * factors[:, None] - base, factors)
    channels = changed.view(len(changed), len(magnitude), -1)
    lengths = torch.linalg.vector_norm(channels, dim=(0, 2))
    factors = _ratio(magnitude, lengths)
    return Effective((channels * factors[None, :, None]).view_as(base) - base, factors)


def _ratio(magnitude: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    if not bool((lengths > 0).all()):
        raise FormatError("a row or column of the base weight and its update is zero")
    return magnitude / lengths
