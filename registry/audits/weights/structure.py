"""Is it a sound adapter: factors in pairs, shapes that fit, a rank that makes sense?

Looks at headers, alphas and the adapter config; reads no weight and needs no torch. What `scale` and
`dtype_loss` reject is repeated here in one finding each, so that no policy is weaker for naming only this.
Thresholds: `docs/audits/structure.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import CONFIG_SOURCE, METADATA_KEY
from registry.artifacts.classifying.applied_config import apply_configs
from registry.audits.reporting import build_report
from registry.audits.weights.eight_bit import eight_bit_factors, has_scale, tensor_names
from registry.audits.weights.scale import fault_of
from registry.errors import FormatError
from registry.formats.findings import Coverage, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.classifying.modules import AdapterModule
    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.updates.files import LocatedModule, WeightFile

RULE = "structure"
_ADVICE_FACTORS = "train or export it again: the file holds half a module"
_ADVICE_ALPHA = "ask the trainer's owner for the file as it was saved; a tool may have rewritten it"
_ADVICE_CONFIG = "keep adapter_config.json and weights of one training run together"
_BAD_HEADER = "the header's lora_adapter_metadata is malformed, or would run code"
_EXAMPLES = 3


class StructureAudit:
    """Pairs, shapes, ranks, alphas, dtypes of factors, agreement with the adapter config."""

    rule = RULE
    version = "2"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        try:
            modules = subject.modules
        except FormatError:
            # The rank and scale of modules depend on it, so no other audit gets anywhere either.
            return build_report(
                self, Coverage(1, 1, "headers"), [_bad_header()], summary=_BAD_HEADER
            )
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


def _bad_header() -> Finding:
    advice = "save the adapter again without it, or ask its trainer for a sound one"
    return Finding(RULE, Verdict.FAIL, _BAD_HEADER, advice, METADATA_KEY)


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
    yield from _beyond_structure(subject)
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


def _factor_findings(located: LocatedModule) -> Iterator[Finding]:
    module, geometry = located.module, located.module.geometry
    for role, tensor in module.tensors:
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


def _beyond_structure(subject: AuditSubject) -> Iterator[Finding]:
    """Yield what other audits reject in full, as one finding each: a policy may require this one only."""
    faulty = [located for located in subject.modules if fault_of(located) is not None]
    if faulty:
        yield Finding(
            RULE,
            Verdict.FAIL,
            f"{fault_of(faulty[0])}, in {len(faulty)} modules of such kind: see the scale audit",
            _ADVICE_ALPHA,
            faulty[0].module.name,
        )
    yield from _eight_bit(subject)


def _eight_bit(subject: AuditSubject) -> Iterator[Finding]:
    names = {id(file): tensor_names(file) for file in subject.files}
    found: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for located in subject.modules:
        for _, tensor in eight_bit_factors(located):
            is_scaled = has_scale(tensor, names[id(located.file)])
            found[is_scaled].append((tensor.dtype, located.module.name))
    for is_scaled, verdict in ((False, Verdict.FAIL), (True, Verdict.INCONCLUSIVE)):
        rows = found[is_scaled]
        if rows:
            words = "with scales that no audit applies" if is_scaled else "without a scale"
            yield Finding(
                RULE,
                verdict,
                f"{len(rows)} factors are stored as {rows[0][0]} {words}: see the dtype_loss audit",
                "export it as BF16 or F16",
                rows[0][1],
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
    shown = ", ".join(str(rank) for rank in ranks[:_EXAMPLES]) or "-"
    return shown + (" ..." if ranks[_EXAMPLES:] else "")
