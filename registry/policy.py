"""Policy: which verdicts an artifact needs before it may leave. Deny unless.

A lost, late or ignored report never turns "no" into "yes": a required rule without a report holds the
artifact, and what a policy does not allow by name it does not allow. Pure: the moment is an argument.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.digest import Digest, sha256_of
from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from registry.formats.findings import AuditReport, Decision, Finding, Outcome, Verdict
from registry.formats.moments import parse_moment
from registry.limits import POLICY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

SCHEMA = "loraseal/policy.v1"
_PASSING = (Verdict.PASS, Verdict.WARN)
# A failed or broken check is never waived: a waiver is for what a person can judge by looking.
_WAIVABLE = (Verdict.REVIEW, Verdict.INCONCLUSIVE)
_HUNDRED = 100
_MINIMUM_COVERAGE_PERCENT = 50
# From an advisory rule only these stand in the way: it may see too little and still let pass.
_GRAVE = (Verdict.FAIL, Verdict.REVIEW, Verdict.ERROR)
_KEYS = ("required", "advisory", "may_not_apply", "minimum_coverage_percent", "waivers")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One finding that the owner accepts, why, and until when (RFC 3339, UTC)."""

    finding: str
    reason: str
    expires: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What a release needs.

    `required` rules must each have passed (or warned). Those in `may_not_apply` may say
    `not_applicable` instead. `advisory` rules are run and recorded too; of them only a fail, a review or an
    error stands in the way, not that they saw too little. `minimum_coverage_percent` is how much of what there was a passing audit
    must have looked at.
    """

    name: str
    required: tuple[str, ...]
    may_not_apply: tuple[str, ...] = ()
    minimum_coverage_percent: int = _MINIMUM_COVERAGE_PERCENT
    waivers: tuple[Waiver, ...] = ()
    advisory: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """Every rule that is to be run, required ones first."""
        return (*self.required, *self.advisory)

    def to_json(self) -> Json:
        """Return the policy as canonical-JSON data."""
        waivers: list[Json] = [
            {"finding": waiver.finding, "reason": waiver.reason, "expires": waiver.expires}
            for waiver in self.waivers
        ]
        # Policies from before there were advisory rules keep their digest, so their releases stand.
        advisory: dict[str, Json] = {"advisory": list(self.advisory)} if self.advisory else {}
        return {
            "schema": SCHEMA,
            "name": self.name,
            "required": list(self.required),
            **advisory,
            "may_not_apply": list(self.may_not_apply),
            "minimum_coverage_percent": self.minimum_coverage_percent,
            "waivers": waivers,
        }

    @property
    def digest(self) -> Digest:
        """The sha256 of the canonical form; comments and spacing of the TOML do not change it."""
        return sha256_of(dump_canonical(self.to_json()))


@dataclass(frozen=True, slots=True)
class UsedWaiver:
    """A waiver that let a report of `rule` stand."""

    rule: str
    waiver: Waiver


def default_policy() -> Policy:
    """Return the policy of an installation that has set none.

    Adapters of methods without a spectrum in the file (IA3, OFT) may pass without one, and a file that
    claims nothing has no claims; everything else is required.
    """
    return Policy(
        name="default",
        required=(
            "structure",
            "nonfinite",
            "dead_modules",
            "scale",
            "dtype_loss",
            "claims",
            "hidden_payload",
            "spectrum",
        ),
        may_not_apply=("claims", "spectrum"),
        # They need a cohort, or the base model's weights, which a new installation has not.
        advisory=("spectral_outlier", "base_relation"),
    )


def finding_fingerprint(finding: Finding) -> str:
    """Return the hex sha256 that names `finding` in a waiver.

    It covers rule, place, verdict and message: a waiver for "3 of 200 modules are dead" does not
    cover an artifact with 40 of them.
    """
    return sha256_of(
        dump_canonical(
            {
                "rule": finding.rule,
                "place": finding.place,
                "verdict": finding.verdict.value,
                "message": finding.message,
            }
        )
    ).value


def decide(policy: Policy, reports: Sequence[AuditReport], *, now: datetime) -> Decision:
    """Return what `policy` does with an artifact that `reports` were made of.

    Any `fail` rejects. Otherwise anything that is not a pass, a warning or an allowed exception, a
    required rule without report, or two reports of one rule, holds it for a person. Never raises.
    """
    waivers = _standing_waivers(policy, now)
    used = used_waivers(policy, reports, now=now)
    failed = [report for report in reports if report.verdict is Verdict.FAIL]
    privacy = _privacy_audited(reports)
    relied_on = tuple(
        report.rule
        for report in reports
        if (report.verdict in _PASSING and _is_covered(policy, report))
        or report.rule in {item.rule for item in used}
    )
    if failed:
        reasons = tuple(f"{report.rule}: {_why(report)}" for report in failed)
        return Decision(Outcome.REJECTED, reasons, (), privacy)
    doubts = (*_missing(policy, reports), *_doubts(policy, reports, waivers))
    if doubts:
        return Decision(Outcome.HELD, doubts, relied_on, privacy)
    passed = f"nothing that policy {policy.name!r} requires stands in the way"
    waived = (
        f"{item.rule}: waived until {item.waiver.expires}: {item.waiver.reason}" for item in used
    )
    return Decision(Outcome.RELEASED, (passed, *waived), relied_on, privacy)


def parse_policy(data: bytes) -> Policy:
    """Return the policy in the TOML `data`.

    Raises:
        FormatError: not TOML, an unknown key, a value of the wrong type, or a policy that requires
            nothing.
    """
    if len(data) > POLICY_BYTES:
        raise FormatError(f"policy has {len(data)} bytes, more than {POLICY_BYTES}")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("policy is not TOML", hint=str(error)) from error
    _only(table, {"schema", "name", *_KEYS}, "policy")
    if table.get("schema", SCHEMA) != SCHEMA:
        raise FormatError(f"policy says schema {table['schema']!r}, expected {SCHEMA!r}")
    return _checked(
        Policy(
            name=_text(table, "name", "policy"),
            required=_names(table, "required"),
            advisory=_names(table, "advisory"),
            may_not_apply=_names(table, "may_not_apply"),
            minimum_coverage_percent=_percent(table),
            waivers=_waivers(table),
        )
    )


def _checked(policy: Policy) -> Policy:
    if not policy.required:
        raise FormatError("policy requires no audit", hint="name at least 'structure' in required")
    stray = set(policy.may_not_apply) - set(policy.required)
    if stray:
        raise FormatError(f"may_not_apply names {sorted(stray)}, which the policy does not require")
    both = set(policy.advisory) & set(policy.required)
    if both:
        raise FormatError(
            f"policy names {sorted(both)} as required and as advisory",
            hint="a rule is one or the other",
        )
    return policy


def _why(report: AuditReport) -> str:
    """Return the worst finding's words; they name no tensor, which may be a trigger word."""
    for finding in report.findings:
        if finding.verdict is report.verdict:
            return finding.message
    return report.summary


def _missing(policy: Policy, reports: Sequence[AuditReport]) -> tuple[str, ...]:
    counts = Counter(report.rule for report in reports)
    absent = [f"{rule}: no report" for rule in policy.required if not counts[rule]]
    twice = [f"{rule}: {count} reports" for rule, count in counts.items() if count > 1]
    return (*absent, *twice)


def _doubts(
    policy: Policy, reports: Iterable[AuditReport], waivers: Mapping[str, Waiver]
) -> tuple[str, ...]:
    return tuple(
        f"{report.rule}: {_doubt(policy, report)}"
        for report in reports
        if not _passes(policy, report, waivers)
    )


def _doubt(policy: Policy, report: AuditReport) -> str:
    if report.verdict in _PASSING:
        coverage = report.coverage
        return (
            f"looked at {coverage.examined} of {coverage.total} {coverage.unit}, "
            f"the policy wants {policy.minimum_coverage_percent} %"
        )
    return f"{report.verdict.value}, {_why(report)}"


def _passes(policy: Policy, report: AuditReport, waivers: Mapping[str, Waiver]) -> bool:
    if report.rule in policy.advisory and report.verdict not in _GRAVE:
        return True
    match report.verdict:
        case Verdict.PASS | Verdict.WARN:
            return _is_covered(policy, report)
        case Verdict.NOT_APPLICABLE:
            return report.rule in policy.may_not_apply or report.rule not in policy.required
        case Verdict.REVIEW | Verdict.INCONCLUSIVE:
            return _is_waived(report, waivers)
        case Verdict.FAIL | Verdict.ERROR:
            return False


def _is_covered(policy: Policy, report: AuditReport) -> bool:
    coverage = report.coverage
    if coverage.examined == 0:
        return False
    return coverage.examined * _HUNDRED >= coverage.total * policy.minimum_coverage_percent


def _is_waived(report: AuditReport, waivers: Mapping[str, Waiver]) -> bool:
    """Say whether every finding that stands in the way is waived, and there is at least one."""
    obstacles = [finding for finding in report.findings if finding.verdict not in _PASSING]
    return bool(obstacles) and all(
        finding.verdict in _WAIVABLE and finding_fingerprint(finding) in waivers
        for finding in obstacles
    )


def used_waivers(
    policy: Policy, reports: Iterable[AuditReport], *, now: datetime
) -> tuple[UsedWaiver, ...]:
    """Return every waiver that is needed for a report to stand, so that a release can name it."""
    waivers = _standing_waivers(policy, now)
    return tuple(
        UsedWaiver(report.rule, waivers[finding_fingerprint(finding)])
        for report in reports
        if _is_waived(report, waivers)
        for finding in report.findings
        if finding.verdict not in _PASSING
    )


def _standing_waivers(policy: Policy, now: datetime) -> dict[str, Waiver]:
    return {
        waiver.finding: waiver for waiver in policy.waivers if now < parse_moment(waiver.expires)
    }


def _privacy_audited(reports: Iterable[AuditReport]) -> bool:
    return any(
        report.privacy and report.verdict is Verdict.PASS and report.coverage.examined > 0
        for report in reports
    )


def _only(table: dict[str, object], known: set[str], what: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise FormatError(
            f"{what} has an unknown key {unknown[0]!r}", hint=f"known keys: {sorted(known)}"
        )


def _text(table: dict[str, object], key: str, what: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise FormatError(f"{what} needs {key!r} as text")
    return value


def _names(table: dict[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FormatError(f"policy {key!r} must be a list of rule names")
    if len(set(value)) != len(value):
        raise FormatError(f"policy {key!r} names a rule twice")
    return tuple(value)


def _percent(table: dict[str, object]) -> int:
    value = table.get("minimum_coverage_percent", _MINIMUM_COVERAGE_PERCENT)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _HUNDRED:
        raise FormatError("policy 'minimum_coverage_percent' must be a whole number of 1 to 100")
    return value


def _waivers(table: dict[str, object]) -> tuple[Waiver, ...]:
    rows = table.get("waivers", [])
    if not isinstance(rows, list):
        raise FormatError("policy 'waivers' must be a list of tables")
    return tuple(_waiver(row) for row in rows)


def _waiver(row: object) -> Waiver:
    if not isinstance(row, dict):
        raise FormatError("a waiver is not a table")
    _only(row, {"finding", "reason", "expires"}, "waiver")
    finding = _text(row, "finding", "waiver")
    Digest("sha256", finding)  # refuses what is not 64 hex digits
    expires = _text(row, "expires", "waiver")
    parse_moment(expires)
    return Waiver(finding, _text(row, "reason", "waiver"), expires)
