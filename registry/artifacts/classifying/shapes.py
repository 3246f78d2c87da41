"""Modules of the same shapes, taken together: an adapter has hundreds of modules and a few dozen shapes.

What depends on shapes alone is worked out once for each; `pair_tensors` gives modules of the same roles,
dtypes and shapes one geometry, so the geometry's identity stands for them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.artifacts.classifying.modules import AdapterModule

# Which shapes a module has; means nothing outside of one `ModuleShapes`.
ShapeKey: TypeAlias = int


@dataclass(frozen=True, slots=True)
class ModuleShapes:
    """Modules with the key of each one's shapes, in file order, and one sample for each key."""

    modules: Sequence[AdapterModule]
    keys: Sequence[ShapeKey]
    samples: Mapping[ShapeKey, AdapterModule]

    def values(self, role: str, values: Mapping[str, float]) -> list[float | None]:
        """Return for each module the value of its tensor with `role`, None where there is none.

        `values` maps names of tensors to what they hold.
        """
        places = {key: _place(role, sample) for key, sample in self.samples.items()}
        if all(place is None for place in places.values()):
            return [None] * len(self.modules)
        get = values.get
        return [
            None if (place := places[key]) is None else get(module[2][place][1][0])
            for key, module in zip(self.keys, self.modules, strict=True)
        ]

    def has(self, role: str) -> frozenset[ShapeKey]:
        """Return the keys of those modules that have a tensor with `role`."""
        return frozenset(
            key for key, sample in self.samples.items() if _place(role, sample) is not None
        )

    def counts(self) -> Counter[ShapeKey]:
        """Return how many modules have each shape."""
        return Counter(self.keys)


def group_shapes(modules: Sequence[AdapterModule]) -> ModuleShapes:
    """Return `modules`, as `pair_tensors` made them, grouped by their shapes."""
    keys = [id(module[3]) for module in modules]
    return ModuleShapes(modules, keys, dict(zip(keys, modules, strict=True)))


def _place(role: str, sample: AdapterModule) -> int | None:
    return next((place for place, (known, _) in enumerate(sample[2]) if known == role), None)
