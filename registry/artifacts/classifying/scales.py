"""The effective scale of each module: what its update is multiplied with when a loader applies it.

A trainer's strength is in the file twice: in the factors, and in this number, which stands in alpha
tensors (kohya, LyCORIS, OneTrainer), in adapter_config.json (PEFT) or in the header's
`lora_adapter_metadata` (diffusers). Without any, loaders take the rank for alpha, so 1: a guess.

Sources: sd-scripts 48d368f, LyCORIS 4.1.3, PEFT 0.21.2, diffusers 0.42.1.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from registry.artifacts.claims import Claim, ClaimStatus
from registry.artifacts.classifying.applied_config import apply_configs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.classifying.applied_config import AppliedConfig
    from registry.artifacts.classifying.modules import AdapterModule
    from registry.artifacts.classifying.shapes import ModuleShapes, ShapeKey
    from registry.formats.adapter_config import AdapterConfig

TENSORS = "tensors"
DEFAULT = "default"
NO_SCALE = "method"
# Methods whose update is multiplied; the others say all in their tensors (OFT's alpha is a constraint).
SCALED_METHODS = frozenset({"lora", "dora", "loha", "lokr", "glora", "adalora"})
# Of these the factors show the rank that the config must have.
_SHOWN_RANK = frozenset({"lora", "dora", "loha"})
# PEFT adds this to AdaLoRA's rank before it divides.
_ADALORA_EPSILON = 1e-5
# Trainers stay between: alpha 1 at rank 128 is 0.008, rsLoRA with alpha 64 at rank 16 is 16.
_ABSURD, _TINY = 100.0, 1e-3
# How many projections sd-scripts puts into one module where it had trained them apart.
_FUSED = {3: ("_qkv", ".qkv"), 4: ("_linear1", ".linear1")}


class ModuleScale(NamedTuple):
    """How strongly one module's update counts, and how that is known.

    `scale` is None where the method has none (`source` is "method") or where it was not to be had:
    an alpha that was not read, factors that do not fit, patterns that are not evaluated. `source` is
    "tensors", "adapter_config.json", "lora_adapter_metadata", "default" (the guess) or "method".
    DoRA and LoHa: the scale of the product, before a magnitude or norm is applied.
    """

    module: str
    method: str
    rank: int | None
    alpha: float | None
    scale: float | None
    source: str


class ScaleCount(NamedTuple):
    """How many modules have one scale from one source; `scale` is None where it is not known."""

    scale: float | None
    source: str
    modules: int


@dataclass(frozen=True, slots=True)
class ScaleFinding:
    """The scales of all modules that have one, ascending, unknown ones last."""

    counts: tuple[ScaleCount, ...]
    claims: tuple[Claim, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def scale(self) -> float | None:
        """The one scale of all modules, None if they differ or it is not known."""
        values = {count.scale for count in self.counts}
        return values.pop() if len(values) == 1 else None


class _Value(NamedTuple):
    alpha: float | None
    scale: float | None
    source: str


_UNSCALED = _Value(None, None, NO_SCALE)
_Counted: TypeAlias = "Counter[tuple[ShapeKey, _Value]]"


def find_scales(
    shapes: ModuleShapes,
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> ScaleFinding:
    """Return the scales of all modules, counted.

    `alphas` maps names of alpha and scalar tensors to values, None if they were not read; `configs`
    are those of `configs_of`.
    """
    counted = _count(shapes, alphas or {}, configs)
    sums: dict[tuple[float | None, str], int] = {}
    for (_, value), count in counted.items():
        if value.source != NO_SCALE:
            key = (value.scale, value.source)
            sums[key] = sums.get(key, 0) + count
    counts = tuple(
        ScaleCount(scale, source, count)
        for (scale, source), count in sorted(sums.items(), key=_order)
    )
    warnings = (*_odd(counts), *_unlike(shapes, counted, counts))
    return ScaleFinding(counts, _claims(counts), warnings)


def list_scales(
    shapes: ModuleShapes,
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> tuple[ModuleScale, ...]:
    """Return the scale of every module, in file order; arguments as for `find_scales`."""
    return tuple(
        ModuleScale(module[0], module[1], module[3].rank, value.alpha, value.scale, value.source)
        for module, value in zip(
            shapes.modules, _values(shapes, alphas or {}, configs), strict=True
        )
    )


def _order(item: tuple[tuple[float | None, str], int]) -> tuple[bool, float, str]:
    (scale, source), _ = item
    return scale is None, scale or 0.0, source


def _count(
    shapes: ModuleShapes,
    alphas: Mapping[str, float],
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> _Counted:
    if configs:
        values = _values(shapes, alphas, configs)
        return Counter(zip(shapes.keys, values, strict=True))
    if not alphas:
        return Counter(
            {
                (key, _by_tensors(shapes.samples[key], None, None)): count
                for key, count in shapes.counts().items()
            }
        )
    rows = zip(
        shapes.keys, shapes.values("alpha", alphas), shapes.values("scalar", alphas), strict=True
    )
    counted: _Counted = Counter()
    for (key, alpha, scalar), count in Counter(rows).items():
        counted[key, _by_tensors(shapes.samples[key], alpha, scalar)] += count
    return counted


def _values(
    shapes: ModuleShapes,
    alphas: Mapping[str, float],
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> list[_Value]:
    """Return the value of each module, in file order."""
    applied = apply_configs([module[0] for module in shapes.modules], configs)
    stored = shapes.has("alpha") | shapes.has("scalar")
    rows = zip(
        shapes.keys,
        shapes.values("alpha", alphas),
        shapes.values("scalar", alphas),
        applied,
        strict=True,
    )
    return [
        _by_config(shapes.samples[key], config)
        if config is not None and key not in stored
        else _by_tensors(shapes.samples[key], alpha, scalar)
        for key, alpha, scalar, config in rows
    ]


def _by_tensors(module: AdapterModule, alpha: float | None, scalar: float | None) -> _Value:
    """Return the value of a module like this one, whose own tensors hold `alpha` and `scalar`."""
    if module.method not in SCALED_METHODS:
        return _UNSCALED
    if alpha is not None and not math.isfinite(alpha):
        alpha = None
    factor = 1.0 if module.find_tensor("scalar") is None else scalar
    if module.faults or factor is None or not math.isfinite(factor):
        return _Value(alpha, None, TENSORS)
    if module.method == "lokr" and module.rank is None:
        # Both Kronecker factors in full: every loader leaves alpha out.
        return _Value(alpha, factor, TENSORS)
    if module.find_tensor("alpha") is None:
        # LyCORIS' own scalar is a stored number; the alpha beside it is still the loaders' guess.
        return _Value(None, factor, DEFAULT)
    if alpha is None or not module.rank:
        return _Value(alpha, None, TENSORS)
    return _Value(alpha, alpha / module.rank * factor, TENSORS)


def _by_config(module: AdapterModule, applied: AppliedConfig) -> _Value:
    """Return the value of a module like this one, of which a config says rank and alpha."""
    if module.method not in SCALED_METHODS:
        return _UNSCALED
    if applied.alpha is None:
        return _by_tensors(module, None, None)
    # PEFT divides by the config's rank: it counts where no factor shows one, or AdaLoRA pruned it.
    rank = module.rank if module.method in _SHOWN_RANK else applied.rank
    if math.isnan(applied.alpha):
        return _Value(None, None, applied.source)
    if module.faults or not rank:
        return _Value(applied.alpha, None, applied.source)
    if module.method == "adalora":
        strength = applied.alpha if applied.alpha > 0 else float(rank)
        return _Value(applied.alpha, strength / (rank + _ADALORA_EPSILON), applied.source)
    is_rooted = applied.use_rslora and module.method in ("lora", "dora")
    divisor = math.sqrt(rank) if is_rooted else rank
    return _Value(applied.alpha, applied.alpha / divisor, applied.source)


def _claims(counts: tuple[ScaleCount, ...]) -> tuple[Claim, ...]:
    guessed = sum(count.modules for count in counts if count.source == DEFAULT)
    unknown = [count for count in counts if count.scale is None]
    known = {count.scale for count in counts}
    claims = []
    if guessed:
        note = f"guessed for {guessed} modules: nothing says alpha, and loaders then take the rank"
        claims.append(Claim("scale", ClaimStatus.UNVERIFIED, DEFAULT, note))
    if not counts:
        claims.append(Claim("scale", ClaimStatus.UNKNOWN, NO_SCALE, "the method has no scale"))
    elif unknown:
        modules = sum(count.modules for count in unknown)
        note = f"not to be told for {modules} modules: their alpha or pattern was not read"
        claims.append(Claim("scale", ClaimStatus.UNKNOWN, unknown[0].source, note))
    elif len(known) > 1:
        note = "differs between modules"
        claims.append(Claim("scale", ClaimStatus.UNKNOWN, counts[0].source, note))
    return tuple(claims)


def _odd(counts: tuple[ScaleCount, ...]) -> tuple[str, ...]:
    rows = [(count.scale, count) for count in counts if count.scale is not None]
    # Of alphas in tensors `find_alpha` says it if they are 0 or negative.
    told = [row for row in rows if row[1].source != TENSORS]
    checks = (
        (f"effective scale is more than {_ABSURD:g}", [c for s, c in rows if abs(s) > _ABSURD]),
        (f"effective scale is less than {_TINY:g}", [c for s, c in rows if 0 < abs(s) < _TINY]),
        ("effective scale is 0, so the module does nothing", [c for s, c in told if s == 0]),
        ("effective scale is negative", [c for s, c in told if s < 0]),
    )
    return tuple(
        f"{words} in {sum(count.modules for count in found)} modules"
        for words, found in checks
        if found
    )


def _unlike(
    shapes: ModuleShapes, counted: _Counted, counts: tuple[ScaleCount, ...]
) -> tuple[str, ...]:
    """Return what makes loaders disagree on the scale: ranks that differ where no alpha says more."""
    if len(counted) == 1:
        return ()
    found = []
    guessed = {shapes.samples[key].rank for key, value in counted if value.source == DEFAULT}
    if len(guessed - {None}) > 1:
        found.append(
            "ranks differ and nothing says alpha: loaders disagree on the scale "
            "(older diffusers divide the commonest rank by each module's own)"
        )
    fused = _count_fused(shapes, counted) if len(counts) > 1 else 0
    if fused:
        found.append(
            f"{fused} fused modules have several times the rank of the others and the same alpha: "
            "if they were trained split, loaders apply a fraction of what was trained"
        )
    return tuple(found)


def _count_fused(shapes: ModuleShapes, counted: _Counted) -> int:
    """Return how many modules hold several that were trained apart, with the alpha of one.

    sd-scripts puts split q, k and v together (rank 3r) and keeps alpha, so loaders that divide by
    the rank that they see apply a third of what was trained.
    """
    strengths = {
        key: (shapes.samples[key].rank, value.alpha)
        for key, value in counted
        if value.source == TENSORS
    }
    usual = set(strengths.values())
    several = {
        key: ends
        for key, (rank, alpha) in strengths.items()
        for parts, ends in _FUSED.items()
        if rank and rank % parts == 0 and (rank // parts, alpha) in usual
    }
    return sum(
        key in several and module[0].endswith(several[key])
        for key, module in zip(shapes.keys, shapes.modules, strict=True)
    )
