"""The numbers that a caller wants beside the reports, measured in the child on the same subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.audits.details import AuditDetails, Wanted

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from registry.audits.audit import AuditSubject
    from registry.audits.details import CohortPosition, ModuleDetail

_Pairs = tuple[tuple[str, str], ...]


def measure_details(subject: AuditSubject, wanted: AbstractSet[Wanted]) -> AuditDetails:
    """Return what is wanted; the sketch needs a key in the subject's context.

    Raises:
        ModuleNotFoundError: torch is not installed.
        FormatError: an adapter with more parts than a sketch may have.
    """
    features, position = _features(subject) if Wanted.FEATURES in wanted else ((), None)
    sketch, code = _sketch(subject) if Wanted.SKETCH in wanted else (b"", b"")
    modules = _modules(subject) if Wanted.MODULES in wanted else ()
    return AuditDetails(modules, features, position, sketch, code)


def _modules(subject: AuditSubject) -> tuple[ModuleDetail, ...]:
    from registry.audits.detailing import details_of

    return details_of(subject)


def _features(subject: AuditSubject) -> tuple[_Pairs, CohortPosition | None]:
    from registry.audits.cohorts.features import as_text, entries_of, features_of
    from registry.audits.cohorts.outlying import place_among

    features = features_of(subject.spectra, subject.kinds, entries_of(subject.modules))
    shown = tuple((name, as_text(value)) for name, value in features)
    group = subject.context.peers
    return shown, None if group is None else place_among(group, features)


def _sketch(subject: AuditSubject) -> tuple[bytes, bytes]:
    from registry.fingerprints.index import code_of
    from registry.fingerprints.sketching import make_sketch

    key = subject.context.sketch_key
    if key is None:
        return b"", b""
    sketch = make_sketch(subject.payload, subject.parts, key, subject.device)
    if len(sketch) == 0:  # nothing can be compared with it
        return b"", b""
    return sketch.to_bytes(), code_of(sketch)
