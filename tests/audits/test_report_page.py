"""The page of a run: hostile names stay text, nothing is fetched or run, nothing is left out."""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
import zlib
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audits.details import (
    AuditDetails,
    CohortPosition,
    FeaturePosition,
    ModuleDetail,
)
from registry.audits.report_page.heatmap import block_of
from registry.audits.report_page.markup import NAME_CHARS, element, visible
from registry.audits.report_page.measures import (
    Measured,
    measured_modules,
    quantile,
    robust_z,
    split_dead,
)
from registry.audits.report_page.page import render_report
from registry.audits.report_page.palette import (
    COLOURS,
    FIRST_LEVEL,
    GROUNDS,
    LEVELS,
    NO_VALUE,
    TEXT_COLOURS,
    ZERO,
    cividis,
)
from registry.audits.report_page.png import write_png
from registry.audits.report_page.words import LANGUAGES
from registry.audits.task import AuditRun, ChildDeath, DeathCause
from registry.formats.findings import AuditReport, Coverage, Finding, Verdict
from registry.limits import AUDIT_FINDINGS, AUDIT_TEXT_CHARS

VOID = {"meta", "img", "br", "col"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "'; background:url(//evil.example)",
    "javascript:alert(1)",
    "{0.__class__} {title}",
    "gpj.\u202etxt.\u2066lora",
    "a\u0000b\x1b[2Jc\u200bd\ue000e",
    "z" + "\u0301" * 40,
    "\u3164\u00a0\u2800",
    "\u05d0\u05d1\u05d2",
    "q" * 10_000,
    "&lt;&amp;lt;",
)


def report(rule="structure", verdict=Verdict.PASS, *findings, **changes):
    base = AuditReport(rule, "1", verdict, Coverage(3, 4, "modules"), "a summary", findings)
    return dataclasses.replace(base, **changes)


def modules(count=24, values=6, kind="attn.q"):
    found = []
    for number in range(count):
        sizes = [f"{(1 + number % 5) * 0.6**index:.5g}" for index in range(values)]
        norm = sum(float(size) ** 2 for size in sizes) ** 0.5
        found.append(
            ModuleDetail(f"unet.blocks.{number % 4}.m{number}", kind, tuple(sizes), f"{norm:.5g}")
        )
    return tuple(found)


def page(run, lang="en", name="a.safetensors"):
    return render_report(run, name=name, digest="sha256:00", made_at="2026-01-01", lang=lang)


class Reader(HTMLParser):
    """Refuses tags that do not match, and keeps what a browser would see."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        assert all(value is not None for _, value in attrs), tag
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def hostile_run(word):
    finding = Finding("structure", Verdict.FAIL, f"saw {word}", f"do {word}", word)
    detail = ModuleDetail(word, word, ("2", "1"), "2.2361", f"dora: {word}")
    without = ModuleDetail(word, word, reason=word)
    place = CohortPosition(word, 60, "3", (FeaturePosition(word, "1", "1", "7.5"),))
    return AuditRun(
        (
            report(
                word, Verdict.FAIL, finding, summary=word, metrics=((word, word),), supplier=word
            ),
        ),
        death=ChildDeath(DeathCause.CRASH, word),
        broken=word,
        confinement=((word, word),),
        details=AuditDetails((detail, without, *modules()), ((word, "1"),), place),
    )


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


@pytest.mark.parametrize("name", TEXT_COLOURS)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("dark", [0, 1])
def test_text_stands_out_from_its_ground(name, ground, dark):
    """Contrast after WCAG 2.2, 1.4.3: at least 4.5."""

    def light(colour):
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(share * p for share, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((light(COLOURS[name][dark]), light(COLOURS[ground][dark])))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_cividis_gets_lighter_all_the_way():
    greys = [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (cividis(level / 63) for level in range(64))
    ]
    assert all(low < high for low, high in zip(greys, greys[1:], strict=False))
    assert cividis(-1) == cividis(0)
    assert cividis(2) == cividis(1) == (254, 232, 56)


@pytest.mark.parametrize("rows", [[], [b""], [b"\x00", b"\x00\x01"]])
def test_a_picture_without_equal_rows_is_refused(rows):
    with pytest.raises(ValueError, match="equal rows"):
        write_png(rows, [(0, 0, 0)])


def read_png(data):
    """Decode what `write_png` writes, by the book: chunks, checksums, one filter byte a row."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[start : start + width + 1] for start in range(0, len(raw), width + 1)]
    assert all(row[0] == 0 for row in rows)
    return [row[1:] for row in rows], chunks


def test_the_picture_can_be_read_by_pillow_too():
    image = pytest.importorskip("PIL.Image")
    io = pytest.importorskip("io")
    data = write_png([b"\x00\x01\x02", b"\x02\x01\x00"], [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    picture = image.open(io.BytesIO(data)).convert("RGBA")
    assert picture.size == (3, 2)
    assert [picture.getpixel((x, 0)) for x in range(3)] == [
        (1, 2, 3, 0),
        (4, 5, 6, 255),
        (7, 8, 9, 255),
    ]


def picture_of(details):
    text = page(AuditRun((report(),), details=AuditDetails(details)))
    first = re.search(r'class="heat-field"[^>]*><img src="data:image/png;base64,([^"]+)"', text)[1]
    return read_png(base64.b64decode(first))[0]


def test_the_heat_map_is_lightest_at_the_largest_and_tells_zero_from_nothing():
    rows = picture_of(
        (
            ModuleDetail("b.1.x", "", ("0.1", "0.01"), "0.1005"),
            ModuleDetail("b.0.x", "", ("1", "0.1", "0"), "1.005"),
        )
    )
    lightest = FIRST_LEVEL + LEVELS - 1
    # Sorted by block: b.0 first.
    assert list(rows[0]) == [lightest, rows[0][1], ZERO]
    assert list(rows[1]) == [rows[0][1], rows[1][1], NO_VALUE]
    assert FIRST_LEVEL <= rows[1][1] < rows[0][1] < lightest


def test_thousands_of_modules_share_rows_and_none_is_lost():
    details = list(modules(5000, 4))
    details[4321] = dataclasses.replace(details[4321], values=("1000",), frobenius="1000")
    rows = picture_of(details)
    assert len(rows) <= 840
    assert sum(row[0] == FIRST_LEVEL + LEVELS - 1 for row in rows) == 1


@pytest.mark.parametrize(
    ("place", "block"),
    [
        ("lora_unet_down_blocks_0_attentions_1_to_q", ("lora_unet_down_blocks", 0)),
        (
            "base_model.model.model.layers.12.self_attn.q_proj",
            ("base_model.model.model.layers", 12),
        ),
        ("lora_te1_text_model_encoder_layers_3_mlp_fc1", ("lora_te1_text_model_encoder_layers", 3)),
        ("lora_unet_conv_in", ("lora_unet_conv", -1)),
        ("proj", ("proj", -1)),
        ("", ("", -1)),
        ("a._1._2", ("a.", 1)),
    ],
)
def test_blocks_are_read_from_names(place, block):
    assert block_of(place) == block


def test_energy_shares_count_the_values_that_were_not_kept():
    whole = Measured("a", "", (3.0, 4.0)[::-1], 5.0)
    assert whole.energy_shares() == pytest.approx([16 / 25, 1.0])
    assert whole.stable_rank == pytest.approx(25 / 16)
    assert Measured("a", "", (4.0,), 5.0).energy_shares() == pytest.approx([16 / 25])
    assert Measured("a", "", (0.0,), 0.0).energy_shares() == []


def test_the_dead_are_told_from_the_living_as_the_audit_does():
    details = [
        *modules(5),
        ModuleDetail("gone", "", ("0",), "0"),
        ModuleDetail("faint", "", ("1e-12",), "1e-12"),
        ModuleDetail("dora", "", ("0",), "0", "dora: direction only"),
        ModuleDetail("unmeasured", "", reason="why"),
    ]
    living, dead = split_dead(measured_modules(details))
    assert [module.place for module in dead] == ["gone", "faint"]
    assert len(living) == 5


def test_quantiles_and_robust_z():
    with pytest.raises(ValueError, match="quantile"):
        quantile([], 0.5)
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.25) == 1.25
    assert robust_z([]) == []
    assert robust_z([2.0, 2.0, 9.0]) == [0.0, 0.0, 0.0]
    assert robust_z([1.0, 2.0, 3.0, 4.0, 100.0])[-1] == pytest.approx(97 / 1.4826)


def test_planted_outliers_and_dead_modules_are_named():
    loud = ModuleDetail("unet.blocks.0.loud", "attn.q", ("900", "1"), "900")
    flat = ModuleDetail("unet.blocks.1.flat", "attn.q", ("2", "2", "2", "2", "2", "2"), "4.899")
    gone = ModuleDetail("unet.blocks.2.gone", "attn.q", ("0", "0"), "0")
    text = page(AuditRun((report(),), details=AuditDetails((*modules(40), loud, flat, gone))))
    outliers = Reader(re.search(r'<section id="outliers">.*?</section>', text, re.DOTALL)[0]).text
    assert re.search("unet.blocks.0.loud[^u]*largest", outliers)
    assert re.search("unet.blocks.1.flat.*unusual stable rank", outliers)
    dead = Reader(re.search(r'<section id="dead">.*?</section>', text, re.DOTALL)[0]).text
    assert "1 of 43 measured modules change nothing" in dead
    assert "unet.blocks.2.gone" in dead


def test_the_place_among_peers_is_drawn_with_its_limits():
    features = tuple(
        FeaturePosition(name, "1", "1", z)
        for name, z in (("near", "0.5"), ("far", "-7"), ("off", "30"))
    )
    details = AuditDetails((), (), CohortPosition("sdxl, kohya", 61, "9.5", features))
    text = page(AuditRun((report(),), details=details))
    section = re.search(r'<section id="cohort">.*?</section>', text, re.DOTALL)[0]
    assert "61 adapters" in section
    # Farthest first, beyond ±6 in another shape, beyond the scale with an arrow.
    assert re.findall(r"class=\"(dot[^\"]*)\"", section) == ["dot far", "dot far", "dot"]
    assert section.index(">off<") < section.index(">far<") < section.index(">near<")
    assert "+30.00 ▸" in section
    few = AuditDetails((), (), CohortPosition("sdxl, kohya", 7, ""))
    assert "Too few peers: 7 adapters" in page(AuditRun((report(),), details=few))
