"""Classify a safetensors file by its header: kind, dialect, method, family, rank, alpha.

Header only: no weights, no torch. What the tensors do not show is None, with the reason among the
claims, and never a guess.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.artifacts.alpha import configs_of, find_alpha
from registry.artifacts.claims import (
    Claim,
    ClaimStatus,
    check_family,
    check_number,
    family_in,
)
from registry.artifacts.dialects import BFL, find_dialect, prefixes_of
from registry.artifacts.families import fit_family
from registry.artifacts.kinds import (
    ADAPTER,
    TRAINING_STATE,
    KindEvidence,
    find_kind,
    is_expected_extra,
)
from registry.artifacts.layers import view_layers
from registry.artifacts.modules import pair_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.families import FamilyFit
    from registry.artifacts.modules import AdapterModule, Pairing
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import SafetensorsHeader

_MOST_REFUSALS = 50
_ADAPTER_LIKE = (ADAPTER, TRAINING_STATE)
# Parts of an adapter that ride along with its method.
_SIDE_METHODS = frozenset({"scale", "norm", "orphan"})
_FAMILY_SOURCES = ("ss_base_model_version", "modelspec.architecture")
_CONFIG_SOURCE = "adapter_config.json:base_model_name_or_path"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that makes the file unfit: what, and at which module or tensor ("" for the file)."""

    code: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Classification:
    """What a header says. Spelling of kind, dialect, method and family as in the fixture sheet.

    `rank` and `alpha` are None where modules differ; then `ranks` and `alphas` hold all values.
    `methods` counts modules by method. An adapter with `refusals` must not be released.
    """

    kind: str | None
    tensors: int
    dialect: str | None = None
    method: str | None = None
    family: str | None = None
    modules: int = 0
    rank: int | None = None
    ranks: tuple[int, ...] = ()
    alpha: float | None = None
    alphas: tuple[float, ...] = ()
    methods: tuple[tuple[str, int], ...] = ()
    claims: tuple[Claim, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()


def classify(
    header: SafetensorsHeader,
    *,
    config: AdapterConfig | None = None,
    name_hint: str | None = None,
    alphas: Mapping[str, float] | None = None,
) -> Classification:
    """Return what the file with this header is.

    `config` is the adapter_config.json beside it; `name_hint` its path as far as known (training
    state is told from adapters by its folder); `alphas` the values of alpha tensors by name, if they were read.

    Raises:
        FormatError: the header carries a PEFT config that is malformed or would run code.
    """
    pairing = pair_tensors(header)
    kind = find_kind(KindEvidence(header, pairing, config, name_hint))
    if kind not in _ADAPTER_LIKE:
        return _not_an_adapter(kind, header)
    metadata = dict(header.metadata)
    configs = configs_of(metadata, config)
    dialect = find_dialect([module[0] for module in pairing.modules] or _names(header))
    family, family_claims = _family(pairing, dialect, _family_words(metadata, config))
    found = find_alpha(pairing.modules, alphas, configs)
    ranks = _ranks(pairing.modules)
    result = Classification(
        kind=kind,
        tensors=len(header.tensors),
        dialect=dialect,
        method=_method(pairing.modules, dialect, config),
        family=family,
        modules=len(pairing.modules),
        rank=ranks[0] if len(ranks) == 1 else None,
        ranks=ranks,
        alpha=found.alpha,
        alphas=found.values,
        methods=_methods(pairing.modules),
        claims=(*family_claims, *found.claims),
        refusals=_refusals(pairing.modules),
        warnings=(*found.warnings, *_warnings(pairing, configs)),
    )
    return replace(result, claims=(*result.claims, *_number_claims(result, metadata, configs)))


def _names(header: SafetensorsHeader) -> list[str]:
    return [tensor.name for tensor in header.tensors]


def _not_an_adapter(kind: str | None, header: SafetensorsHeader) -> Classification:
    claims: tuple[Claim, ...] = ()
    if kind is None:
        note = "no rule knows these tensor names"
        claims = (Claim("kind", ClaimStatus.UNKNOWN, "tensors", note),)
    return Classification(kind, len(header.tensors), claims=claims)


def _family_words(metadata: Mapping[str, str], config: AdapterConfig | None) -> dict[str, str]:
    words = {key: metadata[key] for key in _FAMILY_SOURCES if metadata.get(key)}
    if config is not None and config.base_model_name_or_path:
        # Of a path only the last part can be a model's name.
        words[_CONFIG_SOURCE] = config.base_model_name_or_path.rstrip("/\\").replace("\\", "/")
        words[_CONFIG_SOURCE] = words[_CONFIG_SOURCE].rpartition("/")[2]
    return words


def _family(
    pairing: Pairing, dialect: str | None, words: Mapping[str, str]
) -> tuple[str | None, tuple[Claim, ...]]:
    layers = view_layers(pairing.modules, pairing.others, prefixes_of(dialect))
    fit = fit_family(layers)
    for source, text in words.items():
        claimed = family_in(text)
        if claimed is not None and claimed in fit.alternatives:
            note = f"the tensors fit {_listed(fit)} alike; this word decided"
            return claimed, (Claim("family", ClaimStatus.UNVERIFIED, source, note),)
    if fit.default is not None:
        return fit.default, check_family(fit.default, words)
    note = "block names and widths fit no family that is known"
    if fit.alternatives:
        note = f"the tensors fit {_listed(fit)} alike, and no claim says which"
    return None, (Claim("family", ClaimStatus.UNKNOWN, "tensors", note),)


def _listed(fit: FamilyFit) -> str:
    names = (*((fit.default,) if fit.default else ()), *fit.alternatives)
    return " and ".join(names)


def _methods(modules: tuple[AdapterModule, ...]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter([module[1] for module in modules]).items()))


def _method(
    modules: tuple[AdapterModule, ...], dialect: str | None, config: AdapterConfig | None
) -> str | None:
    counted = dict(_methods(modules))
    main = {name: count for name, count in counted.items() if name not in _SIDE_METHODS}
    if not main:
        side = max(counted, key=lambda name: counted[name], default=None)
        if side is not None and side != "orphan":
            return side
        return f"peft:{config.peft_type}" if config is not None else _prompt_tuning(modules)
    method = max(sorted(main), key=lambda name: main[name])
    if method != "lora":
        return method
    # Black Forest Labs' control adapters also train biases and the norms' scales.
    if dialect == BFL and "scale" in counted and any(m.find_tensor("up_bias") for m in modules):
        return "control"
    is_conv = any(module[3].kernel > 1 for module in modules)
    return "locon" if is_conv else "lora"


def _prompt_tuning(modules: tuple[AdapterModule, ...]) -> str | None:
    # A file of `prompt_embeddings` alone is an adapter without modules.
    return None if modules else "peft:PROMPT_TUNING"


def _ranks(modules: tuple[AdapterModule, ...]) -> tuple[int, ...]:
    found = {_rank(module) for module in modules}
    return tuple(sorted(rank for rank in found if rank is not None))


def _rank(module: AdapterModule) -> int | None:
    if module[1] == "oft" and module[0].startswith("oft_"):
        # kohya's own OFT: as many blocks as its rank, where LyCORIS has blocks of that size.
        blocks = module.find_tensor("oft_blocks")
        return blocks.shape[0] if blocks is not None and blocks.shape else None
    return module[3].rank


def _refusals(modules: tuple[AdapterModule, ...]) -> tuple[Refusal, ...]:
    faulty = [(module.name, fault) for module in modules for fault in module[3].faults]
    found = [
        Refusal("half-pair" if " without " in fault else "misfit", name, fault)
        for name, fault in faulty[:_MOST_REFUSALS]
    ]
    if len(faulty) > _MOST_REFUSALS:
        left = len(faulty) - _MOST_REFUSALS
        found.append(Refusal("more", "", f"{left} further faults in modules are not listed"))
    return tuple(found)


def _warnings(pairing: Pairing, configs: tuple[tuple[str, AdapterConfig], ...]) -> tuple[str, ...]:
    found = [f"{source}: {hazard}" for source, settings in configs for hazard in settings.hazards]
    settings = configs[0][1] if configs else None
    unknown = [item for item in pairing.others if not is_expected_extra(item, settings)]
    if unknown:
        found.append(f"{len(unknown)} tensors belong to no module, such as {unknown[0].name!a}")
    if any(".." in tensor.name.split("/") or "/" in tensor.name for tensor in pairing.others):
        found.append("a tensor name looks like a path")
    return tuple(found)


def _number_claims(
    result: Classification,
    metadata: Mapping[str, str],
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> tuple[Claim, ...]:
    ranks = tuple(float(rank) for rank in result.ranks)
    claims = [
        *check_number("rank", ranks, "ss_network_dim", metadata.get("ss_network_dim")),
        *check_number("alpha", result.alphas, "ss_network_alpha", metadata.get("ss_network_alpha")),
    ]
    is_dora = result.method == "dora"
    for source, settings in configs:
        if not settings.rank_pattern:
            claims += check_number("rank", ranks, source, settings.r)
        if settings.use_dora != is_dora and result.modules:
            note = f"use_dora is {str(settings.use_dora).lower()}, tensors are {result.method}"
            claims.append(Claim("method", ClaimStatus.DISAGREES, source, note))
    return tuple(claims)
