"""Factors in 8-bit floats: with the scale that they need beside them, or without it.

Measured: at std 1e-3 an unscaled e4m3 turns 67 % of the values into zero, at 1e-5 all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import LocatedModule, WeightFile

# What quantisers put behind the name of a tensor, or in place of its `weight`.
_SCALE_ENDS = ("_scale", "_scale_inv", ".scale", ".scale_weight")
_SWITCHES = frozenset({"alpha", "scalar", "on_input"})


def eight_bit_factors(located: LocatedModule) -> Iterator[tuple[str, TensorInfo]]:
    """Yield role and tensor of every factor of a module that is stored in 8 bits."""
    for role, tensor in located.module.tensors:
        if tensor.dtype.startswith("F8_") and role not in _SWITCHES:
            yield role, tensor


def tensor_names(file: WeightFile) -> frozenset[str]:
    """Return the names of all tensors of `file`."""
    return frozenset(tensor.name for tensor in file.header.tensors) if file.header else frozenset()


def has_scale(tensor: TensorInfo, names: frozenset[str]) -> bool:
    """Return whether one of `names` is that of a scale for `tensor`."""
    stems = {tensor.name, tensor.name.removesuffix(".weight")}
    return any(f"{stem}{end}" in names for stem in stems for end in _SCALE_ENDS)
