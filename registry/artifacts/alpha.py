"""The alpha of an adapter and where it stands: in tensors, in the PEFT config, or in the header.

kohya and LyCORIS store it as a tensor per module; PEFT only in adapter_config.json; recent diffusers in
the header's `lora_adapter_metadata`. Older diffusers files have none, and loaders then take the rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus
from registry.formats.adapter_config import parse_adapter_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.modules import AdapterModule
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
    modules: tuple[AdapterModule, ...],
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> AlphaFinding:
    """Return the alpha; `alphas` maps names of alpha tensors to values, None if they were not read."""
    scaled = [module for module in modules if module.method not in _WITHOUT_SCALE]
    if not scaled:
        return _none("the method has no alpha", "tensors")
    if not any(role == "alpha" for module in scaled for role, _ in module.tensors):
        return _from_configs(configs)
    if alphas is None:
        return _none("stands in tensors that were not read", "tensors")
    stored = [
        (tensor.name, module.rank)
        for module in scaled
        for role, tensor in module.tensors
        if role == "alpha"
    ]
    return _from_tensors(stored, alphas)


def _none(note: str, source: str, values: tuple[float, ...] = ()) -> AlphaFinding:
    return AlphaFinding(None, values, (Claim("alpha", ClaimStatus.UNKNOWN, source, note),))


def _from_tensors(
    stored: list[tuple[str, int | None]], alphas: Mapping[str, float]
) -> AlphaFinding:
    known = [(alphas[name], rank) for name, rank in stored if name in alphas]
    warnings = _odd_values(known)
    if len(known) < len(stored) or not all(math.isfinite(value) for value, _ in known):
        unread = _none("not every alpha is a finite number", "tensors")
        return AlphaFinding(None, (), unread.claims, warnings)
    values = tuple(sorted({value for value, _ in known}))
    if len(values) == 1:
        return AlphaFinding(values[0], values, (), warnings)
    mixed = _none("differs between modules", "tensors", values)
    return AlphaFinding(None, values, mixed.claims, warnings)


def _odd_values(known: list[tuple[float, int | None]]) -> tuple[str, ...]:
    checks = (
        ("alpha is not a finite number", [v for v, _ in known if not math.isfinite(v)]),
        ("alpha is 0, so the module does nothing", [v for v, _ in known if v == 0]),
        ("alpha is negative", [v for v, _ in known if v < 0]),
        (
            f"alpha is more than {_HUGE} times the rank",
            [v for v, rank in known if rank and math.isfinite(v) and abs(v) > _HUGE * rank],
        ),
    )
    return tuple(f"{words} in {len(found)} modules" for words, found in checks if found)


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
