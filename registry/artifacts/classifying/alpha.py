"""The alpha of an adapter and where it stands: in tensors, in the PEFT config, or in the header.

kohya and LyCORIS store it as a tensor per module; PEFT only in adapter_config.json; recent diffusers in
the header's `lora_adapter_metadata`. Older diffusers files have none, and loaders then take the rank.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus
from registry.formats.adapter_config import parse_adapter_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.classifying.shapes import ModuleShapes
    from registry.formats.adapter_config import AdapterConfig

METADATA_KEY = "lora_adapter_metadata"
CONFIG_SOURCE = "adapter_config.json"
# For these `alpha` is not the numerator of a scale: OFT keeps its constraint in it.
_WITHOUT_SCALE = frozenset({"oft", "boft", "full", "ia3", "norm", "scale", "vera"})
# Beyond this factor an alpha is a mistake or an attempt to drown the base model.
_HUGE = 1000


@dataclass(frozen=True, slots=True)
class AlphaFinding:
    """`alpha` is the one value of all modules, or None; `values` are all that occur, ascending.

    `warnings` are values that loaders accept and people should look at.
    """

    alpha: float | None
    values: tuple[float, ...] = ()
    claims: tuple[Claim, ...] = ()
    warnings: tuple[str, ...] = ()


def configs_of(
    metadata: Mapping[str, str], config: AdapterConfig | None
) -> tuple[tuple[str, AdapterConfig], ...]:
    """Return every PEFT config at hand with the name of its source; the side file's comes first.

    Raises:
        FormatError: the header carries one that is malformed or would run code.
    """
    found = [(CONFIG_SOURCE, config)] if config is not None else []
    if METADATA_KEY in metadata:
        found += [
            (f"{METADATA_KEY}:{component}"[:64], settings)
            for component, settings in parse_adapter_metadata(metadata[METADATA_KEY])
        ]
    return tuple(found)


def find_alpha(
    shapes: ModuleShapes,
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> AlphaFinding:
    """Return the alpha; `alphas` maps names of alpha tensors to values, None if they were not read."""
    ranks = {
        key: sample.rank
        for key, sample in shapes.samples.items()
        if sample.method not in _WITHOUT_SCALE
    }
    if not ranks:
        return _none("the method has no alpha", "tensors")
    stored = shapes.has("alpha") & ranks.keys()
    if not stored:
        return _from_configs(configs)
    if alphas is None:
        return _none("stands in tensors that were not read", "tensors")
    counted = Counter(zip(shapes.keys, shapes.values("alpha", alphas), strict=True))
    return _from_tensors(
        [(value, ranks[key], count) for (key, value), count in counted.items() if key in stored]
    )


def _none(note: str, source: str, values: tuple[float, ...] = ()) -> AlphaFinding:
    return AlphaFinding(None, values, (Claim("alpha", ClaimStatus.UNKNOWN, source, note),))


def _from_tensors(stored: list[tuple[float | None, int | None, int]]) -> AlphaFinding:
    known = [(value, rank, count) for value, rank, count in stored if value is not None]
    warnings = _odd_values(known)
    if len(known) < len(stored) or not all(math.isfinite(value) for value, _, _ in known):
        unread = _none("not every alpha is a finite number", "tensors")
        return AlphaFinding(None, (), unread.claims, warnings)
    values = tuple(sorted({value for value, _, _ in known}))
    if len(values) == 1:
        return AlphaFinding(values[0], values, (), warnings)
    mixed = _none("differs between modules", "tensors", values)
    return AlphaFinding(None, values, mixed.claims, warnings)


def _odd_values(known: list[tuple[float, int | None, int]]) -> tuple[str, ...]:
    checks = (
        ("alpha is not a finite number", [n for v, _, n in known if not math.isfinite(v)]),
        ("alpha is 0, so the module does nothing", [n for v, _, n in known if v == 0]),
        ("alpha is negative", [n for v, _, n in known if v < 0]),
        (
            f"alpha is more than {_HUGE} times the rank",
            [n for v, rank, n in known if rank and math.isfinite(v) and abs(v) > _HUGE * rank],
        ),
    )
    return tuple(f"{words} in {sum(found)} modules" for words, found in checks if found)


def _from_configs(configs: tuple[tuple[str, AdapterConfig], ...]) -> AlphaFinding:
    given = [(source, settings) for source, settings in configs if settings.lora_alpha is not None]
    if not given:
        return _none("no alpha in the file; loaders then take the rank", "tensors")
    values = {settings.lora_alpha for _, settings in given if settings.lora_alpha is not None}
    values |= {value for _, settings in given for _, value in settings.alpha_pattern}
    ordered = tuple(sorted(values))
    if len(ordered) > 1:
        return _none("differs between modules", given[0][0], ordered)
    return AlphaFinding(ordered[0], ordered)
