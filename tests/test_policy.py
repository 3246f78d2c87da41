"""Policy: deny unless. Every way in which "no" could become "yes" is closed."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.findings import AuditReport, Coverage, Finding, Outcome, Verdict
from registry.policy import (
    Policy,
    Waiver,
    decide,
    default_policy,
    finding_fingerprint,
    parse_policy,
    used_waivers,
)
from tests.mutants import mutants

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = "2026-12-01T00:00:00Z"
RULES = default_policy().required

TOML = b"""
schema = "loraseal/policy.v1"
name = "house"
required = ["structure", "spectrum"]
may_not_apply = ["spectrum"]
minimum_coverage_percent = 80

[[waivers]]
finding = "%s"
reason = "known and accepted"
expires = "2026-12-01T00:00:00Z"
""" % (b"ab" * 32)


def _report(rule, verdict=Verdict.PASS, *, examined=10, total=10, **more):
    return AuditReport(rule, "1", verdict, Coverage(examined, total, "modules"), "seen", **more)


def _reports(**verdicts):
    return [_report(rule, verdicts.get(rule, Verdict.PASS)) for rule in RULES]


def _outcome(reports, policy=None):
    return decide(policy or default_policy(), reports, now=NOW).outcome


def test_no_reports_hold():
    decision = decide(default_policy(), [], now=NOW)
    assert decision.outcome is Outcome.HELD
    assert len(decision.reasons) == len(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_one_missing_report_holds(rule):
    assert _outcome([report for report in _reports() if report.rule != rule]) is Outcome.HELD


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.PASS, Outcome.RELEASED),
        (Verdict.WARN, Outcome.RELEASED),
        (Verdict.REVIEW, Outcome.HELD),
        (Verdict.INCONCLUSIVE, Outcome.HELD),
        (Verdict.ERROR, Outcome.HELD),
        (Verdict.FAIL, Outcome.REJECTED),
    ],
)
def test_each_verdict_has_its_outcome(rule, verdict, outcome):
    assert _outcome(_reports(**{rule: verdict})) is outcome


def test_not_applicable_passes_only_where_the_policy_says_so():
    assert _outcome(_reports(spectrum=Verdict.NOT_APPLICABLE)) is Outcome.RELEASED
    assert _outcome(_reports(structure=Verdict.NOT_APPLICABLE)) is Outcome.HELD


def test_the_verdict_of_an_audit_that_is_not_required_still_counts():
    extra = _report("house_rule", Verdict.FAIL)
    assert _outcome([*_reports(), extra]) is Outcome.REJECTED
    assert _outcome([*_reports(), _report("house_rule", Verdict.ERROR)]) is Outcome.HELD


def test_two_reports_of_one_rule_hold():
    assert _outcome([*_reports(), _report("structure")]) is Outcome.HELD


@pytest.mark.parametrize(("examined", "total"), [(0, 0), (0, 10), (4, 10)])
def test_a_pass_that_saw_too_little_holds(examined, total):
    reports = [_report("structure", examined=examined, total=total), *_reports()[1:]]
    assert _outcome(reports) is Outcome.HELD


def _review(message="3 of 10 are dead"):
    finding = Finding("dead_modules", Verdict.REVIEW, message, "look")
    noise = Finding("dead_modules", Verdict.WARN, "one", "look")
    report = _report("dead_modules", Verdict.REVIEW, findings=(finding, noise))
    return finding, [report if old.rule == "dead_modules" else old for old in _reports()]


def _waiving(finding, expires=LATER):
    waiver = Waiver(finding_fingerprint(finding), "a person looked", expires)
    return dataclasses.replace(default_policy(), waivers=(waiver,))


def test_a_waiver_lets_its_finding_pass_and_says_so():
    finding, reports = _review()
    decision = decide(_waiving(finding), reports, now=NOW)
    assert decision.outcome is Outcome.RELEASED
    assert any("a person looked" in reason for reason in decision.reasons)
    assert "dead_modules" in decision.relied_on
    [used] = used_waivers(_waiving(finding), reports, now=NOW)
    assert (used.rule, used.waiver.reason) == ("dead_modules", "a person looked")


def test_a_waiver_covers_no_other_finding():
    finding, _ = _review()
    _, worse = _review("9 of 10 are dead")
    assert _outcome(worse, _waiving(finding)) is Outcome.HELD


def test_a_waiver_that_has_run_out_is_none():
    finding, reports = _review()
    policy = _waiving(finding, "2026-11-21T12:00:00Z")
    assert decide(policy, reports, now=NOW).outcome is Outcome.HELD
    assert decide(policy, reports, now=NOW - timedelta(seconds=1)).outcome is Outcome.RELEASED


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_failures_and_errors_are_never_waived(verdict):
    finding = Finding("structure", verdict, "NaN", "none")
    report = _report("structure", verdict, findings=(finding,))
    outcome = _outcome([report, *_reports()[1:]], _waiving(finding))
    assert outcome is not Outcome.RELEASED


def test_a_review_without_findings_cannot_be_waived():
    finding, _ = _review()
    reports = _reports(dead_modules=Verdict.REVIEW)
    assert _outcome(reports, _waiving(finding)) is Outcome.HELD


def test_privacy_is_audited_only_by_a_privacy_audit_that_passed():
    for verdict, privacy, expected in [
        (Verdict.PASS, True, True),
        (Verdict.WARN, True, False),
        (Verdict.PASS, False, False),
    ]:
        extra = _report("membership", verdict, privacy=privacy)
        assert decide(default_policy(), [*_reports(), extra], now=NOW).privacy_audited is expected
    blind = _report("membership", examined=0, total=0, privacy=True)
    assert not decide(default_policy(), [*_reports(), blind], now=NOW).privacy_audited


def test_every_combination_of_verdicts_is_released_only_if_none_objects():
    harmless = {Verdict.PASS, Verdict.WARN}
    policy = Policy("two", ("structure", "spectrum"))
    for first, second in itertools.product(Verdict, repeat=2):
        reports = [_report("structure", first), _report("spectrum", second)]
        released = _outcome(reports, policy) is Outcome.RELEASED
        assert released == ({first, second} <= harmless)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'name = "house"', b""),
        (b'name = "house"', b"name = 3"),
        (b'name = "house"', b'name = "house"\nrequire_nothing = true'),
        (b'required = ["structure", "spectrum"]', b"required = []"),
        (b'required = ["structure", "spectrum"]', b'required = "structure"'),
        (b'required = ["structure", "spectrum"]', b'required = ["spectrum", "spectrum"]'),
        (b'may_not_apply = ["spectrum"]', b'may_not_apply = ["nonfinite"]'),
        (b"percent = 80", b"percent = 0"),
        (b"percent = 80", b"percent = 101"),
        (b"percent = 80", b"percent = true"),
        (b"ab" * 32, b"ab"),
        (b"2026-12-01T00:00:00Z", b"tomorrow"),
        (b'reason = "known and accepted"', b'reason = ""'),
        (b"policy.v1", b"policy.v2"),
        (b"[[waivers]]", b"[waivers]"),
    ],
)
def test_a_policy_with_a_mistake_is_refused(old, new):
    assert old in TOML
    with pytest.raises(FormatError):
        parse_policy(TOML.replace(old, new))


@settings(max_examples=300, deadline=None)
@given(st.one_of(mutants(TOML), st.binary(max_size=200)))
def test_mutated_policies_raise_only_format_errors(data):
    try:
        policy = parse_policy(data)
    except FormatError:
        return
    assert policy.required


def test_a_policy_is_read_and_its_digest_ignores_spelling():
    policy = parse_policy(TOML)
    assert policy.required == ("structure", "spectrum")
    assert policy.minimum_coverage_percent == 80
    assert parse_policy(b"# comment\n" + TOML).digest == policy.digest
    assert parse_policy(TOML.replace(b"80", b"81")).digest != policy.digest


# --- advisory rules


ADVISED = Policy("advised", ("structure",), advisory=("spectral_outlier",))


def test_rule_that_is_required_and_advisory_is_refused() -> None:
    toml = b'name = "x"\nrequired = ["structure"]\nadvisory = ["structure"]\n'
    with pytest.raises(FormatError, match="as required and as advisory"):
        parse_policy(toml)


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.FAIL, Outcome.REJECTED),
        (Verdict.ERROR, Outcome.HELD),
        (Verdict.REVIEW, Outcome.HELD),
        (Verdict.INCONCLUSIVE, Outcome.RELEASED),
        (Verdict.NOT_APPLICABLE, Outcome.RELEASED),
        (Verdict.WARN, Outcome.RELEASED),
    ],
)
def test_of_an_advisory_rule_only_what_is_grave_stands_in_the_way(verdict, outcome) -> None:
    reports = [_report("structure"), _report("spectral_outlier", verdict, examined=0)]
    assert _outcome(reports, ADVISED) is outcome


def test_advisory_rule_replaces_no_required_one() -> None:
    assert _outcome([_report("spectral_outlier")], ADVISED) is Outcome.HELD


def test_policy_without_advisory_rules_keeps_the_digest_that_it_had() -> None:
    plain = Policy("house", ("structure",))
    assert "advisory" not in plain.to_json()
    assert plain.digest != dataclasses.replace(plain, advisory=("spectral_outlier",)).digest
