"""What types take: underflow, zeros, 8 bits without a scale, and roundings of the past."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.audits.weights.dtype_loss import DtypeLossAudit  # noqa: E402 - needs torch
from registry.formats.findings import Verdict  # noqa: E402

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
}
UP = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"


def _noise(shape, std, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * std


def _stored(values, dtype):
    tensor = values.to(DTYPES[dtype])
    content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return (dtype, tuple(tensor.shape), content)


def _adapter(up, dtype, down_std=0.02, down_dtype=None):
    base = UP.removesuffix(".lora_up.weight")
    down = _noise((16, 80), down_std, 2)
    return {
        f"{base}.lora_down.weight": _stored(down, down_dtype or dtype),
        UP: _stored(up, dtype),
    }


def _run(subject_of, tensors):
    return DtypeLossAudit().run(subject_of(tensors))


def _words(report):
    return " | ".join(finding.message for finding in report.findings)


@pytest.mark.parametrize("std", [1e-6, 1e-7])
def test_half_precision_underflow_warns(subject_of, std):
    report = _run(subject_of, _adapter(_noise((96, 16), std), "F16"))
    assert report.verdict is Verdict.WARN
    assert report.findings[0].place == UP
    assert "too small for half precision" in report.findings[0].message


@pytest.mark.parametrize(
    ("std", "dtype"), [(1e-5, "F16"), (1e-2, "F16"), (1e-7, "BF16"), (1e-7, "F32")]
)
def test_what_a_type_can_hold_passes(subject_of, std, dtype):
    assert _run(subject_of, _adapter(_noise((96, 16), std), dtype)).verdict is Verdict.PASS


def test_underflow_is_seen_beside_rows_of_zeros(subject_of):
    up = _noise((96, 16), 1e-6)
    up[:40] = 0
    assert _run(subject_of, _adapter(up, "F16")).verdict is Verdict.WARN


def test_a_dead_factor_is_no_loss(subject_of):
    assert _run(subject_of, _adapter(torch.zeros(96, 16), "F16")).verdict is Verdict.PASS


def test_mostly_zeros_in_a_living_factor_warn(subject_of):
    up = _noise((96, 16), 1e-2)
    up[up.abs() < 8e-3] = 0
    report = _run(subject_of, _adapter(up, "BF16"))
    assert report.verdict is Verdict.WARN
    assert "exactly zero" in _words(report)


def test_unscaled_eight_bits_fail_and_scaled_ones_are_inconclusive(subject_of):
    tensors = _adapter(_noise((96, 16), 0.1), "F8_E4M3", down_dtype="BF16")
    report = _run(subject_of, tensors)
    assert report.verdict is Verdict.FAIL
    assert "F8_E4M3 without a scale" in report.findings[0].message
    tensors[f"{UP}_scale"] = ("F32", (1,), b"\0\0\x80?")
    assert _run(subject_of, tensors).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        ("BF16", "F16", "F16 factors were rounded through BF16"),
        ("BF16", "F32", "F32 factors were rounded through BF16"),
        ("F16", "F32", "F32 factors were rounded through F16"),
    ],
)
def test_a_rounding_of_the_past_is_told_and_passes(subject_of, first, then, told):
    up = _noise((96, 16), 1e-2).to(DTYPES[first])
    report = _run(subject_of, _adapter(up, then, down_dtype="BF16"))
    assert report.verdict is Verdict.PASS
    assert f"1 of 1 {told}" in _words(report)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_values_as_trained_have_no_past(subject_of, dtype):
    report = _run(subject_of, _adapter(_noise((96, 16), 1e-2), dtype))
    assert (report.verdict, report.findings) == (Verdict.PASS, ())
    assert report.coverage.examined == report.coverage.total == 2


def test_a_tensor_of_a_few_values_says_nothing_of_its_past(subject_of):
    tensors = _adapter(_noise((96, 16), 1e-2), "F32")
    tensors["lora_unet_a.diff_b"] = _stored(torch.ones(3), "F32")
    assert _run(subject_of, tensors).findings == ()


def test_tensors_at_odd_places_are_looked_at(subject_of):
    tensors = {
        "a.on_input": ("BOOL", (1,), b"\1"),
        "a.weight": ("F16", (4,), b"\0<" * 4),
        **_adapter(_noise((96, 16), 1e-7), "F16"),
    }
    assert "too small" in _words(_run(subject_of, tensors))
