"""Numbers and sentences of real audits on small adapters, on the page and on the wire."""

from __future__ import annotations

import json
import math
import struct
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

# ruff: noqa: E402 - without torch there is nothing to measure
from registry.audits.detailing import (
    NOT_FINITE,
    SCALE_ASSUMED,
    detail_of,
    details_of,
)
from registry.audits.details import AuditDetails
from registry.audits.details_wire import details_from_json, details_to_json
from registry.audits.report_page.catalog_zh import CHINESE
from registry.audits.report_page.page import render_report
from registry.audits.report_page.translating import Translator
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.limits import (
    AUDIT_DETAIL_MODULES,
    AUDIT_DETAIL_NAME_CHARS,
    AUDIT_DETAIL_VALUES,
    AUDIT_RESULT_BYTES,
)
from registry.updates.factors import DORA_CAVEAT
from registry.updates.spectra import ModuleSpectrum
from tests.audits.report_runs import run_of

ZH = Translator(CHINESE, separator="；")  # noqa: RUF001 - Chinese


def _spectrum(*values, **changes):
    return ModuleSpectrum("m", torch.tensor(values, dtype=torch.float64), "gram", **changes)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_leaves_no_number(bad):
    detail = detail_of(_spectrum(bad, 1.0))
    assert (detail.values, detail.frobenius, detail.reason) == ((), "", NOT_FINITE)
    assert detail_of(_spectrum(1e200, 1e200)).frobenius == "1.4142e+200"


def test_numbers_have_five_digits_and_the_norm_counts_what_is_not_kept():
    detail = detail_of(_spectrum(3.0, 4.0 / 3.0, 0.0), "attn.q", most=2)
    assert detail.values == ("3", "1.3333")
    assert detail.frobenius == "3.283"
    assert detail.kind == "attn.q"


def test_caveats_and_reasons_are_said():
    caveat = detail_of(_spectrum(1.0, caveat=DORA_CAVEAT, scale_stated=False)).caveat
    assert caveat == f"{DORA_CAVEAT}; {SCALE_ASSUMED}"
    assert ZH.knows(caveat)
    assert detail_of(ModuleSpectrum("m", None, reason="why")).reason == "why"


def test_long_names_keep_both_ends():
    spectrum = ModuleSpectrum("a" * 5000 + "end", None, reason="why")
    place = detail_of(spectrum).place
    assert len(place) <= AUDIT_DETAIL_NAME_CHARS
    assert place.endswith("end")


def test_details_agree_with_a_dense_decomposition(subject_of, lora):
    subject = subject_of(lora(3, alpha=2.0))
    details = details_of(subject)
    assert [detail.kind for detail in details] == ["proj"] * 3
    for number, detail in enumerate(details):
        name = f"lora_unet_down_blocks_{number}_attentions_0_proj_in"
        up, down = (
            torch.frombuffer(
                bytearray(lora(3)[f"{name}.lora_{role}.weight"][2]), dtype=torch.float32
            ).reshape(lora(3)[f"{name}.lora_{role}.weight"][1])
            for role in ("up", "down")
        )
        dense = torch.linalg.svdvals(0.5 * (up.double() @ down.double()))[:4]
        assert detail.place == name
        assert [float(value) for value in detail.values] == pytest.approx(dense.tolist(), rel=1e-4)
        assert float(detail.frobenius) == pytest.approx(float(dense.norm()), rel=1e-4)


@pytest.mark.parametrize(
    ("modules", "values", "chars"),
    [(9000, 256, 20), (9000, 1, 512), (300, 300, 40), (9000, 8, 5000)],
)
def test_the_largest_details_fit_through_what_a_child_may_say(modules, values, chars):
    sizes = torch.linspace(0.00123456, 0.000123456, values, dtype=torch.float64)
    spectra = [ModuleSpectrum(f"{number}".ljust(chars, "x"), sizes) for number in range(modules)]
    subject = SimpleNamespace(modules=[None] * modules, spectra=spectra, kinds=["attn.q"] * modules)
    details = details_of(subject)
    assert 0 < len(details) <= AUDIT_DETAIL_MODULES
    assert len(details[0].values) <= AUDIT_DETAIL_VALUES
    assert float(details[0].frobenius) == pytest.approx(float(sizes.norm()), rel=1e-4)
    said = [dump_canonical(line) for line in details_to_json(AuditDetails(details))]
    assert sum(map(len, said)) + len(said) < AUDIT_RESULT_BYTES * 3 / 4
    lines = [parse_canonical(line, what="line") for line in said]
    assert details_from_json(lines).modules == details


def _changed(tensors, role, values):
    key = next(key for key in tensors if key.endswith(role))
    dtype, shape, content = tensors[key]
    count = len(content) // 4
    return {**tensors, key: (dtype, shape, struct.pack(f"<{count}f", *values(count)))}


def _adapters(lora):
    sound = lora(12)
    half = {
        key: ("F16", shape, struct.pack(f"<{len(content) // 4}e", *[3e-7] * (len(content) // 4)))
        for key, (_, shape, content) in sound.items()
    }
    lone = dict(sound)
    del lone[next(key for key in lone if key.endswith("lora_up.weight"))]
    eighth = dict(sound)
    first = next(iter(eighth))
    eighth[first] = ("F8_E4M3", eighth[first][1], b"\x08" * (len(eighth[first][2]) // 4))
    oft = {"lora_unet_a.oft_blocks": ("F32", (2, 3, 3), struct.pack("<18f", *[0.1] * 18))}
    dora = dict(sound)
    for key, (_, shape, _) in sound.items():
        if key.endswith("lora_up.weight"):
            name = key.removesuffix("lora_up.weight") + "dora_scale"
            dora[name] = ("F32", (shape[0], 1), struct.pack(f"<{shape[0]}f", *[1.0] * shape[0]))
    return {
        "sound": sound,
        "dead": _changed(sound, "lora_up.weight", lambda count: [0.0] * count),
        "nan": _changed(sound, "lora_up.weight", lambda count: [math.nan] * count),
        "huge": _changed(sound, "lora_up.weight", lambda count: [7e4] * count),
        "alpha": _changed(sound, "alpha", lambda count: [-1.0] * count),
        "loud": _changed(sound, "alpha", lambda count: [9e6] * count),
        "underflow": half,
        "half a module": lone,
        "eight bits": eighth,
        "oft": {**sound, **oft},
        "dora": dora,
        "other": {**sound, "odd.thing": ("F32", (1,), b"\x00" * 4)},
        "none": {"odd.thing": ("F32", (1,), b"\x00" * 4)},
        "wide": lora(1, rank=20),
    }


def test_chinese_knows_whatever_the_audits_say_of_sound_and_damaged_adapters(pack, lora):
    said = set()
    for tensors in _adapters(lora).values():
        run = run_of(pack(tensors))
        for report in run.reports:
            said |= {report.summary, report.coverage.unit, *(name for name, _ in report.metrics)}
            for finding in report.findings:
                said |= {finding.message, finding.advice}
        for detail in run.details.modules:
            said |= {detail.caveat, detail.reason}
    assert len(said) > 50
    missing = [text for text in sorted(said) if not ZH.knows(text)]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_adapter_has_a_page(pack, lora, lang):
    for name, tensors in _adapters(lora).items():
        run = run_of(pack(tensors))
        page = render_report(run, name=name, digest="", made_at=None, lang=lang)
        measured = sum(bool(detail.values) for detail in run.details.modules)
        assert ('class="heat"' in page) == bool(measured), name
        assert json.dumps(page)
