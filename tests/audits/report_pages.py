"""Pages to look at: runs made by hand, and a reader that refuses what is not well-formed."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from registry.audits.details import AuditDetails, CohortPosition, FeaturePosition, ModuleDetail
from registry.audits.report_page.page import render_report
from registry.audits.task import AuditRun, ChildDeath, DeathCause
from registry.formats.findings import AuditReport, Coverage, Finding, Verdict

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
