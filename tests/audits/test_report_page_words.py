"""Both languages say everything, and Chinese knows every sentence that the audits can write."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audits.catalog import BUILT_IN
from registry.audits.report_page.catalog_page_en import ENGLISH
from registry.audits.report_page.catalog_page_zh import CHINESE_PAGE
from registry.audits.report_page.catalog_zh import CHINESE
from registry.audits.report_page.translating import Translator, match
from registry.audits.report_page.words import LANGUAGES, Words
from registry.formats.findings import Verdict
from tests.audits.templates import ROOT, audit_files, templates_of

HAN = re.compile(r"[\u4e00-\u9fff]")
# Ours all the same: what stands before a colon, and what is written alike.
BARE = {"{}: {}"}
SAME = {"{}: {}", "largest s1(dW) / s1(W)", "largest ||dW|| / ||W||", "a zip archive"}
ZH = Translator(CHINESE, separator="；")
# The same in every language.
SIGNS = {"colon", "between", "tally", "coverage", "column.largest", "column.frobenius"}
SIGNS |= {"heat.legend", "z.size"}


def _said(text):
    return "".join(piece.text for piece in ZH.translate(text))


def _slots(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_a_language_that_nobody_speaks_is_refused():
    with pytest.raises(ValueError, match="expected one of en, zh"):
        Words("fr")


def test_every_sentence_of_the_audits_has_its_chinese():
    """Add what this prints to `registry/audits/report_page/catalog_zh.py`."""
    missing = {
        text: f"{path.relative_to(ROOT)}:{line}"
        for path in audit_files()
        for text, line in templates_of(path).items()
        if text not in CHINESE
    }
    lines = [f'    "{text}": "",  # {where}' for text, where in missing.items()]
    assert not missing, "no Chinese for these sentences:\n" + "\n".join(lines)


def test_the_sentences_are_really_found():
    """The test above must not pass because it looks at nothing."""
    found = {path.name: templates_of(path) for path in audit_files()}
    assert len(found["structure.py"]) > 15
    # through a condition, a constant, a function's argument, a table, a sum of literals
    for name, text in (
        ("structure.py", "{} faults in {}"),
        ("structure.py", "keep adapter_config.json and weights of one training run together"),
        ("child.py", "stopped with {}"),
        ("verdicts.py", "audit it again; the log of the daemon says why the worker ended"),
        ("listening.py", "it ran longer than {} s"),
        ("spectrum.py", "median concentration"),
    ):
        assert text in found[name]


def test_a_new_sentence_without_chinese_is_found(tmp_path):
    path = tmp_path / "weights.py"
    path.write_text(
        "ADVICE = {1: 'look here', 2: 'look there'}\n"
        "def _find(words, n):\n"
        "    return Finding(RULE, v, words, ADVICE[n], 'x')\n"
        "def run(self, n):\n"
        "    odd = f'{n} odd ' + ('things' if n > 1 else 'thing')\n"
        "    if n > 2:\n"
        "        odd += ', many'\n"
        "    yield _find(f'{n} of {n + 1} are off', n)\n"
        "    return build_report(self, Coverage(1, 2, 'oddities'), [], summary=odd,\n"
        "        metrics=[('oddness', f'{n}')])\n"
    )
    assert set(templates_of(path)) == {
        "look here",
        "look there",
        "{} odd things",
        "{} odd thing",
        "{} odd things, many",
        "{} odd thing, many",
        "{} of {} are off",
        "oddities",
        "oddness",
    }


def test_chinese_uses_exactly_the_values_of_each_sentence():
    for english, chinese in CHINESE.items():
        used = _slots(chinese)
        assert used == {str(number) for number in range(english.count("{}"))}, english
        # A template without fixed letters would swallow every sentence.
        assert english in BARE or re.search("[A-Za-z]{2}", english.replace("{}", "")), english
        assert HAN.search(chinese) or english in SAME, english


def test_both_languages_of_the_page_have_the_same_words_and_values():
    assert ENGLISH.keys() == CHINESE_PAGE.keys()
    for name, english in ENGLISH.items():
        assert _slots(english) == _slots(CHINESE_PAGE[name]), name
        assert not HAN.search(english), name
        if name not in SIGNS:
            assert HAN.search(CHINESE_PAGE[name]), name


def test_every_feature_of_a_cohort_has_a_chinese_name(subject_of, lora):
    features = pytest.importorskip("registry.audits.cohorts.features")
    subject = subject_of(lora(3))
    entries = features.entries_of(subject.modules)
    for name, _ in features.features_of(subject.spectra, subject.kinds, entries):
        assert ZH.knows(name)
        assert HAN.search(_said(name)), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_and_verdict_has_a_name(language):
    words = Words(language)
    assert all(words.rule(spec.rule) for spec in BUILT_IN)
    assert all(words.verdict(verdict) for verdict in Verdict)
    assert words.rule("somebody_elses") == ""


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("2 of 10 modules change nothing", "10 个模块中有 2 个不产生任何改变"),
        (
            "3 faults in 10 modules of method lora, dora",
            "10 个模块，方法为 lora, dora，其中有 3 处错误",
        ),
        (
            "4 modules have no spectrum: method x has no update in the file",
            "4 个模块没有谱：方法 x 的更新不在文件中",
        ),
        (
            "the audit process died: it was ended by signal 9",
            "审计进程意外结束：它被信号 9 终止",
        ),
        (
            "could not be measured: lora_e without alpha; rank is 0",
            "无法测量：有 lora_e 而没有 alpha；秩为 0",
        ),
    ],
)
def test_sentences_inside_sentences_become_chinese(english, chinese):
    assert _said(english) == chinese
    assert ZH.knows(english)


@pytest.mark.parametrize(
    "text", ["no modules without update", "the moon: it was full", "a block has shape and form"]
)
def test_a_template_that_fits_anything_makes_no_gibberish(text):
    assert _said(text) == text
    assert not ZH.knows(text)


def test_what_nobody_translated_stays_english_and_is_marked():
    assert not ZH.knows("an audit of somebody else says this")
    assert not ZH.knows("4 modules have no spectrum: the moon was full")
    assert _said("4 modules have no spectrum: the moon was full").endswith("the moon was full")
    assert str(Words("zh").sentence("the moon was full")) == (
        '<bdi class="said" lang="en">the moon was full</bdi>'
    )
    assert Words("en").sentence("a <b>") == '<bdi class="said">a &lt;b&gt;</bdi>'


def test_values_that_look_like_slots_are_only_values():
    assert _said("method {0}{1} has no update in the file") == "方法 {0}{1} 的更新不在文件中"
    assert "{name}" in Words("zh").markup("supplier", supplier="{name}")


def test_matching_takes_the_earliest_values_and_never_goes_back():
    assert match(("", " of ", ""), "1 of 2 of 3") == ("1", "2 of 3")
    assert match(("a", "b"), "ab") == ("",)
    assert match(("aa", "aa"), "aaa") is None
    assert match(("", " of ", " end"), "1 end of") is None
    # Quadratic or worse would not end: three gaps in a text of half a million places.
    text = "1 of " * 100_000
    assert match(("", " of ", " modules (", " %) change nothing"), text) is None


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(CHINESE)),
    st.lists(st.from_regex(r"[0-9a-f_.]{1,30}", fullmatch=True), min_size=4, max_size=4),
)
def test_every_value_of_a_known_sentence_is_in_its_chinese(template, values):
    said = _said(_filled(template, values))
    assert all(value in said for value in values[: template.count("{}")])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_said_in_both_languages(text):
    assert all(str(Words(language).sentence(text)) or not text for language in LANGUAGES)


def _filled(template, values):
    first, *rest = template.split("{}")
    return first + "".join(value + part for value, part in zip(values, rest, strict=False))
