"""What the PEFT configs at hand say of each module: rank and alpha, after their patterns.

adapter_config.json speaks of all modules of the file beside it, diffusers' `lora_adapter_metadata` of
those of one component each (`transformer.`, `text_encoder.`), by the names that they have inside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from registry.artifacts.classifying.pattern_keys import PatternKeys, UnevaluatedPatternError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.adapter_config import AdapterConfig

_PEFT_PREFIX = "base_model.model."


class AppliedConfig(NamedTuple):
    """What one config says of one module; None where it says nothing.

    `source` is "adapter_config.json" or "lora_adapter_metadata". An alpha whose patterns could not be
    evaluated is NaN, a rank then None.
    """

    source: str
    rank: int | None
    alpha: float | None
    use_rslora: bool


def apply_configs(
    names: Sequence[str], configs: tuple[tuple[str, AdapterConfig], ...]
) -> list[AppliedConfig | None]:
    """Return for each module name what applies to it, None if no config does.

    `configs` are (source, config) pairs as of `configs_of`; the first that speaks of a module counts.
    """
    found: list[AppliedConfig | None] = [None] * len(names)
    for source, settings in configs:
        base, _, component = source.partition(":")
        prefix = f"{component}." if component else _PEFT_PREFIX
        places = [
            place
            for place, name in enumerate(names)
            if found[place] is None and (not component or name.startswith(prefix))
        ]
        own = [names[place].removeprefix(prefix) for place in places]
        for place, rank, alpha in zip(
            places, _ranks(own, settings), _alphas(own, settings), strict=True
        ):
            found[place] = AppliedConfig(base, rank, alpha, settings.use_rslora)
    return found


def _ranks(names: Sequence[str], settings: AdapterConfig) -> list[int | None]:
    try:
        found = _patterned(names, settings.rank_pattern)
    except UnevaluatedPatternError:
        return [None] * len(names)
    return [settings.r if value is None else int(value) for value in found]


def _alphas(names: Sequence[str], settings: AdapterConfig) -> list[float | None]:
    try:
        found = _patterned(names, settings.alpha_pattern)
    except UnevaluatedPatternError:
        return [math.nan] * len(names)
    return [settings.lora_alpha if value is None else value for value in found]


def _patterned(names: Sequence[str], pattern: tuple[tuple[str, float], ...]) -> list[float | None]:
    if not pattern:
        return [None] * len(names)
    found = PatternKeys(tuple(key for key, _ in pattern)).first_match(names)
    return [None if number is None else pattern[number][1] for number in found]
