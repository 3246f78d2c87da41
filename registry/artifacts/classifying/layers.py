"""A short view of an adapter's modules for telling model families apart.

Hundreds of modules differ only by their block numbers. Names are reduced to stems (digits dropped,
dots written as underscores, the dialect's prefix taken off), and each stem keeps its widths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.artifacts.classifying.shapes import ModuleShapes
    from registry.formats.safetensors import TensorInfo

_TO_STEM = str.maketrans({**{str(digit): None for digit in range(10)}, ".": "_"})


@dataclass(frozen=True, slots=True)
class Layers:
    """Stems with the (inputs, outputs) widths that occur under each; 0 where a width is unknown.

    `names` are the modules' own names and `others` the tensors that belong to no module.
    """

    widths: Mapping[str, frozenset[tuple[int, int]]]
    names: Sequence[str]
    others: Sequence[TensorInfo] = ()

    def has(self, *parts: str) -> bool:
        """Return whether a stem contains one of `parts`."""
        return any(part in stem for stem in self.widths for part in parts)

    def inputs(self, *parts: str) -> frozenset[int]:
        """Return the input widths of all modules whose stem contains one of `parts`."""
        return self._side(0, parts)

    def outputs(self, *parts: str) -> frozenset[int]:
        """Return the output widths of all modules whose stem contains one of `parts`."""
        return self._side(1, parts)

    def within(self, start: str) -> Layers:
        """Return the view of those layers whose stem begins with `start`; names stay as they are."""
        own = {stem: pairs for stem, pairs in self.widths.items() if stem.startswith(start)}
        return Layers(own, self.names, self.others)

    def without(self, part: str) -> Layers:
        """Return the view of those layers whose stem does not contain `part`."""
        own = {stem: pairs for stem, pairs in self.widths.items() if part not in stem}
        return Layers(own, self.names, self.others)

    def _side(self, side: int, parts: tuple[str, ...]) -> frozenset[int]:
        return frozenset(
            widths[side]
            for stem, pairs in self.widths.items()
            if any(part in stem for part in parts)
            for widths in pairs
        )

    def last_index(self, block: str) -> int:
        """Return the highest number that follows `block` and a separator in any name, or -1."""
        numbered = re.compile(rf"(?:^|[._]){block}[._]([0-9]+)")
        found = (numbered.search(name) for name in self.names)
        return max((int(match[1]) for match in found if match), default=-1)


def view_layers(
    shapes: ModuleShapes, others: Sequence[TensorInfo], prefixes: Sequence[str]
) -> Layers:
    """Return the view of modules; the first of `prefixes` that a stem begins with is taken off."""
    names = [module[0] for module in shapes.modules]
    # One translation of all names is many times faster than one for each (no name holds a line
    # break: the parser refuses it).
    translated = "\n".join(names).translate(_TO_STEM).split("\n") if names else []
    pairs = set(zip(translated, shapes.keys, strict=True))
    stems = [prefix.translate(_TO_STEM) for prefix in prefixes]
    widths: dict[str, set[tuple[int, int]]] = {}
    for stem, key in pairs:
        geometry = shapes.samples[key].geometry
        start = next((len(prefix) for prefix in stems if stem.startswith(prefix)), 0)
        both = (geometry.inputs or 0, geometry.outputs or 0)
        widths.setdefault(stem[start:], set()).add(both)
    return Layers({stem: frozenset(found) for stem, found in widths.items()}, names, others)
