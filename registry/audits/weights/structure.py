"""Is it a sound adapter: factors in pairs, shapes that fit, a rank and a scale that make sense?

Looks at headers, alphas and the adapter config; reads no weight and needs no torch.
Thresholds: `docs/audits/structure.md`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import CONFIG_SOURCE
from registry.artifacts.classifying.applied_config import apply_configs
from registry.artifacts.classifying.scales import SCALED_METHODS
from registry.audits.reporting import build_report
from registry.formats.findings import Coverage, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.classifying.modules import AdapterModule
    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.updates.files import LocatedModule, WeightFile

RULE = "structure"
MAX_SCALE = 1e3
_ADVICE_FACTORS = "train or export it again: the file holds half a module"
_ADVICE_ALPHA = "ask the trainer's owner for the file as it was saved; a tool may have rewritten it"
_ADVICE_CONFIG = "keep adapter_config.json and weights of one training run together"
_EXAMPLES = 3


class StructureAudit:
    """Pairs, shapes, ranks, alphas, dtypes of factors, agreement with the adapter config."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        modules = subject.modules
        findings = list(_findings(subject))
        coverage = Coverage(len(modules), len(modules), "modules")
        tensors = sum(len(file.header.tensors) for file in subject.files if file.header)
        methods = sorted({located.module.method for located in modules})
        metrics = [
            ("modules", str(len(modules))),
            ("tensors", str(tensors)),
            ("methods", ", ".join(methods)),
            ("ranks", _ranks(modules)),
        ]
        faults = sum(finding.verdict is Verdict.FAIL for finding in findings)
        summary = f"{len(modules)} modules of method {', '.join(methods) or 'none'}"
        if faults:
            summary = f"{faults} faults in {summary}"
        return build_report(self, coverage, findings, summary=summary, metrics=metrics)


def _findings(subject: AuditSubject) -> Iterator[Finding]:
    if not subject.modules:
        yield Finding(
            RULE,
            Verdict.FAIL,
            "it has no adapter module",
            "this is no adapter: see what it is with `loraseal inspect`",
        )
    for located in subject.modules:
        yield from _module_findings(located)
    for file in subject.files:
        yield from _other_tensors(file)
    yield from _config_findings(subject)


def _module_findings(located: LocatedModule) -> Iterator[Finding]:
    module = located.module
    for fault in module.faults:
        yield Finding(RULE, Verdict.FAIL, fault, _ADVICE_FACTORS, module.name)
    if module.faults:
        return
    yield from _factor_findings(located)
    yield from _scale_findings(located)


def _factor_findings(located: LocatedModule) -> Iterator[Finding]:
    module, geometry = located.module, located.module.geometry
    for role, tensor in module.tensors:
        if tensor.dtype.startswith("F8_") and role != "alpha":
            yield Finding(
                RULE,
                Verdict.FAIL,
                f"{role} is stored as {tensor.dtype} without a scale, which rounds most of it to zero",
                "export it as BF16 or F16",
                module.name,
            )
        if 0 in tensor.shape:
            yield Finding(
                RULE,
                Verdict.FAIL,
                f"{role} has shape {list(tensor.shape)}",
                _ADVICE_FACTORS,
                module.name,
            )
    if module.rank is None or module.method not in ("lora", "dora"):
        return
    widths = (geometry.outputs, (geometry.inputs or 0) * geometry.kernel)
    smallest = min(width or 0 for width in widths)
    if module.rank > smallest:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"rank {module.rank} is larger than the layer's smaller side, {smallest}",
            "a lower rank holds the same; nothing is wrong otherwise",
            module.name,
        )


def _scale_findings(located: LocatedModule) -> Iterator[Finding]:
    module = located.module
    if module.method not in SCALED_METHODS:
        return
    value = located.stored_alpha
    if value is not None and not (math.isfinite(value) and value > 0):
        yield Finding(
            RULE,
            Verdict.FAIL,
            f"alpha is {value:g}, expected a number above 0",
            _ADVICE_ALPHA,
            module.name,
        )
        return
    scale = located.factor
    if not abs(scale) <= MAX_SCALE:
        yield Finding(
            RULE,
            Verdict.FAIL,
            f"scale is {scale:g}, expected at most {MAX_SCALE:g}",
            _ADVICE_ALPHA,
            module.name,
        )


def _other_tensors(file: WeightFile) -> Iterator[Finding]:
    others = file.pairing.others if file.pairing is not None else ()
    if not others or file.pairing is None or not file.pairing.modules:
        return
    names = ", ".join(tensor.name for tensor in others[:_EXAMPLES])
    yield Finding(
        RULE,
        Verdict.WARN,
        f"{len(others)} tensors belong to no module that this audit knows: {names}",
        "they may be whole layers saved beside the adapter (modules_to_save) or an unknown method",
        file.path,
    )


def _config_findings(subject: AuditSubject) -> Iterator[Finding]:
    config = subject.config
    if config is None:
        return
    magnitudes = [
        located.module.find_tensor("magnitude") is not None for located in subject.modules
    ]
    if magnitudes and any(magnitudes) != config.use_dora:
        yield Finding(
            RULE,
            Verdict.FAIL,
            f"adapter_config.json says use_dora={str(config.use_dora).lower()}, the weights disagree",
            _ADVICE_CONFIG,
            "adapter_config.json",
        )
    names = [located.module.name for located in subject.modules]
    applied = apply_configs(names, ((CONFIG_SOURCE, config),))
    for located, said in zip(subject.modules, applied, strict=True):
        yield from _rank_findings(located.module, None if said is None else said.rank)


def _rank_findings(module: AdapterModule, expected: int | None) -> Iterator[Finding]:
    if module.method not in ("lora", "dora") or module.rank is None or expected is None:
        return
    if module.rank != expected:
        yield Finding(
            RULE,
            Verdict.FAIL,
            f"rank is {module.rank}, adapter_config.json says {expected}",
            _ADVICE_CONFIG,
            module.name,
        )


def _ranks(modules: tuple[LocatedModule, ...]) -> str:
    ranks = sorted({located.module.rank for located in modules if located.module.rank is not None})
    return ", ".join(str(rank) for rank in ranks[:_EXAMPLES]) + (
        " ..." if ranks[_EXAMPLES:] else ""
    )
