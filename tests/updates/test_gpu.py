"""On a real GPU: the same numbers as on the CPU, and where sums are exact the same bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.audits.audit import AuditSubject  # noqa: E402 - needs torch
from registry.audits.child import run_one  # noqa: E402
from registry.formats.findings import Verdict  # noqa: E402
from registry.updates.exactness import spectrum_digest  # noqa: E402
from registry.updates.spectra import measure  # noqa: E402
from tests.updates.test_exactness import STORED, _payload  # noqa: E402

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", STORED)
def test_a_gpu_measures_what_the_cpu_measures(subject_of, dtype):
    payload = _payload(subject_of, dtype, modules=40)
    for ours, theirs in zip(measure(payload, "cuda"), measure(payload), strict=True):
        error = (ours.values - theirs.values).abs().max() / theirs.values[0]
        assert float(error) < 1e-6


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", STORED)
def test_the_digest_is_the_same_on_a_gpu(subject_of, dtype):
    payload = _payload(subject_of, dtype, modules=40)
    ours, theirs = (measure(payload, place, deterministic=True) for place in ("cuda", "cpu"))
    assert spectrum_digest(ours) == spectrum_digest(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.is_exact == other.is_exact
        if one.is_exact:
            assert torch.equal(one.values, other.values)


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_without_room_leaves_the_payload_to_the_cpu(subject_of):
    payload = _payload(subject_of, "F16")
    for ours, theirs in zip(
        measure(payload, "cuda", device_bytes=1), measure(payload), strict=True
    ):
        assert torch.equal(ours.values, theirs.values)
        assert ours.way == theirs.way


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_an_error_and_no_pass(subject_of):
    subject = AuditSubject(_payload(subject_of, "F16"), device="cuda")
    report = run_one("spectrum", "registry.audits.weights.spectrum:SpectrumAudit", subject)
    assert report.verdict is Verdict.ERROR
