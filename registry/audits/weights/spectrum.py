"""What does the update of each module look like: size, rank in use, concentration?

Measures and describes. There is no threshold for "too much": what is unusual depends on base model,
trainer and rank, and needs a cohort to compare with. It finds no backdoor and rules none out.
Definitions: `docs/audits/spectrum.md`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.reporting import build_report
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.exactness import spectrum_digest
from registry.updates.factors import DORA_CAVEAT, GLORA_CAVEAT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.updates.spectra import ModuleSpectrum

RULE = "spectrum"
_ENOUGH = 0.5
_CAVEATS = {
    DORA_CAVEAT: (
        "dora:direction-only",
        "the numbers are those of the direction factors, not of the change to the model",
    ),
    GLORA_CAVEAT: (
        "glora:additive-part-only",
        "the numbers are those of b1 @ b2; what a1 and a2 do to the base weights is not measured",
    ),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers that describe one spectrum; ranks and shares do not depend on the scale.

    `stable_rank` is the squared Frobenius norm over the squared largest value; `energy_rank` is e to
    the entropy of the squared values' shares; `effective_rank` (Roy and Vetterli 2007) the same of the
    values' shares, and differs from it by up to 3 times; `top_share` is the largest value's part of
    the energy; `concentration` its part of the plain sum.
    """

    largest: float
    frobenius: float
    stable_rank: float
    energy_rank: float
    effective_rank: float
    top_share: float
    concentration: float


class SpectrumAudit:
    """Singular values of every module's update, by way of Gram matrices of its factors."""

    rule = RULE
    version = "2"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        spectra = subject.spectra
        measured = [spectrum for spectrum in spectra if spectrum.values is not None]
        findings = list(_findings(spectra, measured))
        coverage = Coverage(len(measured), len(spectra), "modules")
        if not measured and not any(spectrum.is_fault or spectrum.is_limit for spectrum in spectra):
            coverage = Coverage(0, 0, "modules with a low-rank update")
        summary = f"the spectrum of {len(measured)} of {len(spectra)} modules was measured"
        metrics = [*_metrics(measured), *_left_out(spectra)]
        if subject.deterministic:
            metrics += _steady(measured)
        return build_report(self, coverage, findings, summary=summary, metrics=metrics)


def shape_of(values: torch.Tensor) -> Shape | None:
    """Return the shape of a spectrum (float64, descending); None where it is zero or not finite."""
    if len(values) == 0 or not bool(torch.isfinite(values).all()) or float(values[0]) <= 0:
        return None
    relative = values / values[0]  # keeps squares of tiny and of huge spectra in range
    squares = relative.square()
    energy, total = squares.sum(), relative.sum()
    return Shape(
        largest=float(values[0]),
        frobenius=float(values[0] * energy.sqrt()),
        stable_rank=float(energy),
        energy_rank=_perplexity(squares / energy),
        effective_rank=_perplexity(relative / total),
        top_share=float(1 / energy),
        concentration=float(1 / total),
    )


def _perplexity(shares: torch.Tensor) -> float:
    return float(torch.special.entr(shares).sum().exp())


def _findings(
    spectra: Sequence[ModuleSpectrum], measured: Sequence[ModuleSpectrum]
) -> Iterator[Finding]:
    for spectrum in measured:
        if spectrum.values is not None and not bool(torch.isfinite(spectrum.values).all()):
            yield Finding(
                RULE,
                Verdict.FAIL,
                "its update is not finite",
                "go back to an earlier checkpoint: the training diverged",
                spectrum.place,
            )
    for spectrum in spectra:
        if spectrum.is_fault:
            yield Finding(
                RULE,
                Verdict.INCONCLUSIVE,
                f"could not be measured: {spectrum.reason}",
                "see the findings of the structure audit",
                spectrum.place,
            )
    yield from _unmeasured(spectra, measured)
    yield from _caveats(measured)


def _unmeasured(
    spectra: Sequence[ModuleSpectrum], measured: Sequence[ModuleSpectrum]
) -> Iterator[Finding]:
    reasons = Counter(
        (spectrum.reason, spectrum.is_limit)
        for spectrum in spectra
        if spectrum.values is None and not spectrum.is_fault
    )
    few = len(measured) < _ENOUGH * len(spectra)
    # With nothing that could be measured the report itself says "not applicable".
    is_alien = not measured and not any(is_limit for _, is_limit in reasons)
    for (reason, _), count in sorted(reasons.items()):
        verdict = Verdict.INCONCLUSIVE if few else Verdict.WARN
        if is_alien:
            verdict = Verdict.NOT_APPLICABLE
        yield Finding(
            RULE,
            verdict,
            f"{count} modules have no spectrum: {reason}",
            "nothing is known of these modules' size; judge them by their outputs",
        )


def _caveats(measured: Sequence[ModuleSpectrum]) -> Iterator[Finding]:
    caveats = Counter(spectrum.caveat for spectrum in measured if spectrum.caveat)
    for caveat, count in sorted(caveats.items()):
        name, advice = _CAVEATS[caveat]
        yield Finding(
            RULE,
            Verdict.WARN,
            f"{name}: in {count} modules the update also depends on the base model",
            advice,
        )
    assumed = sum(not spectrum.scale_stated for spectrum in measured)
    if assumed:
        yield Finding(
            RULE,
            Verdict.PASS,
            f"the files do not state the scale of {assumed} modules; 1 was taken",
            "audit a PEFT adapter together with its adapter_config.json",
        )


def _metrics(measured: Sequence[ModuleSpectrum]) -> tuple[tuple[str, str], ...]:
    shapes = [
        (shape, spectrum)
        for spectrum in measured
        if spectrum.values is not None and (shape := shape_of(spectrum.values)) is not None
    ]
    if not shapes:
        return ()
    largest, where = max(shapes, key=lambda pair: pair[0].largest)
    ways = Counter(spectrum.way for spectrum in measured)
    total = sum(shape.frobenius**2 for shape, _ in shapes) ** 0.5
    return (
        ("largest singular value", f"{largest.largest:.5g}"),
        ("its module", where.place),
        ("Frobenius norm of all", f"{total:.5g}"),
        ("median stable rank", _median([shape.stable_rank for shape, _ in shapes])),
        ("median energy rank", _median([shape.energy_rank for shape, _ in shapes])),
        (
            "median effective rank (Roy-Vetterli)",
            _median([shape.effective_rank for shape, _ in shapes]),
        ),
        ("median top energy share", _median([shape.top_share for shape, _ in shapes])),
        ("median concentration", _median([shape.concentration for shape, _ in shapes])),
        ("modules without update", str(len(measured) - len(shapes))),
        ("computed by", ", ".join(f"{way} {count}" for way, count in sorted(ways.items()))),
    )


def _left_out(spectra: Sequence[ModuleSpectrum]) -> Iterator[tuple[str, str]]:
    """Yield how many modules have no spectrum, by why: named, so that none is passed over."""
    missing = [spectrum for spectrum in spectra if spectrum.values is None]
    counts = {
        "modules not applicable": sum(not (one.is_fault or one.is_limit) for one in missing),
        "modules beyond a bound": sum(one.is_limit for one in missing),
        "faulty modules": sum(one.is_fault for one in missing),
    }
    yield from ((name, str(count)) for name, count in counts.items() if count)


def _steady(measured: Sequence[ModuleSpectrum]) -> Iterator[tuple[str, str]]:
    if measured:
        exact = sum(spectrum.is_exact for spectrum in measured)
        yield "spectrum digest", spectrum_digest(measured)
        yield "bit-exact Gram modules", f"{exact} of {len(measured)}"


def _median(values: list[float]) -> str:
    return f"{float(torch.tensor(values, dtype=torch.float64).median()):.5g}"
