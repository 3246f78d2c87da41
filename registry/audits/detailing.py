"""From measured spectra to the numbers that leave the audit child: short decimal text, bounded in all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.audits.details import ModuleDetail
from registry.audits.reporting import clean_text
from registry.limits import (
    AUDIT_DETAIL_MODULES,
    AUDIT_DETAIL_NAME_CHARS,
    AUDIT_DETAIL_NAMES_CHARS_IN_ALL,
    AUDIT_DETAIL_VALUES,
    AUDIT_DETAIL_VALUES_IN_ALL,
)

if TYPE_CHECKING:
    from registry.audits.audit import AuditSubject
    from registry.updates.spectra import ModuleSpectrum

SCALE_ASSUMED = "the files do not state its scale, 1 was taken"
NOT_FINITE = "its update is not finite"


def details_of(subject: AuditSubject) -> tuple[ModuleDetail, ...]:
    """Return the numbers of every module of `subject`, in the order of its modules.

    Of each spectrum at most 256 values are kept,
    fewer where there are thousands of modules; the Frobenius norm is always that of all of them.
    Modules after the limit, or after the limit of all their names, are left out.

    Raises:
        ModuleNotFoundError: torch is not installed.
    """
    most = _values_each(len(subject.modules))
    found: list[ModuleDetail] = []
    room = AUDIT_DETAIL_NAMES_CHARS_IN_ALL
    for kind, spectrum in zip(subject.kinds, subject.spectra, strict=True):
        detail = detail_of(spectrum, kind, most=most)
        room -= sum(map(len, (detail.place, detail.kind, detail.caveat, detail.reason)))
        if room < 0 or len(found) == AUDIT_DETAIL_MODULES:
            break
        found.append(detail)
    return tuple(found)


def detail_of(
    spectrum: ModuleSpectrum, kind: str = "", *, most: int = AUDIT_DETAIL_VALUES
) -> ModuleDetail:
    """Return the numbers of one module, with at most `most` singular values."""
    place = _short(spectrum.place)
    caveat = "; ".join(
        words
        for words, holds in (
            (spectrum.caveat, bool(spectrum.caveat)),
            (SCALE_ASSUMED, spectrum.values is not None and not spectrum.scale_stated),
        )
        if holds
    )
    if spectrum.values is None:
        return ModuleDetail(place, _short(kind), caveat=caveat, reason=_short(spectrum.reason))
    values: list[float] = spectrum.values.tolist()
    norm = math.hypot(*values)
    if not all(map(math.isfinite, (*values, norm))):
        return ModuleDetail(place, _short(kind), caveat=caveat, reason=NOT_FINITE)
    kept = tuple(decimal_text(value) for value in values[:most])
    return ModuleDetail(place, _short(kind), kept, decimal_text(norm), caveat)


def decimal_text(value: float) -> str:
    """Return a finite number with five significant digits; zero has no sign."""
    return f"{value:.5g}" if value else "0"


def _values_each(modules: int) -> int:
    return min(AUDIT_DETAIL_VALUES, max(1, AUDIT_DETAIL_VALUES_IN_ALL // max(1, modules)))


def _short(text: str) -> str:
    # Cut in the middle: names of one adapter share their beginnings.
    if len(text) > AUDIT_DETAIL_NAME_CHARS:
        half = AUDIT_DETAIL_NAME_CHARS // 2 - 2
        text = f"{text[:half]}...{text[-half:]}"
    return clean_text(text)
