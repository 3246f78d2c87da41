"""Which modules change nothing, and was it because they were never trained?

A module is dead when its update is exactly zero, or its Frobenius norm is below 1e-8 of the median of
the living. One of its factors exactly zero and another not is what trainers start from (LoRA: `up` is zero,
`down` is random): such a module got no training at all. Where whole blocks or components are dead they
are named as one. Thresholds: `docs/audits/dead_modules.md`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.reporting import build_report
from registry.audits.weights.places import block_of, component_of, ranges_in_words
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.bits import LAYOUTS, largest_magnitude

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import LocatedModule
    from registry.updates.spectra import ModuleSpectrum

RULE = "dead_modules"
REVIEW_PERCENT = 10
RELATIVE_NORM = 1e-8
_BIASES = frozenset(("diff_b", "up_bias", "down_bias"))
_BOOKKEEPING = frozenset(("alpha", "on_input", "rescale", "scale", "scalar"))
_ADVICE = "check that these layers were trained; keep the file from delivery until that is known"
_ADVICE_FRESH = "if they were not to be trained, export the adapter without them"


class DeadModulesAudit:
    """Norm of every module's update, and whether the dead ones were ever trained."""

    rule = RULE
    version = "2"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        norms = [
            _norm(located, spectrum)
            for located, spectrum in zip(subject.modules, subject.spectra, strict=True)
        ]
        known = [norm for norm in norms if norm is not None]
        living = torch.tensor([norm for norm in known if 0 < norm < math.inf], dtype=torch.float64)
        median = float(living.median()) if len(living) else 0.0
        judged = [
            _Judged(located, is_dead=norm <= RELATIVE_NORM * median)
            for located, norm in zip(subject.modules, norms, strict=True)
            if norm is not None
        ]
        dead = [module.located for module in judged if module.is_dead]
        fresh = {id(located) for located in dead if _is_fresh(located)}
        findings = [*_dead_findings(dead, fresh, len(judged)), *_whole_findings(judged, fresh)]
        return build_report(
            self,
            Coverage(len(known), len(subject.modules), "modules"),
            findings,
            summary=f"{len(dead)} of {len(known)} modules change nothing",
            metrics=[
                ("dead modules", str(len(dead))),
                ("of these never trained", str(len(fresh))),
                ("median norm", f"{median:.5g}"),
            ],
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A module of which it is known whether it lives."""

    located: LocatedModule
    is_dead: bool

    @property
    def name(self) -> str:
        return self.located.module.name


def _norm(located: LocatedModule, spectrum: ModuleSpectrum) -> float | None:
    """Return the Frobenius norm of the module's update; None where nothing is known of it.

    For methods without a spectrum only "exactly zero" can be told: 0, or infinity for "it lives".
    """
    if spectrum.values is not None:
        norm = float(spectrum.values.norm())
        # A DoRA module without direction may still have a trained magnitude, GLoRA its other
        # half, and a module without weights a bias.
        is_partial = bool(spectrum.caveat) or any(
            role in _BIASES for role, _ in located.module.tensors
        )
        is_unknown = not math.isfinite(norm) or (norm == 0 and is_partial)
        return None if is_unknown else norm
    weights = _weights(located)
    if spectrum.is_fault or not weights or any(tensor.dtype not in LAYOUTS for tensor in weights):
        return None
    if all(largest_magnitude(located.file, tensor) == 0 for tensor in weights):
        return 0.0
    return math.inf


def _weights(located: LocatedModule) -> list[TensorInfo]:
    return [tensor for role, tensor in located.module.tensors if role not in _BOOKKEEPING]


def _is_fresh(located: LocatedModule) -> bool:
    """Return whether a dead module is as initialisation left it: one factor zero, another not."""
    weights = _weights(located)
    if any(tensor.dtype not in LAYOUTS for tensor in weights):
        return False
    zeros = [largest_magnitude(located.file, tensor) == 0 for tensor in weights]
    return any(zeros) and not all(zeros)


def _dead_findings(dead: Sequence[LocatedModule], fresh: set[int], known: int) -> Iterator[Finding]:
    if not dead:
        return
    percent = 100 * len(dead) / known
    verdict = Verdict.REVIEW if percent >= REVIEW_PERCENT else Verdict.WARN
    yield Finding(
        RULE,
        verdict,
        f"{len(dead)} of {known} modules ({percent:.1f} %) change nothing",
        _ADVICE,
    )
    for located in dead:
        words = "changes nothing"
        if id(located) in fresh:
            words = "changes nothing: it was never trained, one factor is still zero"
        yield Finding(RULE, Verdict.WARN, words, _ADVICE, located.module.name)


def _whole_findings(judged: Sequence[_Judged], fresh: set[int]) -> Iterator[Finding]:
    """Yield one finding for each component, and each run of blocks, that is dead throughout."""
    if not any(module.is_dead for module in judged):
        return
    components: dict[str, list[_Judged]] = defaultdict(list)
    for module in judged:
        components[component_of(module.name)].append(module)
    for component, modules in components.items():
        if all(module.is_dead for module in modules):
            whole = "the adapter" if len(components) == 1 else f"the {component}"
            yield _whole(f"all {len(modules)} modules of {whole}", modules, fresh)
        else:
            yield from _dead_blocks(component, modules, fresh)


def _dead_blocks(component: str, modules: Sequence[_Judged], fresh: set[int]) -> Iterator[Finding]:
    blocks: dict[str, dict[int, list[_Judged]]] = defaultdict(lambda: defaultdict(list))
    for module in modules:
        block = block_of(module.name)
        if block is not None:
            blocks[block.stem][block.number].append(module)
    for stem, numbered in blocks.items():
        dead = {
            number: members
            for number, members in numbered.items()
            if all(member.is_dead for member in members)
        }
        if dead:
            members = [member for group in dead.values() for member in group]
            words = (
                f"all {len(members)} modules of the {component}'s blocks {ranges_in_words(dead)}"
            )
            yield _whole(words, members, fresh, stem)


def _whole(words: str, modules: Sequence[_Judged], fresh: set[int], place: str = "") -> Finding:
    untrained = sum(id(module.located) in fresh for module in modules)
    how = "change nothing"
    if untrained == len(modules):
        how += " and were never trained"
    elif untrained:
        how += f"; {untrained} of them were never trained"
    return Finding(RULE, Verdict.WARN, f"{words} {how}", _ADVICE_FRESH, place)
