"""An adapter as a short row of numbers, by which adapters of one cohort are compared.

Five numbers of the singular values for each class of modules, as medians over the modules of that class:
the largest value, the Frobenius norm over the root of the matrix's entries, concentration (largest over
sum), entropy of the energy shares, kurtosis of the values; and the spread of the norms over all modules.
Sources: arXiv:2602.15195 (the five), arXiv:2605.30189 (the spread). What is a scale or a ratio of wide
range is a decimal logarithm, so that "ten times" is the same step up as down.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.audits.audit import AuditSubject
    from registry.updates.files import LocatedModule
    from registry.updates.spectra import ModuleSpectrum

LARGEST, NORM, CONCENTRATION, ENTROPY, KURTOSIS = (
    "log10 largest value",
    "log10 norm",
    "concentration",
    "energy entropy",
    "log10 kurtosis",
)
SPREAD = "all modules: log10 spread of norms"
_SPREAD_MODULES = 2
_DIGITS = 5


def features_of(
    spectra: Sequence[ModuleSpectrum], kinds: Sequence[str], entries: Sequence[int]
) -> tuple[tuple[str, float], ...]:
    """Return (name, value) of every feature, sorted by name.

    `kinds` is the class of each module and `entries` the number of entries of its update (outputs times
    inputs). Modules without a spectrum, dead or not finite, are left out: other audits name them. A
    class of which nothing is left has no features.
    """
    gathered: dict[str, list[float]] = defaultdict(list)
    norms: list[float] = []
    for spectrum, kind, count in zip(spectra, kinds, entries, strict=True):
        numbers = numbers_of(spectrum, count)
        for name, value in numbers.items():
            gathered[f"{kind}: {name}"].append(value)
        if NORM in numbers:
            norms.append(10 ** numbers[NORM])
    found = {name: _median(values) for name, values in gathered.items()}
    if len(norms) >= _SPREAD_MODULES:
        spread = float(torch.tensor(norms, dtype=torch.float64).std())
        if spread > 0:
            found[SPREAD] = math.log10(spread)
    return tuple(sorted(found.items()))


def features_of_subject(
    subject: AuditSubject, kinds: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    """Return the features of one opened payload; `kinds` is the class of each of its modules.

    Every row of a cohort must be made so, and with the same classes, as the adapter compared with it.
    """
    return features_of(subject.spectra, kinds, entries_of(subject.modules))


def numbers_of(spectrum: ModuleSpectrum, entries: int) -> dict[str, float]:
    """Return the numbers of one module by name, empty for one without a sound spectrum.

    Kurtosis needs three values that are not all alike; without them it is left out.
    """
    values = spectrum.values
    if values is None or len(values) == 0 or entries <= 0:
        return {}
    largest = float(values[0])
    if not bool(torch.isfinite(values).all()) or largest <= 0:
        return {}
    relative = values / largest  # keeps squares and fourth powers in range
    energy = relative.square().sum()
    found = {
        LARGEST: math.log10(largest),
        NORM: math.log10(largest) + 0.5 * math.log10(float(energy) / entries),
        CONCENTRATION: float(1 / relative.sum()),
        ENTROPY: float(torch.special.entr(relative.square() / energy).sum()),
    }
    kurtosis = _kurtosis(relative)
    return found if kurtosis is None else {**found, KURTOSIS: math.log10(kurtosis)}


def entries_of(modules: Sequence[LocatedModule]) -> list[int]:
    """Return the number of entries of each module's update, 0 where its shape is not known."""
    sizes = []
    for located in modules:
        geometry = located.module.geometry
        sizes.append((geometry.outputs or 0) * (geometry.inputs or 0) * geometry.kernel)
    return sizes


def as_text(value: float) -> str:
    """Return a number as reports and the ledger keep it: decimal text with five significant digits."""
    return f"{value:.{_DIGITS}g}"


def _kurtosis(relative: torch.Tensor) -> float | None:
    """Fourth central moment over the square of the second; at least 1."""
    centred = relative - relative.mean()
    variance = float(centred.square().mean())
    # Of fewer than three values it is 1 whatever they are; of equal ones it is nothing.
    if len(relative) < 3 or variance < 1e-20:  # noqa: PLR2004
        return None
    return float(centred.pow(4).mean()) / variance**2


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
