"""The page of a run: hostile names stay text, nothing is fetched or run, nothing is left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audits.details import AuditDetails, ModuleDetail
from registry.audits.report_page.markup import NAME_CHARS, element, visible
from registry.audits.report_page.page import render_report
from registry.audits.report_page.words import LANGUAGES
from registry.audits.task import AuditRun, ChildDeath, DeathCause
from registry.formats.findings import Coverage, Finding, Verdict
from registry.limits import AUDIT_FINDINGS, AUDIT_TEXT_CHARS
from tests.audits.report_pages import HOSTILE, Reader, hostile_run, modules, page, report


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_stay_words(word, lang):
    text = render_report(hostile_run(word), name=word, digest=word, made_at=word, lang=lang)
    harmless = page(hostile_run("word"), lang=lang)
    seen, expected = Reader(text), Reader(harmless)
    assert set(seen.tags) == set(expected.tags)
    # What stays English is marked so; other attributes are the same whatever the words are.
    marked = {("bdi", "lang")}
    assert {(tag, name) for tag, name, _ in seen.attributes} | marked == {
        (tag, name) for tag, name, _ in expected.attributes
    } | marked
    assert (
        re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
        == (re.search(r"<style>(.*?)</style>", harmless, re.DOTALL)[1])
    )
    # Nothing of it hides, steers the line, or stands on its neighbours.
    assert not re.search(
        "[\u0000-\u0008\u000b-\u001f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ue000]", text
    )
    assert "\u0301" * 3 not in text
    assert len(text) < len(harmless) + 40 * 1300


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_a_page_fetches_nothing_and_runs_nothing(word, lang):
    seen = Reader(page(hostile_run(word), lang=lang))
    assert not {"script", "link", "iframe", "object", "form", "a", "base", "embed"} & set(seen.tags)
    for tag, name, value in seen.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "action", "data", "background", "poster"):
            assert (tag, value[:22]) == ("img", "data:image/png;base64,")
        if name == "style":
            assert re.fullmatch(r"(top|left|width|height):[0-9.]+(px|%)", value)
    policy = [value for _, name, value in seen.attributes if name == "content"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policy


def test_the_style_fetches_nothing():
    style = re.search(r"<style>(.*?)</style>", page(AuditRun((report(),))), re.DOTALL)[1]
    assert not re.search(r"url\(|@import|@font-face|expression|<|https?:", style)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from(LANGUAGES))
def test_any_name_makes_a_well_formed_page(word, lang):
    Reader(page(hostile_run(word), lang=lang, name=word)).text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a[U+202E]b"),
        ("\x00", "[U+0000]"),
        ("\ud800", "[U+D800]"),
        ("a\u00a0b\u3164", "a[U+00A0]b[U+3164]"),
        ("e\u0301", "e\u0301"),
        ("适配器 x", "适配器 x"),
    ],
)
def test_what_hides_is_spelled_out(text, shown):
    assert visible(text) == shown


def test_long_names_lose_their_middle():
    shown = visible("a" * 500 + "tail")
    assert len(shown) == NAME_CHARS
    assert shown.endswith("tail")
    assert "…" in shown


def test_text_is_escaped_and_markup_is_not_escaped_twice():
    inner = element("b", "<&>", data_x='"')
    assert inner == '<b data-x="&quot;">&lt;&amp;&gt;</b>'
    assert element("p", inner, "<") == f"<p>{inner}&lt;</p>"


def test_the_numbers_of_a_hostile_child_draw_something():
    huge = ModuleDetail("a.1", "k", ("1e+300", "1e-300"), "1e+308")
    strange = (
        huge,
        ModuleDetail("a.2", "k", ("1e-320",), "1e+308"),
        ModuleDetail("a.3", "k", ("0", "0"), "0"),
        ModuleDetail("a.4", "k", ("5",), "0"),
        ModuleDetail("a.999999999999", "k", ("1",), "1"),
    )
    for details in (strange, strange[2:3], strange[1:2] * 20, strange * 8):
        seen = Reader(page(AuditRun((report(),), details=AuditDetails(details))))
        assert "nan" not in "".join(value for _, _, value in seen.attributes)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_numbers_the_page_says_so_and_draws_nothing(lang):
    text = page(AuditRun((report(),)), lang)
    seen = Reader(text)
    assert "img" not in seen.tags
    assert "svg" not in seen.tags
    assert {"en": "There are no numbers", "zh": "没有可供绘图的数值"}[lang] in seen.text
    assert {"en": "Too few peers", "zh": "同类过少"}[lang] in seen.text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_finding_verdict_coverage_and_metric_is_there(lang):
    findings = tuple(
        Finding("dead_modules", Verdict.WARN, "changes nothing", "advice", f"layers.{number}.q")
        for number in range(AUDIT_FINDINGS - 1)
    )
    odd = Finding("dead_modules", Verdict.FAIL, "the moon was full", "wait for the sun", "")
    run = AuditRun(
        (
            report(),
            report("dead_modules", Verdict.FAIL, *findings, odd, metrics=(("tide", "3.5 m"),)),
            report("nothing", Verdict.NOT_APPLICABLE, coverage=Coverage(0, 0, "modules")),
        ),
        broken="cut off",
        death=ChildDeath(DeathCause.MEMORY, "it used more than 5 MiB beside the payload"),
    )
    text = Reader(page(run, lang)).text
    for number in range(AUDIT_FINDINGS - 1):
        assert f"layers.{number}.q" in text
    for words in ("the moon was full", "wait for the sun", "tide", "3.5 m", "cut off", "nothing"):
        assert words in text
    expected = {
        "en": (
            "3 of 4 modules",
            "nothing of its kind",
            "it used more than 5 MiB",
            "not applicable",
        ),
        "zh": ("模块 3 / 4", "没有此类内容", "占用的内存超过 5 MiB", "不适用", "不产生任何改变"),
    }[lang]
    for words in expected:
        assert words in text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_page_says_what_it_does_not_show_and_never_that_all_is_well(lang):
    text = page(AuditRun((report(),), details=AuditDetails(modules())), lang)
    assert {"en": "does not show", "zh": "不能说明什么"}[lang] in text
    lowered = Reader(text).text.lower().replace("safetensors", "")
    assert not re.search(r"backdoor|\bsafe\b|\bclean\b|no threat|后门|安全", lowered)


def test_a_page_is_bounded_however_much_the_payload_holds():
    finding = Finding("r", Verdict.WARN, "m" * AUDIT_TEXT_CHARS, "a" * AUDIT_TEXT_CHARS, "p" * 500)
    many = tuple(
        ModuleDetail(f"block.{number % 90}.{'n' * 400}{number}", f"kind{number % 300}", ("0",), "0")
        for number in range(4000)
    ) + modules(4000, 12)
    run = AuditRun(
        tuple(report(f"rule{n}", Verdict.WARN, *[finding] * AUDIT_FINDINGS) for n in range(10)),
        details=AuditDetails(many),
    )
    assert len(page(run).encode()) < 2 * 1024 * 1024


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_page_of_722_modules_stays_far_below_one_mebibyte(lang):
    run = AuditRun((report(),), details=AuditDetails(modules(722, 64)))
    assert len(page(run, lang).encode()) < 512 * 1024


def test_a_page_is_in_its_language_and_the_same_each_time():
    run = AuditRun((report(),), details=AuditDetails(modules()))
    assert '<html lang="zh-Hans">' in page(run, "zh")
    assert page(run) == page(run)
    assert '<html lang="en">' in page(run)


def test_pictures_have_words_and_tables_have_heads():
    position = hostile_run("word").details.position
    seen = Reader(page(AuditRun((report(),), details=AuditDetails(modules(), (), position))))
    images = seen.tags.count("img")
    assert images == len([1 for tag, name, _ in seen.attributes if (tag, name) == ("img", "alt")])
    alts = [
        value for tag, name, value in seen.attributes if (tag, name) == ("img", "alt") and value
    ]
    assert len(alts) == 1  # the bar of the legend is an ornament: its numbers stand below it
    assert "24 modules" in alts[0]
    assert seen.tags.count("svg") == len(
        [1 for tag, name, _ in seen.attributes if (tag, name) == ("svg", "aria-label")]
    )
    for tag, name in (("th", "scope"), ("html", "lang"), ("meta", "charset")):
        assert any((each, key) == (tag, name) for each, key, _ in seen.attributes)
