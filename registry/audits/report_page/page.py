"""One run of the audits as one HTML file.

It holds no script and no address of anything outside; a policy in its head has the browser refuse
both. Everything from the payload goes through `markup`. However many modules there are, the picture has
at most 840 rows and the lists name at most some hundred: a page of 722 modules is below 512 KiB. Only
findings add to that, at most 200 an audit and each cut to `markup.SENTENCE_CHARS`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from registry.audits.audit import severity
from registry.audits.report_page.cohort import cohort_section
from registry.audits.report_page.curves import energy_curves
from registry.audits.report_page.heatmap import heat_map
from registry.audits.report_page.markup import Markup, element, foreign, join, visible
from registry.audits.report_page.measures import measured_modules, split_dead
from registry.audits.report_page.modules import dead_section, outlier_section, without_numbers
from registry.audits.report_page.style import STYLE
from registry.audits.report_page.tables import (
    finding_list,
    metric_tables,
    verdict_mark,
    verdict_table,
)
from registry.audits.report_page.words import Language, Words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.report_page.measures import Measured
    from registry.audits.task import AuditRun

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LIMITS = ("limits.1", "limits.2", "limits.3", "limits.4", "limits.5")
_DIGEST_LINES = 64
_TITLE_CHARS = 200


def render_report(
    run: AuditRun, *, name: str, digest: str, made_at: str | None, lang: Language
) -> str:
    """Return the page of `run` as text, to be written as UTF-8.

    `name` is what was audited and `digest` its digest, or one line for each file of a folder ("" none).
    `made_at` is printed as it is. `lang` is `en` or `zh`.

    Raises:
        ValueError: another language.
    """
    words = Words(lang)
    title = f"{words.text('title')}: {visible(name, most=_TITLE_CHARS)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        _header(run, words, name=name, digest=digest, made_at=made_at),
        element("main", *_sections(run, words)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang=words.tag) + "\n"


def _header(run: AuditRun, words: Words, *, name: str, digest: str, made_at: str | None) -> Markup:
    tally = Counter(report.verdict for report in run.reports)
    counts = [
        element("li", words.text("tally", count=tally[verdict], verdict=words.verdict(verdict)))
        for verdict in sorted(tally, key=severity, reverse=True)
    ]
    lines = digest.splitlines()[:_DIGEST_LINES]
    digests = [element("li", foreign(line, most=200)) for line in lines]
    return element(
        "header",
        element("p", "LoRASeal · ", words.text("title"), class_="product"),
        element("h1", foreign(name, most=_TITLE_CHARS)),
        element("p", words.text("made", when=visible(made_at)), class_="when") if made_at else "",
        element(
            "p", words.text("verdict.all"), " ", verdict_mark(run.verdict, words), class_="all"
        ),
        element("ul", *counts, class_="tally"),
        _trouble(run, words),
        element("p", words.text("caveat"), class_="note"),
        element("p", words.text("digest"), class_="small"),
        element("ul", *digests, class_="digests")
        if digests
        else element("p", words.text("digest.none"), class_="small"),
    )


def _trouble(run: AuditRun, words: Words) -> Markup:
    reasons = []
    if run.broken is not None:
        reasons.append(words.markup("broken", reason=words.sentence(run.broken)))
    if run.death is not None:
        reasons.append(words.markup("death", reason=words.sentence(run.death.detail)))
    return join(*(element("p", reason, class_="trouble") for reason in reasons))


def _sections(run: AuditRun, words: Words) -> Iterator[Markup]:
    yield _section(
        "verdicts",
        words,
        element("p", words.text("verdicts.caption")),
        verdict_table(run.reports, words),
    )
    yield _section("findings", words, finding_list(run.reports, words))
    measured = measured_modules(run.details.modules)
    yield _section("heat", words, *_pictures(run, measured, words))
    if measured:
        living, dead = split_dead(measured)
        if living:
            yield _section("curves", words, energy_curves(living, words))
        yield _section("dead", words, dead_section(living, dead, words))
        yield _section("outliers", words, outlier_section(living, words))
    yield _section("cohort", words, cohort_section(run.details.position, words))
    metrics = metric_tables(run.reports, words)
    if metrics:
        yield _section("metrics", words, metrics)
    limits = [element("li", words.text(limit)) for limit in _LIMITS]
    yield _section("limits", words, element("ul", *limits))
    yield _section("run", words, *_running(run, words))


def _section(name: str, words: Words, *parts: str) -> Markup:
    return element("section", element("h2", words.text(name)), *parts, id=name)


def _pictures(run: AuditRun, measured: tuple[Measured, ...], words: Words) -> Iterator[Markup]:
    if not measured:
        yield element("p", words.text("numbers.none"), class_="note")
        if run.details.absent:
            why = words.markup("numbers.absent", reason=words.sentence(run.details.absent))
            yield element("p", why, class_="note")
    else:
        yield element(
            "p", words.text("numbers.coverage", measured=len(measured), total=_total(run))
        )
        yield heat_map(measured, words)
    yield without_numbers(run.details.modules, words)


def _total(run: AuditRun) -> int:
    """Return how many modules there are: the details may hold fewer than the audits counted."""
    counted = [report.coverage.total for report in run.reports if report.coverage.unit == "modules"]
    return max(len(run.details.modules), *counted, 0)


def _running(run: AuditRun, words: Words) -> Iterator[Markup]:
    yield element("p", words.text("run.private"), class_="note")
    suppliers = sorted({report.supplier for report in run.reports})
    lines = [words.markup("supplier", supplier=foreign(supplier)) for supplier in suppliers]
    if run.peak_bytes:
        lines.append(join(words.text("run.peak", mebibytes=f"{run.peak_bytes / 1024**2:.0f}")))
    if run.confinement:
        given_up = ", ".join(f"{name}: {value}" for name, value in run.confinement)
        lines.append(
            join(words.text("run.confinement"), words.text("colon"), foreign(given_up, most=600))
        )
    yield element("ul", *(element("li", line) for line in lines))
