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
from typing import TYPE_CHECKING, NamedTuple

from registry.artifacts.claims import Claim, ClaimStatus
from registry.artifacts.pattern_keys import PatternKeys, UnevaluatedPatternError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.artifacts.modules import AdapterModule
    from registry.formats.adapter_config import AdapterConfig

TENSORS = "tensors"
DEFAULT = "default"
NO_SCALE = "method"
# Methods whose update is multiplied; the others say all in their tensors (OFT's alpha is a constraint).
SCALED_METHODS = frozenset({"lora", "dora", "loha", "lokr", "glora", "adalora"})
_PEFT_PREFIX = "base_model.model."
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


class _Shared(NamedTuple):
    """What modules of the same shapes share: `alpha` and `scalar` are places among their tensors."""

    method: str
    rank: int | None
    alpha: int | None
    scalar: int | None
    is_sound: bool


class _Value(NamedTuple):
    alpha: float | None
    scale: float | None
    source: str


def find_scales(
    modules: Sequence[AdapterModule],
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> ScaleFinding:
    """Return the scales of `modules`, counted.

    `alphas` maps names of alpha and scalar tensors to values, None if they were not read; `configs`
    are those of `configs_of`.
    """
    counted = Counter(_keyed_values(modules, alphas, configs))
    sums: dict[tuple[float | None, str], int] = {}
    for (_, value), count in counted.items():
        if value.source != NO_SCALE:
            key = (value.scale, value.source)
            sums[key] = sums.get(key, 0) + count
    counts = tuple(
        ScaleCount(scale, source, count)
        for (scale, source), count in sorted(sums.items(), key=_order)
    )
    return ScaleFinding(
        counts, _claims(counts), (*_odd(counts), *_unlike(modules, counted, counts))
    )


def list_scales(
    modules: Sequence[AdapterModule],
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> tuple[ModuleScale, ...]:
    """Return the scale of every module, in file order; arguments as for `find_scales`."""
    values = _keyed_values(modules, alphas, configs)
    return tuple(
        ModuleScale(module[0], module[1], module[3].rank, value.alpha, value.scale, value.source)
        for module, (_, value) in zip(modules, values, strict=True)
    )


def _order(item: tuple[tuple[float | None, str], int]) -> tuple[bool, float, str]:
    (scale, source), _ = item
    return scale is None, scale or 0.0, source


def _keyed_values(
    modules: Sequence[AdapterModule],
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> list[tuple[int, _Value]]:
    """Return for each module the identity of its shapes and its value."""
    shared: dict[int, _Shared] = {}
    known: dict[tuple[int, float | None, float | None], tuple[int, _Value]] = {}
    found = []
    values = alphas or {}
    settings = _Settings(modules, configs) if configs else None
    for place, module in enumerate(modules):
        key = id(module[3])
        shape = shared.get(key)
        if shape is None:
            shape = shared[key] = _share(module)
        if shape.alpha is None and shape.scalar is None and settings is not None:
            found.append((key, _by_config(shape, settings.of(place))))
            continue
        alpha = None if shape.alpha is None else values.get(module[2][shape.alpha][1][0])
        scalar = None if shape.scalar is None else values.get(module[2][shape.scalar][1][0])
        value = known.get((key, alpha, scalar))
        if value is None:
            value = known[key, alpha, scalar] = (key, _by_tensors(shape, alpha, scalar))
        found.append(value)
    return found


def _share(module: AdapterModule) -> _Shared:
    roles = [role for role, _ in module.tensors]
    alpha = roles.index("alpha") if "alpha" in roles else None
    scalar = roles.index("scalar") if "scalar" in roles else None
    return _Shared(module.method, module.rank, alpha, scalar, not module.faults)


def _by_tensors(shape: _Shared, alpha: float | None, scalar: float | None) -> _Value:
    if alpha is not None and not math.isfinite(alpha):
        alpha = None
    if shape.method not in SCALED_METHODS:
        return _Value(alpha, None, NO_SCALE)
    factor = 1.0 if shape.scalar is None else scalar
    if not shape.is_sound or factor is None or not math.isfinite(factor):
        return _Value(alpha, None, TENSORS)
    if shape.method == "lokr" and shape.rank is None:
        # Both Kronecker factors in full: every loader leaves alpha out.
        return _Value(alpha, factor, TENSORS)
    if shape.alpha is None:
        # LyCORIS' own scalar is a stored number; the alpha beside it is still the loaders' guess.
        return _Value(None, factor, DEFAULT)
    if alpha is None or not shape.rank:
        return _Value(alpha, None, TENSORS)
    return _Value(alpha, alpha / shape.rank * factor, TENSORS)


class _Applied(NamedTuple):
    """What a config says of one module: rank and alpha after its patterns; None where it does not."""

    source: str
    settings: AdapterConfig
    rank: int | None
    alpha: float | None


class _Settings:
    """Which config applies to which module, and what its patterns make of it."""

    def __init__(
        self, modules: Sequence[AdapterModule], configs: tuple[tuple[str, AdapterConfig], ...]
    ) -> None:
        self._applied: dict[int, _Applied] = {}
        names = [module[0] for module in modules]
        for source, settings in reversed(configs):  # the side file's comes first, so it wins
            base, _, component = source.partition(":")
            prefix = f"{component}." if component else _PEFT_PREFIX
            places = [
                place
                for place, name in enumerate(names)
                if not component or name.startswith(prefix)
            ]
            own = [names[place].removeprefix(prefix) for place in places]
            for place, rank, alpha in zip(places, *_patterned(own, settings), strict=True):
                self._applied[place] = _Applied(base, settings, rank, alpha)

    def of(self, place: int) -> _Applied | None:
        return self._applied.get(place)


def _patterned(
    names: list[str], settings: AdapterConfig
) -> tuple[list[int | None], list[float | None]]:
    ranks: list[int | None] = [settings.r] * len(names)
    alphas: list[float | None] = [settings.lora_alpha] * len(names)
    try:
        for place, value in _matched(names, settings.rank_pattern):
            ranks[place] = int(value)
    except UnevaluatedPatternError:
        ranks = [None] * len(names)
    try:
        for place, value in _matched(names, settings.alpha_pattern):
            alphas[place] = value
    except UnevaluatedPatternError:
        alphas = [math.nan] * len(names)
    return ranks, alphas


def _matched(names: list[str], pattern: tuple[tuple[str, float], ...]) -> list[tuple[int, float]]:
    if not pattern:
        return []
    found = PatternKeys(tuple(key for key, _ in pattern)).first_match(names)
    return [(place, pattern[number][1]) for place, number in enumerate(found) if number is not None]


def _by_config(shape: _Shared, applied: _Applied | None) -> _Value:
    if shape.method not in SCALED_METHODS:
        return _Value(None, None, NO_SCALE)
    if applied is None or applied.alpha is None:
        return _by_tensors(shape, None, None)
    if not shape.is_sound:
        return _Value(applied.alpha, None, applied.source)
    # PEFT divides by the config's rank: it counts where no factor shows one, or AdaLoRA pruned it.
    rank = shape.rank if shape.method in ("lora", "dora", "loha") else applied.rank
    if not rank or math.isnan(applied.alpha):
        alpha = None if math.isnan(applied.alpha) else applied.alpha
        return _Value(alpha, None, applied.source)
    if shape.method == "adalora":
        strength = applied.alpha if applied.alpha > 0 else float(rank)
        return _Value(applied.alpha, strength / (rank + _ADALORA_EPSILON), applied.source)
    is_rooted = applied.settings.use_rslora and shape.method in ("lora", "dora")
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
    modules: Sequence[AdapterModule],
    counted: Counter[tuple[int, _Value]],
    counts: tuple[ScaleCount, ...],
) -> tuple[str, ...]:
    """Return what makes loaders disagree on the scale: ranks that differ where no alpha says more."""
    if len(counted) == 1:
        return ()
    ranks = {id(module[3]): module[3].rank for module in modules}
    found = []
    guessed = {ranks[key] for (key, value) in counted if value.source == DEFAULT}
    if len(guessed - {None}) > 1:
        found.append(
            "ranks differ and nothing says alpha: loaders disagree on the scale "
            "(older diffusers divide the commonest rank by each module's own)"
        )
    fused = _count_fused(modules, counted) if len(counts) > 1 else 0
    if fused:
        found.append(
            f"{fused} fused modules have several times the rank of the others and the same alpha: "
            "if they were trained split, loaders apply a fraction of what was trained"
        )
    return tuple(found)


def _count_fused(modules: Sequence[AdapterModule], counted: Counter[tuple[int, _Value]]) -> int:
    """Return how many modules hold several that were trained apart, with the alpha of one.

    sd-scripts puts split q, k and v together (rank 3r) and keeps alpha, so loaders that divide by
    the rank that they see apply a third of what was trained.
    """
    alphas = {key: value.alpha for key, value in counted if value.source == TENSORS}
    usual = {(module[3].rank, alphas.get(id(module[3]))) for module in modules}
    return sum(
        any(
            module[0].endswith(ends)
            and (module[3].rank // parts, alphas.get(id(module[3]))) in usual
            for parts, ends in _FUSED.items()
            if module[3].rank % parts == 0
        )
        for module in modules
        if module[3].rank
    )
