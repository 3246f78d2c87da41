"""Classify a safetensors file by its header: kind, dialect, method, family, rank, alpha.

Header only: no weights, no torch. What the tensors do not show is None, with the reason among the
claims, and never a guess.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.artifacts.claims import (
    Claim,
    ClaimStatus,
    check_family,
    check_number,
    family_in,
)
from registry.artifacts.classifying.alpha import configs_of, find_alpha
from registry.artifacts.classifying.base_guess import NAME_SOURCE, expert_in, guess_base
from registry.artifacts.classifying.dialects import BFL, find_dialect, prefixes_of
from registry.artifacts.classifying.families import fit_family
from registry.artifacts.classifying.kinds import (
    ADAPTER,
    TRAINING_STATE,
    KindEvidence,
    find_kind,
    is_expected_extra,
)
from registry.artifacts.classifying.layers import view_layers
from registry.artifacts.classifying.modules import pair_tensors
from registry.artifacts.classifying.scales import find_scales
from registry.artifacts.classifying.shapes import group_shapes
from registry.artifacts.merges import WHOLE_MODELS, describe_merge, find_merge_evidence, is_raw_dump

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.artifacts.classifying.base_guess import BaseGuess
    from registry.artifacts.classifying.families import FamilyFit
    from registry.artifacts.classifying.modules import AdapterModule, Pairing
    from registry.artifacts.classifying.scales import ScaleCount
    from registry.artifacts.classifying.shapes import ModuleShapes
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import SafetensorsHeader

_MOST_REFUSALS = 50
_ADAPTER_LIKE = (ADAPTER, TRAINING_STATE)
# Parts of an adapter that ride along with its method.
_PEFT_ROOTS = ("base_model", "base_model.model")
_SIDE_METHODS = frozenset({"scale", "norm", "orphan"})
_FAMILY_SOURCES = ("ss_base_model_version", "modelspec.architecture")
# Trainers write one architecture for all of a family, so that narrows nothing; a file's name does.
_BASE_SOURCES = ("ss_sd_model_name",)
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

    `rank`, `alpha` and the effective `scale` are None where modules differ; then `ranks`, `alphas` and
    `scales` hold all values. `methods` counts modules by method. `base_guess` is a guess and says why;
    None for what is no adapter. An adapter with `refusals` must not be released.
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
    scale: float | None = None
    scales: tuple[ScaleCount, ...] = ()
    base_guess: BaseGuess | None = None


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
    evidence = KindEvidence(header, pairing, config, name_hint)
    kind = find_kind(evidence)
    if kind not in _ADAPTER_LIKE:
        return _not_an_adapter(kind, evidence)
    configs = configs_of(dict(header.metadata), config)
    shapes = group_shapes(pairing.modules)
    found = _with_family(_start(kind, evidence, shapes), evidence, shapes, configs)
    return _with_numbers(found, shapes, alphas, configs, dict(header.metadata))


def _start(kind: str | None, evidence: KindEvidence, shapes: ModuleShapes) -> Classification:
    """Return what the names and roles of the tensors say."""
    pairing, config = evidence.pairing, evidence.config
    dialect = find_dialect([module[0] for module in pairing.modules] or _names(evidence.header))
    ranks = _ranks(shapes)
    methods = Counter([module[1] for module in pairing.modules])
    return Classification(
        kind=kind,
        tensors=len(evidence.header.tensors),
        dialect=dialect,
        method=_method(pairing, methods, dialect, config),
        modules=len(pairing.modules) or _count_peft_modules(pairing, config),
        rank=ranks[0] if len(ranks) == 1 else None,
        ranks=ranks,
        methods=tuple(sorted(methods.items())),
        refusals=_refusals(shapes),
    )


def _with_family(
    found: Classification,
    evidence: KindEvidence,
    shapes: ModuleShapes,
    configs: tuple[tuple[str, AdapterConfig], ...],
) -> Classification:
    """Return `found` with family, base guess and all warnings but those on numbers."""
    metadata = dict(evidence.header.metadata)
    layers = view_layers(shapes, evidence.pairing.others, prefixes_of(found.dialect))
    fit = fit_family(layers)
    family, claims = _family(fit, _family_words(metadata, evidence.config))
    words = _base_words(metadata, configs, evidence.place)
    return replace(
        found,
        family=family,
        base_guess=guess_base(family, fit, layers, words),
        claims=claims,
        warnings=(
            *_warnings(evidence.pairing, configs, found.method),
            *_merged_adapters(metadata),
        ),
    )


def _with_numbers(
    found: Classification,
    shapes: ModuleShapes,
    alphas: Mapping[str, float] | None,
    configs: tuple[tuple[str, AdapterConfig], ...],
    metadata: Mapping[str, str],
) -> Classification:
    """Return `found` with alpha and scale, and with the claims and warnings on them."""
    alpha = find_alpha(shapes, alphas, configs)
    scales = find_scales(shapes, alphas, configs)
    result = replace(
        found,
        alpha=alpha.alpha,
        alphas=alpha.values,
        scale=scales.scale,
        scales=scales.counts,
        claims=(*found.claims, *alpha.claims, *scales.claims),
        warnings=(*alpha.warnings, *scales.warnings, *found.warnings),
    )
    return replace(result, claims=(*result.claims, *_number_claims(result, metadata, configs)))


def _names(header: SafetensorsHeader) -> list[str]:
    return [tensor.name for tensor in header.tensors]


def _not_an_adapter(kind: str | None, evidence: KindEvidence) -> Classification:
    claims: tuple[Claim, ...] = ()
    if kind is None:
        note = "no rule knows these tensor names"
        claims = (Claim("kind", ClaimStatus.UNKNOWN, "tensors", note),)
    return Classification(
        kind, len(evidence.header.tensors), claims=claims, refusals=_merged(kind, evidence)
    )


def _merged(kind: str | None, evidence: KindEvidence) -> tuple[Refusal, ...]:
    """Return the refusal of a whole model that something was merged into; () without evidence of it."""
    if kind not in WHOLE_MODELS:
        return ()
    found = find_merge_evidence(dict(evidence.header.metadata), evidence.pairing, evidence.place)
    if not found and not is_raw_dump(evidence.pairing):
        return ()
    code, message = describe_merge(kind, evidence.pairing, found)
    return (Refusal(code, "", message),)


def _family_words(metadata: Mapping[str, str], config: AdapterConfig | None) -> dict[str, str]:
    words = {key: metadata[key] for key in _FAMILY_SOURCES if metadata.get(key)}
    if config is not None and config.base_model_name_or_path:
        # Of a path only the last part can be a model's name.
        words[_CONFIG_SOURCE] = _last_part(config.base_model_name_or_path)
    return words


def _base_words(
    metadata: Mapping[str, str],
    configs: tuple[tuple[str, AdapterConfig], ...],
    name_hint: str | None,
) -> dict[str, str]:
    """Return texts that may name the base model, by source; of paths only the last part."""
    words = {key: metadata[key] for key in _BASE_SOURCES if metadata.get(key)}
    for source, settings in configs:
        if settings.base_model_name_or_path:
            words[f"{source} (base_model_name_or_path)"] = settings.base_model_name_or_path
    words = {source: _last_part(text) for source, text in words.items()}
    expert = expert_in(name_hint)
    return {**words, NAME_SOURCE: expert} if expert is not None else words


def _last_part(text: str) -> str:
    return text.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _family(fit: FamilyFit, words: Mapping[str, str]) -> tuple[str | None, tuple[Claim, ...]]:
    for source, text in words.items():
        claimed = family_in(text)
        if claimed is not None and claimed in fit.alternatives:
            note = f"the tensors fit {_listed(fit)} alike; this word decided"
            return claimed, (Claim("family", ClaimStatus.UNVERIFIED, source, note),)
    if fit.default is not None:
        return fit.default, (*_guessed(fit, words), *check_family(fit.default, words))
    note = "block names and widths fit no family that is known"
    if fit.alternatives:
        note = f"the tensors fit {_listed(fit)} alike, and no claim says which"
    return None, (Claim("family", ClaimStatus.UNKNOWN, "tensors", note),)


def _guessed(fit: FamilyFit, words: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return that the family is the commonest of several that fit, unless a word agrees with it."""
    if not fit.alternatives or any(family_in(text) == fit.default for text in words.values()):
        return ()
    note = f"guessed: the tensors fit {_listed(fit)} alike, and the first is the commonest"
    return (Claim("family", ClaimStatus.UNVERIFIED, "tensors", note),)


def _listed(fit: FamilyFit) -> str:
    names = (*((fit.default,) if fit.default else ()), *fit.alternatives)
    return " and ".join(names)


def _method(
    pairing: Pairing, counted: Counter[str], dialect: str | None, config: AdapterConfig | None
) -> str | None:
    modules = pairing.modules
    main = {name: count for name, count in counted.items() if name not in _SIDE_METHODS}
    if not main:
        side = max(counted, key=lambda name: counted[name], default=None)
        if side is not None and side != "orphan":
            return side
        return f"peft:{config.peft_type}" if config is not None else _prompt_tuning(pairing)
    method = max(sorted(main), key=lambda name: main[name])
    if method != "lora":
        return method
    # Black Forest Labs' control adapters also train biases and the norms' scales.
    if dialect == BFL and "scale" in counted and any(m.find_tensor("up_bias") for m in modules):
        return "control"
    is_conv = any(module[3].kernel > 1 for module in modules)
    return "locon" if is_conv else "lora"


def _prompt_tuning(pairing: Pairing) -> str | None:
    # A file of `prompt_embeddings` alone is an adapter without modules; prefix and p-tuning look alike.
    if pairing.modules:
        return None
    tasks = any(tensor.name.startswith("prefix_task_") for tensor in pairing.others)
    return "peft:MULTITASK_PROMPT_TUNING" if tasks else "peft:PROMPT_TUNING"


def _peft_stem(name: str, config: AdapterConfig) -> str | None:
    """Return the module of a tensor of one of PEFT's many methods, which prefix what they train."""
    parts = name.split(".")
    word = config.peft_type.lower().replace("_", "")
    for place, part in enumerate(parts):
        if part.lower().replace("_", "").startswith(word):
            return ".".join(parts[:place])
    return None


def _count_peft_modules(pairing: Pairing, config: AdapterConfig | None) -> int:
    if config is None:
        return 0
    stems = {_peft_stem(tensor.name, config) for tensor in pairing.others}
    return len({stem for stem in stems if stem and stem not in _PEFT_ROOTS})


def _ranks(shapes: ModuleShapes) -> tuple[int, ...]:
    if any(sample[1] == "oft" for sample in shapes.samples.values()):
        found = {_oft_rank(module) for module in shapes.modules}
    else:
        found = {sample.rank for sample in shapes.samples.values()}
    return tuple(sorted(rank for rank in found if rank is not None))


def _oft_rank(module: AdapterModule) -> int | None:
    if module[1] == "oft" and module[0].startswith("oft_"):
        # kohya's own OFT: as many blocks as its rank, where LyCORIS has blocks of that size.
        blocks = module.find_tensor("oft_blocks")
        return blocks.shape[0] if blocks is not None and blocks.shape else None
    return module[3].rank


def _refusals(shapes: ModuleShapes) -> tuple[Refusal, ...]:
    if not any(sample.faults for sample in shapes.samples.values()):
        return ()
    faulty = [(module.name, fault) for module in shapes.modules for fault in module.faults]
    found = [
        Refusal("half-pair" if " without " in fault else "misfit", name, fault)
        for name, fault in faulty[:_MOST_REFUSALS]
    ]
    if len(faulty) > _MOST_REFUSALS:
        left = len(faulty) - _MOST_REFUSALS
        found.append(Refusal("more", "", f"{left} further faults in modules are not listed"))
    return tuple(found)


def _warnings(
    pairing: Pairing, configs: tuple[tuple[str, AdapterConfig], ...], method: str | None
) -> tuple[str, ...]:
    found = [f"{source}: {hazard}" for source, settings in configs for hazard in settings.hazards]
    settings = configs[0][1] if configs else None
    unknown = [item for item in pairing.others if not is_expected_extra(item, settings)]
    if method is not None and method.startswith("peft:"):
        # Of these methods only the kind of file is known; none of their tensors is odd for that.
        unknown = []
    if unknown:
        found.append(f"{len(unknown)} tensors belong to no module, such as {unknown[0].name!a}")
    if any(".." in tensor.name.split("/") or "/" in tensor.name for tensor in pairing.others):
        found.append("a tensor name looks like a path")
    return tuple(found)


def _merged_adapters(metadata: Mapping[str, str]) -> tuple[str, ...]:
    key = "modelspec.merged_from"
    return (f"{key}: made of other adapters, so of their data too",) if metadata.get(key) else ()


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
