"""What a child says is outside input: strict, bounded, and never milder than its findings."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audits.catalog import BUILT_IN
from registry.audits.listening import Heard
from registry.audits.report_wire import report_from_json, report_to_json
from registry.audits.reporting import build_report, clean_text
from registry.audits.task import ChildDeath, DeathCause
from registry.audits.verdicts import judge
from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.limits import AUDIT_FINDINGS, AUDIT_TEXT_CHARS
from tests.mutants import mutants

REPORT = AuditReport(
    "structure",
    "1",
    Verdict.REVIEW,
    Coverage(3, 4, "modules"),
    "a summary",
    (Finding("structure", Verdict.REVIEW, "odd", "look at it", "layer.1"),),
    (("largest", "3.5"),),
)
SPECS = BUILT_IN[:1]


def _line(value):
    return dump_canonical(value) + b"\n"


WORDS = _line({"report": report_to_json(REPORT)}) + _line({"done": True})


def _changed(**changes):
    return {**report_to_json(REPORT), **changes}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        _changed(extra=1),
        _changed(verdict="clean"),
        _changed(verdict="pass"),
        _changed(privacy=1),
        _changed(summary="x" * (AUDIT_TEXT_CHARS + 1)),
        _changed(summary="\x1b[2J"),
        _changed(summary="\u202efdp"),
        _changed(coverage={"examined": 5, "total": 4, "unit": "modules"}),
        _changed(coverage={"examined": -1, "total": 4, "unit": "modules"}),
        _changed(coverage={"examined": True, "total": 4, "unit": "modules"}),
        _changed(coverage={"examined": 1, "total": 4}),
        _changed(findings=[{"rule": "x"}]),
        _changed(findings=[report_to_json(REPORT)["findings"][0]] * (AUDIT_FINDINGS + 1)),
        _changed(metrics=[["a"]]),
        _changed(metrics=[["a", 1]]),
        _changed(metrics=[["a", "b", "c"]]),
    ],
)
def test_reports_that_are_not_exactly_reports_are_refused(value):
    with pytest.raises(FormatError):
        report_from_json(value)


def test_a_report_survives_the_wire():
    assert report_from_json(json.loads(dump_canonical(report_to_json(REPORT)))) == REPORT


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\n",
        b"{}",
        WORDS[:-1],
        WORDS.replace(b"review", b"refuse"),
        WORDS.replace(b'"structure"', b'"spectrum"'),
        WORDS.splitlines(keepends=True)[0] * 2 + _line({"done": True}),
        _line({"done": True}),
        _line({"done": False}),
        WORDS + _line({"note": "hello"}),
        b" " + WORDS,
    ],
)
def test_what_is_not_said_properly_is_an_error(words):
    run = judge(SPECS, Heard(words), {})
    assert run.death is not None or words == _line({"done": True})
    assert run.verdict is Verdict.ERROR
    assert [report.rule for report in run.reports] == ["structure"]


def test_reports_from_before_a_crash_are_kept_and_the_cut_line_is_dropped():
    words = WORDS.splitlines(keepends=True)[0] + b'{"repo'
    run = judge(BUILT_IN[:2], Heard(words, ChildDeath(DeathCause.CRASH, "signal 11")), {})
    assert [report.verdict for report in run.reports] == [Verdict.REVIEW, Verdict.ERROR]


@settings(max_examples=300, deadline=None)
@given(mutants(WORDS))
def test_mutated_words_yield_one_report_per_rule_and_no_exception(words):
    run = judge(SPECS, Heard(words), {})
    assert len(run.reports) == 1
    assert run.reports[0].version == SPECS[0].version


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_clean_text_is_accepted_on_the_wire(text):
    report_from_json(json.loads(json.dumps(_changed(summary=clean_text(text)))))


class _Probe:
    rule = "probe"
    version = "1"
    privacy = False


def test_an_audit_that_looked_at_nothing_does_not_pass():
    nothing = build_report(_Probe(), Coverage(0, 0, "modules"), [], summary="none")
    missed = build_report(_Probe(), Coverage(0, 5, "modules"), [], summary="none")
    assert (nothing.verdict, missed.verdict) == (Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE)


def test_findings_beyond_the_limit_are_counted_and_the_worst_come_first():
    findings = [Finding("probe", Verdict.WARN, str(n), "none") for n in range(500)]
    findings.append(Finding("probe", Verdict.FAIL, "bad", "none"))
    report = build_report(_Probe(), Coverage(1, 1, "modules"), findings, summary="many")
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].message == "bad"
    assert len(report.findings) == AUDIT_FINDINGS
    assert report.findings[-1].message == f"{501 - AUDIT_FINDINGS + 1} more findings are not listed"
    assert report_from_json(report_to_json(report)) == report
