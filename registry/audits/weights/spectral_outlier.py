"""Is the adapter's spectrum unlike those of its cohort: same base, trainer, method, rank and targets?

An anomaly score and nothing more. It was found that such numbers separate training recipes first, and
that an update which is padded on purpose looks ordinary, so an outlier proves no harm and an ordinary
place proves no harmlessness. It warns at most. Thresholds: `docs/audits/spectral_outlier.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.cohorts.features import as_text, entries_of, features_of, numbers_of
from registry.audits.cohorts.outlying import (
    MAX_PEERS,
    MIN_PEERS,
    Z_FEATURES,
    Z_LIMIT,
    compare,
    p_limit,
    standing_of,
)
from registry.audits.context import PeerGroup
from registry.audits.reporting import build_report
from registry.formats.findings import Coverage, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.audit import AuditSubject
    from registry.audits.cohorts.outlying import Comparison, Standing
    from registry.formats.findings import AuditReport

RULE = "spectral_outlier"
DETECTOR = "spectral_outlier 1 (median/MAD z; shrunk Mahalanobis, conformal)"
_NO_PEERS = PeerGroup("no cohort", (), ())
_SHOWN_FEATURES = 5
_ENOUGH = 0.5
_ADVICE_FEW = "take in more adapters of the same base, trainer, rank and targets; until then this says nothing"
_ADVICE_OUTLIER = (
    "look at how it was trained (learning rate, data, a merge?) and at what it makes; most outliers "
    "of a large cohort are ordinary, see the false-positive rate"
)


class SpectralOutlierAudit:
    """The place of an adapter's features among those of its peers."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules that entered a feature."""
        modules, spectra = subject.modules, subject.spectra
        group = subject.context.peers or _NO_PEERS
        entries = entries_of(modules)
        features = features_of(spectra, subject.kinds, entries)
        used = sum(bool(numbers_of(*pair)) for pair in zip(spectra, entries, strict=True))
        coverage = Coverage(used, len(modules), "modules")
        if not features:
            coverage = Coverage(0, 0, "modules with a low-rank update")
            answer = _Answer("no module has a spectrum to compare")
        elif len(group.rows) < MIN_PEERS:
            coverage = Coverage(0, len(modules), "modules")
            answer = _too_few(len(group.rows))
        else:
            answer = _answer(compare(group, features), coverage)
        metrics = (
            ("detector", DETECTOR),
            ("cohort", f"{len(group.rows)} peers: {group.label}"),
            *answer.metrics,
        )
        return build_report(
            self, coverage, answer.findings, summary=answer.summary, metrics=metrics
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    summary: str
    findings: tuple[Finding, ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()


def _answer(comparison: Comparison, coverage: Coverage) -> _Answer:
    if not comparison.names:
        return _nothing_shared()
    standing = standing_of(comparison)
    findings = (*_findings(standing), *_unshared(comparison), *_uncovered(coverage))
    return _Answer(_summary(standing), findings, _metrics(standing))


def _too_few(count: int) -> _Answer:
    message = f"too few peers (have {count}, need {MIN_PEERS})"
    return _Answer(message, (Finding(RULE, Verdict.INCONCLUSIVE, message, _ADVICE_FEW),))


def _nothing_shared() -> _Answer:
    message = "no feature is known of both the adapter and its cohort"
    advice = "measure the cohort again with this release"
    return _Answer(message, (Finding(RULE, Verdict.INCONCLUSIVE, message, advice),))


def _uncovered(coverage: Coverage) -> Iterator[Finding]:
    if coverage.examined < _ENOUGH * coverage.total:
        yield Finding(
            RULE,
            Verdict.INCONCLUSIVE,
            f"only {coverage.examined} of {coverage.total} modules have a spectrum",
            "the spectrum audit says why the others have none",
        )


def _summary(standing: Standing) -> str:
    place = "spectral outlier" if _is_outlier(standing) else "no spectral outlier"
    return f"{place} among {standing.peers} peers (p = {standing.p_value:.3g})"


def _is_outlier(standing: Standing) -> bool:
    return standing.is_far_by_feature or standing.is_far_by_distance


def _findings(standing: Standing) -> Iterator[Finding]:
    if not _is_outlier(standing):
        return
    reasons = []
    if standing.is_far_by_feature:
        reasons.append(
            f"{standing.far} features are more than {Z_LIMIT:g} robust deviations from the median"
        )
    if standing.is_far_by_distance:
        reasons.append(f"as a whole it lies further out than {_share(standing)} peers")
    yield Finding(
        RULE,
        Verdict.WARN,
        f"spectral outlier: {'; '.join(reasons)}. Furthest: {_furthest(standing)}. {_rate(standing)}",
        _ADVICE_OUTLIER,
    )


def _share(standing: Standing) -> str:
    inside = round((1 - standing.p_value) * (standing.peers + 1))
    return f"{inside} of {standing.peers}"


def _furthest(standing: Standing) -> str:
    order = sorted(range(len(standing.z)), key=lambda place: -abs(standing.z[place]))
    shown = order[:_SHOWN_FEATURES]
    return ", ".join(f"{standing.names[place]} (z {standing.z[place]:+.1f})" for place in shown)


def _rate(standing: Standing) -> str:
    low, high = standing.false_rate
    return (
        f"the same rules flag {standing.false_flags} of the {standing.peers} peers themselves: "
        f"{100 * low:.1f} to {100 * high:.1f} % of ordinary adapters (95 % interval)"
    )


def _unshared(comparison: Comparison) -> Iterator[Finding]:
    if comparison.unshared:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"{len(comparison.unshared)} features are not known of both sides and were not compared: "
            f"{', '.join(comparison.unshared[:_SHOWN_FEATURES])}",
            "its module classes differ from its cohort's: check that the cohort is the right one",
        )


def _metrics(standing: Standing) -> tuple[tuple[str, str], ...]:
    low, high = standing.false_rate
    limit = p_limit(standing.peers)
    return (
        ("features compared", str(len(standing.names))),
        (f"features with |z| > {Z_LIMIT:g}", f"{standing.far} (flagged from {Z_FEATURES})"),
        ("largest |z|", as_text(max(abs(value) for value in standing.z))),
        ("distance", as_text(standing.distance)),
        (
            "conformal p",
            f"{standing.p_value:.3g} (flagged to {limit:.3g}; {MAX_PEERS} peers at most)",
        ),
        (
            "false positives among the peers",
            f"{standing.false_flags} of {standing.peers}, 95 % interval {low:.4f} to {high:.4f}",
        ),
    )
