"""Non-finite values, dead modules and spectra: on poisoned, dead and real adapters."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import struct
from datetime import UTC, datetime

import pytest

torch = pytest.importorskip("torch")

from registry.artifacts.notes import PayloadForm  # noqa: E402
from registry.audits.audit import AuditSubject  # noqa: E402
from registry.audits.catalog import BUILT_IN, load  # noqa: E402
from registry.audits.weights.dead_modules import DeadModulesAudit  # noqa: E402 - needs torch
from registry.audits.weights.nonfinite import NonfiniteAudit  # noqa: E402
from registry.audits.weights.spectrum import SpectrumAudit, shape_of  # noqa: E402
from registry.formats.findings import Outcome, Verdict  # noqa: E402
from registry.policy import decide, default_policy  # noqa: E402
from registry.updates import factors  # noqa: E402
from registry.updates.payload import read_payload  # noqa: E402

PLACE = "lora_unet_down_blocks_{}_attentions_0_proj_in"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
}
POISONS = [
    (dtype, poison)
    for dtype in DTYPES
    for poison in ("nan", "-nan", "inf", "-inf")
    if not (dtype == "F8_E4M3" and "inf" in poison)  # it has no infinity
]


def _stored(values, dtype):
    tensor = torch.tensor(values, dtype=torch.float64).to(DTYPES[dtype])
    return (dtype, tuple(tensor.shape), bytes(tensor.flatten().view(torch.uint8).tolist()))


def _kill(tensors, numbers):
    for number in numbers:
        name = f"{PLACE.format(number)}.lora_up.weight"
        dtype, shape, content = tensors[name]
        tensors[name] = (dtype, shape, bytes(len(content)))
    return tensors


@pytest.mark.parametrize(("dtype", "poison"), POISONS)
@pytest.mark.parametrize("position", [0, 5, 300_000])
def test_one_bad_value_among_many_fails(subject_of, lora, dtype, poison, position):
    values = [0.5] * 300_001
    values[position] = float(poison)
    stored = torch.tensor(values, dtype=torch.float64).to(DTYPES[dtype])
    content = stored.view(torch.uint8).numpy().tobytes()
    tensors = {**lora(1), "other": (dtype, (300_001,), content)}
    report = NonfiniteAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].place == "other"
    assert report.findings[0].message.startswith("1 of 300001")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_magnitude_is_exact(subject_of, lora, dtype):
    tensors = {**lora(1), "other": _stored([0.25, -28.0, 3.5, -0.0], dtype)}
    report = NonfiniteAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.PASS
    assert dict(report.metrics)["largest finite magnitude"] == "28"


def test_values_at_the_end_of_half_precision_warn(subject_of, lora):
    tensors = {**lora(1), "other": _stored([65000.0], "F16")}
    assert NonfiniteAudit().run(subject_of(tensors)).verdict is Verdict.WARN


def test_a_float_type_that_is_not_read_is_inconclusive(subject_of, lora):
    tensors = {**lora(1), "other": ("F8_E8M0", (2,), b"\xff\xff")}
    report = NonfiniteAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.coverage.examined == report.coverage.total - 1


def test_a_poisoned_module_fails_the_spectrum_too(subject_of, lora):
    tensors = lora(3)
    name = f"{PLACE.format(1)}.lora_up.weight"
    dtype, shape, content = tensors[name]
    tensors[name] = (dtype, shape, struct.pack("<f", float("nan")) + content[4:])
    report = SpectrumAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].place == PLACE.format(1)


@pytest.mark.parametrize(
    ("dead", "verdict"),
    [(0, Verdict.PASS), (1, Verdict.WARN), (2, Verdict.REVIEW), (4, Verdict.REVIEW)],
)
def test_dead_modules_of_twenty(subject_of, lora, dead, verdict):
    report = DeadModulesAudit().run(subject_of(_kill(lora(20), range(dead))))
    assert report.verdict is verdict
    assert dict(report.metrics)["dead modules"] == str(dead)


def test_an_adapter_that_is_dead_all_over_needs_review(subject_of, lora):
    report = DeadModulesAudit().run(subject_of(_kill(lora(5), range(5))))
    assert report.verdict is Verdict.REVIEW


def test_a_module_that_is_nearly_nothing_is_dead(subject_of, lora):
    tensors = lora(5)
    name = f"{PLACE.format(0)}.lora_up.weight"
    tensors[name] = _stored([[1e-12] * 4] * 12, "F32")
    assert dict(DeadModulesAudit().run(subject_of(tensors)).metrics)["dead modules"] == "1"


def test_a_negative_zero_is_dead_and_a_lone_sign_byte_is_not(subject_of):
    blocks = {
        "lora_unet_a.oft_blocks": ("F16", (1, 2, 2), b"\x00\x80" * 4),
        "lora_unet_b.oft_blocks": ("F16", (1, 2, 2), b"\x80\x00" * 4),
    }
    report = DeadModulesAudit().run(subject_of(blocks))
    assert dict(report.metrics)["dead modules"] == "1"


def test_a_spectrum_of_faulty_modules_only_is_inconclusive(subject_of, lora):
    tensors = {name: value for name, value in lora(2).items() if "lora_up" not in name}
    assert SpectrumAudit().run(subject_of(tensors)).verdict is Verdict.INCONCLUSIVE


def test_a_method_without_spectrum_is_not_applicable(subject_of):
    report = SpectrumAudit().run(subject_of({"lora_unet_a.oft_blocks": _stored([[[1.0]]], "F16")}))
    assert report.verdict is Verdict.NOT_APPLICABLE


def test_mostly_unmeasured_is_inconclusive(subject_of, lora):
    extra = {f"lora_unet_x{n}.oft_blocks": _stored([[[1.0]]], "F16") for n in range(9)}
    assert SpectrumAudit().run(subject_of({**lora(3), **extra})).verdict is Verdict.INCONCLUSIVE


def test_shape_of_known_spectra():
    flat = shape_of(torch.ones(8, dtype=torch.float64))
    assert flat is not None
    assert (flat.stable_rank, flat.top_share, flat.concentration) == (8, 1 / 8, 1 / 8)
    assert flat.effective_rank == pytest.approx(8)
    lone = shape_of(torch.tensor([3e-200, 0, 0], dtype=torch.float64))
    assert lone is not None
    assert lone.energy_rank == pytest.approx(1)
    assert lone.frobenius == pytest.approx(3e-200)
    assert shape_of(torch.zeros(3, dtype=torch.float64)) is None


def _tiled(name, dtype, shape, fixture, _seed=0, _zero=False):
    """Values that differ from tensor to tensor and cost little to make."""
    scalar = name.endswith((".alpha", ".on_input"))
    if scalar:
        return _stored([4.0], dtype)[2] if dtype in DTYPES else b"\0"
    count = math.prod(shape)
    # Squared, so that it never runs slowly: the low bytes of a slow ramp are one letter after the other.
    steps = torch.arange(1, 4099, dtype=torch.float64).square()
    values = torch.sin(steps * (1 + len(name) / 7)) * 0.02
    tile = values.to(DTYPES[dtype]).view(torch.uint8).numpy().tobytes()
    size = count * DTYPES[dtype].itemsize
    return (tile * (size // len(tile) + 1))[:size]


def test_every_known_trainer_writes_something_sound(shared, tmp_path):
    spec = importlib.util.spec_from_file_location("make", shared / "tools" / "make_adapter.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.data = _tiled
    sheet = json.loads((shared / "data" / "adapters.json").read_text())
    for fixture in sheet["adapters"]:
        name = fixture["id"]
        path = tmp_path / f"{name}.safetensors"
        make.build(fixture, path, modules=1)
        data = memoryview(bytearray(path.read_bytes()))
        subject = AuditSubject(read_payload(data, PayloadForm.RAW, name))
        wanted = {spec.rule: spec.entry for spec in BUILT_IN}
        reports = [load(wanted[rule]).run(subject) for rule in default_policy().rules]
        decision = decide(default_policy(), reports, now=datetime(2026, 11, 21, tzinfo=UTC))
        assert decision.outcome is Outcome.RELEASED, (name, decision.reasons)
        assert reports[0].coverage.examined == len(subject.modules) > 0
        path.unlink()


def test_a_digest_is_reported_where_it_was_asked_for(subject_of, lora):
    subject = subject_of(lora(3))
    assert "spectrum digest" not in dict(SpectrumAudit().run(subject).metrics)
    steady = dataclasses.replace(subject, deterministic=True)
    metrics = dict(SpectrumAudit().run(steady).metrics)
    assert len(metrics["spectrum digest"]) == 64
    assert metrics["bit-exact Gram modules"] == "0 of 3"


def test_modules_beyond_a_bound_are_not_waved_through(subject_of, monkeypatch):
    monkeypatch.setattr(factors, "FULL_ENTRIES", 3)
    report = SpectrumAudit().run(subject_of({"lora_unet_a.diff": _stored([[1.0, 2.0]] * 2, "F32")}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert dict(report.metrics)["modules beyond a bound"] == "1"


def test_what_does_not_apply_is_counted(subject_of, lora):
    extra = {f"lora_unet_x{n}.w_norm": _stored([1.0] * 4, "F16") for n in range(2)}
    report = SpectrumAudit().run(subject_of({**lora(3), **extra}))
    assert report.verdict is Verdict.WARN
    assert (report.coverage.examined, report.coverage.total) == (3, 5)
    assert dict(report.metrics)["modules not applicable"] == "2"


def test_only_half_of_glora_is_measured_and_it_says_so(subject_of):
    shapes = {"a1": (6, 2), "a2": (2, 6), "b1": (8, 2), "b2": (2, 6)}
    tensors = {
        f"lora_unet_a.{role}.weight": _stored([[0.5] * columns] * lines, "F32")
        for role, (lines, columns) in shapes.items()
    }
    report = SpectrumAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.WARN
    assert any("glora:additive-part-only" in finding.message for finding in report.findings)


def test_a_layer_whose_bias_alone_was_trained_is_not_called_dead(subject_of):
    tensors = {
        "lora_unet_a.diff": _stored([[0.0, 0.0]] * 2, "F32"),
        "lora_unet_a.diff_b": _stored([1.0, 2.0], "F32"),
        "lora_unet_b.diff": _stored([[0.0, 0.0]] * 2, "F32"),
    }
    report = DeadModulesAudit().run(subject_of(tensors))
    assert dict(report.metrics)["dead modules"] == "1"
