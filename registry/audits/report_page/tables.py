"""Tables: verdicts with coverage, findings with advice, measured values."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from registry.audits.audit import severity
from registry.audits.report_page.markup import DASH, Markup, element, foreign, join, visible
from registry.formats.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.audits.report_page.words import Words
    from registry.formats.findings import AuditReport, Coverage, Finding

# A sign beside the word and the colour, for those who see neither well.
_SIGNS = {
    Verdict.PASS: "✓",
    Verdict.WARN: "!",
    Verdict.REVIEW: "◉",
    Verdict.FAIL: "✕",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "⚠",
    Verdict.NOT_APPLICABLE: DASH,
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "") -> Markup:
    """Return a table in a scroller of its own; the first cell of each row is its head.

    On a narrow screen a `stack` table lays its cells under each other, each with its column's name;
    the roles keep it a table for those who hear it.
    """
    head = element(
        "tr", *(element("th", each, scope="col", role="columnheader") for each in heads), role="row"
    )
    body = [_row(heads, row) for row in rows]
    return element(
        "div",
        element(
            "table",
            element("thead", head, role="rowgroup"),
            element("tbody", *body, role="rowgroup"),
            class_=class_,
            role="table",
        ),
        class_="scroller",
    )


def verdict_mark(verdict: Verdict, words: Words) -> Markup:
    """Return the name of a verdict with its sign, in its colour."""
    sign = element("span", _SIGNS[verdict], aria_hidden="true")
    return element("span", sign, " ", words.verdict(verdict), class_=f"mark {verdict.value}")


def verdict_table(reports: Sequence[AuditReport], words: Words) -> Markup:
    """Return one row for each report: rule, verdict, coverage, summary."""
    heads = [words.text(f"column.{name}") for name in ("audit", "verdict", "coverage", "summary")]
    rows = [
        (
            join(
                rule_name(report.rule, words),
                element("small", words.text("version", version=visible(report.version, most=40))),
            ),
            verdict_mark(report.verdict, words),
            _coverage(report.coverage, words),
            words.sentence(report.summary),
        )
        for report in reports
    ]
    return table(heads, rows, class_="stack verdicts")


def rule_name(rule: str, words: Words) -> Markup:
    """Return what a rule is called, and its identifier, which is the same in every language."""
    title = words.rule(rule)
    name = element("code", visible(rule, most=60), lang="en")
    return join(element("b", title), " ", name) if title else name


def finding_list(reports: Sequence[AuditReport], words: Words) -> Markup:
    """Return every finding, the most severe first; same words of one rule stand together once."""
    found = [finding for report in reports for finding in report.findings]
    if not found:
        return element("p", words.text("findings.none"), class_="note")
    order = {report.rule: number for number, report in enumerate(reports)}

    def key(finding: Finding) -> tuple[int, int, str, str]:
        rank = order.get(finding.rule, len(order))
        return -severity(finding.verdict), rank, finding.message, finding.advice

    groups = (list(members) for _, members in groupby(sorted(found, key=key), key=key))
    return element("ul", *(_finding(members, words) for members in groups), class_="findings")


def metric_tables(reports: Sequence[AuditReport], words: Words) -> Markup:
    """Return the measured values of every report that has some."""
    heads = [words.text("column.measure"), words.text("column.number")]
    return join(
        *(
            element(
                "section",
                element("h3", rule_name(report.rule, words)),
                table(heads, [_metric(pair, words) for pair in report.metrics], class_="metrics"),
                class_="keep",
            )
            for report in reports
            if report.metrics
        )
    )


def _metric(pair: tuple[str, str], words: Words) -> tuple[Markup, Markup]:
    return words.sentence(pair[0]), foreign(pair[1])


def _finding(members: Sequence[Finding], words: Words) -> Markup:
    first = members[0]
    places = [member.place for member in members if member.place]
    return element(
        "li",
        element("p", verdict_mark(first.verdict, words), " ", rule_name(first.rule, words)),
        element("p", words.sentence(first.message), class_="message"),
        _places(places, words),
        element("p", element("b", words.text("advice")), " ", words.sentence(first.advice))
        if first.advice
        else "",
        class_="keep" if len(places) <= 1 else "",
    )


def _places(places: Sequence[str], words: Words) -> Markup:
    if not places:
        return Markup("")
    count = element("span", words.text("findings.places", count=len(places)))
    return join(*([count] if len(places) > 1 else []), name_list(places))


def name_list(names: Iterable[str]) -> Markup:
    """Return names from the payload as a list that wraps."""
    return element("ul", *(element("li", foreign(name)) for name in names), class_="names")


def _coverage(coverage: Coverage, words: Words) -> Markup:
    if not coverage.total:
        return join(words.text("coverage.nothing"))
    said = words.markup(
        "coverage",
        examined=f"{coverage.examined:,}",
        total=f"{coverage.total:,}",
        unit=words.sentence(coverage.unit),
    )
    percent = 100 * coverage.examined / coverage.total
    bar = element("i", style=f"width:{percent:.1f}%")
    return join(said, element("span", bar, class_="bar", aria_hidden="true"))


def _row(heads: Sequence[str], row: Sequence[str]) -> Markup:
    first, *rest = row
    cells = [
        element("td", cell, role="cell", data_label=head)
        for head, cell in zip(heads[1:], rest, strict=True)
    ]
    return element("tr", element("th", first, scope="row", role="rowheader"), *cells, role="row")
