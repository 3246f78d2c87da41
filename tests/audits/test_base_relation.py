"""An adapter beside its base: refusals, and every number against dense algebra in float64."""

from __future__ import annotations

import struct

import pytest

torch = pytest.importorskip("torch")

from registry.artifacts.notes import PayloadForm  # noqa: E402 - needs torch
from registry.audits.audit import AuditSubject  # noqa: E402
from registry.audits.bases.building import BaseFile, build_base_cache, decompose  # noqa: E402
from registry.audits.bases.cache import BaseWeight  # noqa: E402
from registry.audits.bases.dora import effective_update, is_by_output  # noqa: E402
from registry.audits.bases.names import CANONICAL, Naming  # noqa: E402
from registry.audits.bases.relating import relate_full, relate_low_rank  # noqa: E402
from registry.audits.bases.top_vectors import top_vectors  # noqa: E402
from registry.audits.context import AuditContext  # noqa: E402
from registry.audits.weights.base_relation import BaseRelationAudit  # noqa: E402
from registry.errors import FormatError  # noqa: E402
from registry.fingerprints.parts import CanonicalPart  # noqa: E402
from registry.formats.findings import Verdict  # noqa: E402
from registry.formats.safetensors import TensorInfo  # noqa: E402
from registry.updates.payload import read_payload  # noqa: E402
from tests.audits.conftest import safetensors_bytes  # noqa: E402

SOURCE = torch.Generator().manual_seed(9)
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
MODULE = f"lora_unet_{LAYER.replace('.', '_')}"


def _randn(*shape):
    return torch.randn(shape, generator=SOURCE)


def _stored(tensor):
    return ("F32", tuple(tensor.shape), tensor.float().contiguous().numpy().tobytes())


def _spectral(outputs, inputs, bulk=0.3):
    """A weight as they are: a few large values over a slowly falling bulk."""
    count = min(outputs, inputs)
    left = torch.linalg.qr(_randn(outputs, count)).Q
    right = torch.linalg.qr(_randn(inputs, count)).Q
    place = torch.arange(count)
    values = 5 * torch.exp(-place / 6) + bulk * (2 - place / count)
    return (left * values) @ right.T


def _base_of(weight):
    left, values = decompose(weight)
    return BaseWeight(weight, left.half(), values.float())


def _context(tmp_path, weights, naming=CANONICAL):
    path = tmp_path / "base.safetensors"
    path.write_bytes(safetensors_bytes({name: _stored(value) for name, value in weights.items()}))
    build_base_cache([BaseFile(path)], tmp_path / "cache", names=naming)
    return AuditContext(base=memoryview(bytearray((tmp_path / "cache").read_bytes())))


def _run(tensors, context, naming=CANONICAL):
    data = memoryview(bytearray(safetensors_bytes(tensors)))
    payload = read_payload(data, PayloadForm.RAW, "a.safetensors")
    return BaseRelationAudit(naming).run(AuditSubject(payload, context=context))


def _lora(up, down, alpha=None, module=MODULE, **more):
    tensors = {f"{module}.lora_up.weight": _stored(up), f"{module}.lora_down.weight": _stored(down)}
    if alpha is not None:
        tensors[f"{module}.alpha"] = ("F32", (), struct.pack("<f", alpha))
    return {**tensors, **{f"{module}.{role}": _stored(value) for role, value in more.items()}}


def _number(report, name):
    return float(dict(report.metrics)[name].split()[0])


def test_without_a_base_it_is_not_applicable_and_says_why(subject_of, lora):
    report = BaseRelationAudit().run(subject_of(lora(2)))
    assert report.verdict is Verdict.NOT_APPLICABLE
    assert "base add" in report.summary


def test_what_is_no_cache_is_inconclusive(subject_of, lora, pack):
    context = AuditContext(base=memoryview(bytearray(pack(lora(1)))))
    report = BaseRelationAudit().run(AuditSubject(subject_of(lora(2)).payload, context=context))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.coverage.examined == 0


def test_a_base_with_none_of_its_layers_is_inconclusive(tmp_path, lora):
    context = _context(tmp_path, {f"{LAYER}.weight": _randn(8, 8)})
    report = _run(lora(3), context)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert (report.coverage.examined, report.coverage.total) == (0, 3)
    assert "3 of 3 modules" in report.findings[0].message


def test_a_shape_that_does_not_fit_needs_review_if_nothing_fits(tmp_path):
    context = _context(tmp_path, {f"{LAYER}.weight": _randn(8, 12)})
    report = _run(_lora(_randn(8, 2), _randn(2, 10)), context)
    assert report.verdict is Verdict.REVIEW
    assert report.findings[0].message == "its update is [8, 10], the base's layer [8, 12]"


def test_a_shape_that_does_not_fit_is_for_a_person_to_see(tmp_path):
    other = LAYER.replace("to_q", "to_k")
    context = _context(
        tmp_path, {f"{LAYER}.weight": _randn(8, 12), f"{other}.weight": _randn(8, 12)}
    )
    tensors = {
        **_lora(_randn(8, 2) * 1e-3, _randn(2, 12)),
        **_lora(_randn(8, 2), _randn(2, 10), module=MODULE.replace("to_q", "to_k")),
    }
    report = _run(tensors, context)
    assert report.verdict is Verdict.REVIEW
    assert [finding.place for finding in report.findings] == [MODULE.replace("to_q", "to_k")]


def test_methods_that_cannot_be_related_are_counted_with_their_reason(tmp_path):
    context = _context(tmp_path, {f"{LAYER}.weight": _randn(8, 8)})
    report = _run({f"{MODULE}.oft_blocks": _stored(_randn(2, 4, 4))}, context)
    assert report.coverage.examined == 0
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "the update is not in the file" in report.findings[0].message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_an_update_that_is_not_finite_is_not_examined(tmp_path, value):
    context = _context(tmp_path, {f"{LAYER}.weight": _randn(8, 8)})
    up = _randn(8, 2)
    up[0, 0] = value
    report = _run(_lora(up, _randn(2, 8) * (value if value > 1e30 else 1)), context)
    assert report.coverage.examined == 0
    assert any("finite" in finding.message for finding in report.findings)


@pytest.mark.parametrize(("strength", "verdict"), [(0.29, Verdict.PASS), (0.31, Verdict.WARN)])
def test_an_update_beyond_three_tenths_of_the_weight_warns(tmp_path, strength, verdict):
    weight = _spectral(24, 32)
    up, down = _randn(24, 2), _randn(2, 32)
    up *= strength * weight.norm() / (up @ down).norm() / 3
    report = _run(_lora(up, down, alpha=6.0), _context(tmp_path, {f"{LAYER}.weight": weight}))
    assert report.verdict is verdict
    assert _number(report, "largest ||dW|| / ||W||") == pytest.approx(strength, rel=1e-4)


@pytest.mark.parametrize("shape", [(96, 96), (96, 200), (200, 96)])
@pytest.mark.parametrize("strength", [0.02, 0.3, 1.5])
def test_low_rank_relations_are_those_of_a_full_decomposition(shape, strength):
    weight = _spectral(*shape).half().float()
    up, down = _randn(shape[0], 4), _randn(4, shape[1])
    up *= strength * weight.norm() / (up @ down).norm()
    dense = (up.double() @ down.double(), weight.double())
    base = _base_of(weight)
    for relation in (relate_low_rank(up, down, base), relate_full(up @ down, base)):
        assert relation.norm == pytest.approx(float(dense[0].norm() / dense[1].norm()), rel=1e-5)
        first = torch.linalg.matrix_norm(dense[0], 2) / torch.linalg.matrix_norm(dense[1], 2)
        assert relation.largest == pytest.approx(float(first), rel=1e-5)
        cosines = _exact_cosines(weight, up @ down)
        assert relation.intruders == int((cosines < 0.5).sum())
        assert relation.examined == 10
    moved = torch.linalg.svdvals(dense[1] + dense[0]) - torch.linalg.svdvals(dense[1])
    bound = relation.largest * float(torch.linalg.matrix_norm(dense[1], 2))
    assert float(moved.abs().max()) <= bound * 1.0001


def _exact_cosines(weight, update):
    """As PEFT counts them: full decompositions of the weight and of the sum."""
    before = torch.linalg.svd(weight.double(), full_matrices=False).U
    after = torch.linalg.svd((weight + update).double(), full_matrices=False).U[:, :10]
    return (before.T @ after).abs().amax(0)


def test_an_update_along_the_weights_own_directions_brings_no_intruder():
    weight = _spectral(80, 60)
    parts = torch.linalg.svd(weight, full_matrices=False)
    inside = relate_low_rank(parts.U[:, :3] * 4, parts.Vh[:3], _base_of(weight))
    assert inside.intruders == 0
    outside = torch.linalg.qr(torch.cat([parts.U, _randn(80, 3)], 1)).Q[:, 60:]
    found = relate_low_rank(outside * 40, torch.linalg.qr(_randn(60, 3)).Q.T, _base_of(weight))
    assert found.intruders == 3


def test_a_full_update_that_no_direction_of_the_weight_meets_is_measured():
    weight = torch.zeros(200, 40)
    weight[:100] = _spectral(100, 40)
    update = torch.zeros(200, 40)
    update[150:] = _randn(50, 40) * 9
    relation = relate_full(update, _base_of(weight))
    first = torch.linalg.matrix_norm(update, 2) / torch.linalg.matrix_norm(weight, 2)
    assert relation.largest == pytest.approx(float(first), rel=1e-4)
    assert relation.intruders == int((_exact_cosines(weight, update) < 0.5).sum()) > 0


def test_a_weight_of_zeroes_is_related_without_an_error():
    base = _base_of(torch.zeros(6, 8))
    assert relate_low_rank(_randn(6, 2), _randn(2, 8), base).norm == float("inf")


def test_a_dead_update_is_nothing():
    relation = relate_low_rank(torch.zeros(40, 2), _randn(2, 50), _base_of(_spectral(40, 50)))
    assert (relation.norm, relation.largest, relation.intruders) == (0, 0, 0)


def test_equal_values_are_said_not_to_be_told_apart_or_settled():
    # Every direction is as good as every other: whatever is found, it must be an invariant space.
    identity = torch.eye(300, dtype=torch.float64)
    found = top_vectors(lambda block: identity @ block, identity[:, :20], 10)
    assert found.has_settled
    assert found.values.tolist() == pytest.approx([1.0] * 10)
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(10, dtype=torch.float64))
    values = 1 - torch.arange(400, dtype=torch.float64)[:, None] * 1e-12
    start = torch.linalg.qr(torch.randn(400, 12, generator=SOURCE, dtype=torch.float64)).Q
    assert not top_vectors(lambda block: values * block, start, 10, tolerance=1e-18).has_settled


def test_not_settled_directions_are_named_and_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("registry.audits.bases.top_vectors._RESTARTS", 0)
    weight = _spectral(300, 300)
    report = _run(
        _lora(_randn(300, 2) * 1e-3, _randn(2, 300)),
        _context(tmp_path, {f"{LAYER}.weight": weight}),
    )
    assert report.verdict is Verdict.WARN
    assert "too close to each other" in report.findings[0].message
    assert dict(report.metrics)["intruder dimensions"].startswith("0 of 0")


def _dora(weight, direction, magnitude, by_output):
    changed = (weight + direction).double()
    axes = [1] if by_output else [0]
    lengths = changed.norm(dim=axes, keepdim=True)
    shape = (-1, 1) if by_output else (1, -1)
    return magnitude.double().view(shape) * changed / lengths - weight.double()


@pytest.mark.parametrize(
    ("name", "shape", "by_output"),
    [
        ("m.lora_magnitude_vector", (8,), True),
        ("m.lora_magnitude_vector.weight", (1, 8, 1, 1), True),
        ("m.dora_scale", (8, 1), True),
        ("m.dora_scale", (1, 12), False),
        ("m.dora_scale", (8, 1, 1, 1), True),
        ("m.dora_scale", (1, 12, 1, 1), False),
    ],
)
def test_the_axis_of_a_magnitude_is_told_by_name_and_shape(name, shape, by_output):
    assert is_by_output(TensorInfo(name, "F32", shape, 0, 0), 8, 12) is by_output


@pytest.mark.parametrize(
    ("name", "shape"),
    [("m.dora_scale", (12, 1)), ("m.dora_scale", (1, 8)), ("m.lora_magnitude_vector", (12,))],
)
def test_a_magnitude_that_fits_no_axis_is_refused(name, shape):
    with pytest.raises(FormatError, match="magnitude"):
        is_by_output(TensorInfo(name, "F32", shape, 0, 0), 8, 12)


def test_a_square_layer_keeps_the_two_axes_apart():
    wide = TensorInfo("m.dora_scale", "F32", (1, 8), 0, 0)
    tall = TensorInfo("m.dora_scale", "F32", (8, 1), 0, 0)
    assert (is_by_output(wide, 8, 8), is_by_output(tall, 8, 8)) == (False, True)


def test_a_row_without_direction_is_refused():
    weight = torch.zeros(3, 4)
    with pytest.raises(FormatError, match="zero"):
        effective_update(weight, weight, torch.ones(3), by_output=True)


@pytest.mark.parametrize("by_output", [True, False])
def test_a_dora_is_related_by_its_effective_update(tmp_path, by_output):
    weight = _spectral(24, 40)
    up, down = _randn(24, 3) * 0.1, _randn(3, 40)
    lengths = (weight + 2 * up @ down).norm(dim=1 if by_output else 0)
    magnitude = lengths * (1 + 0.1 * _randn(len(lengths)))
    stored = magnitude[:, None] if by_output else magnitude[None]
    tensors = _lora(up, down, alpha=6.0, dora_scale=stored)
    report = _run(tensors, _context(tmp_path, {f"{LAYER}.weight": weight}))
    exact = _dora(weight, 2 * up @ down, magnitude, by_output)
    norm = float(exact.norm() / weight.double().norm())
    assert _number(report, "largest ||dW|| / ||W||") == pytest.approx(norm, rel=1e-4)
    first = torch.linalg.matrix_norm(exact, 2) / torch.linalg.matrix_norm(weight.double(), 2)
    assert _number(report, "largest s1(dW) / s1(W)") == pytest.approx(float(first), rel=1e-4)
    change = float((magnitude / lengths - 1).median())
    said = dict(report.metrics)["dora: change of length"]
    assert float(said.split()[1].rstrip(",")) == pytest.approx(change, abs=1e-3)
    assert report.coverage.examined == 1


def test_a_dora_that_changes_nothing_is_nothing_though_its_factors_are_not(tmp_path):
    weight = _spectral(24, 40)
    report = _run(
        _lora(torch.zeros(24, 3), _randn(3, 40), dora_scale=weight.norm(dim=1, keepdim=True)),
        _context(tmp_path, {f"{LAYER}.weight": weight}),
    )
    assert _number(report, "largest ||dW|| / ||W||") < 1e-6


def test_a_dora_of_a_convolution_counts_channels(tmp_path):
    weight = _randn(6, 5, 3, 3)
    up, down = _randn(6, 2, 1, 1) * 0.1, _randn(2, 5, 3, 3)
    direction = (up.flatten(1) @ down.flatten(1)).view_as(weight)
    magnitude = (weight + direction).transpose(0, 1).flatten(1).norm(dim=1) * 1.2
    report = _run(
        _lora(up, down, dora_scale=magnitude.view(1, 5, 1, 1)),
        _context(tmp_path, {f"{LAYER}.weight": weight}),
    )
    exact = 1.2 * (weight + direction) - weight
    norm = float(exact.norm() / weight.norm())
    assert _number(report, "largest ||dW|| / ||W||") == pytest.approx(norm, rel=1e-4)


def test_kronecker_products_and_full_differences_are_multiplied_out(tmp_path):
    weight = _spectral(24, 40)
    context = _context(tmp_path, {f"{LAYER}.weight": weight})
    left, right = _randn(4, 5) * 0.1, _randn(6, 8)
    kron = {f"{MODULE}.lokr_w1": _stored(left), f"{MODULE}.lokr_w2": _stored(right)}
    full = {f"{MODULE}.diff": _stored(torch.kron(left, right))}
    norm = float(torch.kron(left, right).norm() / weight.norm())
    for tensors in (kron, full):
        report = _run(tensors, context)
        assert report.coverage.examined == 1
        assert _number(report, "largest ||dW|| / ||W||") == pytest.approx(norm, rel=1e-4)


def test_a_fused_module_is_related_part_by_part(tmp_path):
    weights = {name: _spectral(8, 20) for name in "qkv"}
    parts = [CanonicalPart(n, "attn", range(8 * k, 8 * k + 8)) for k, n in enumerate("qkv")]
    naming = Naming(
        "cut.1",
        lambda payload: [parts for _ in payload.modules],
        lambda modules: [(CanonicalPart(module.name[-1], "attn"),) for module in modules],
    )
    stored = {f"{name}.weight": weight for name, weight in weights.items()}
    context = _context(tmp_path, stored, naming)
    up, down = _randn(24, 3) * 0.1, _randn(3, 20)
    report = _run(_lora(up, down), context, naming)
    norms = [
        float((up[8 * k : 8 * k + 8] @ down).norm() / weight.norm())
        for k, weight in enumerate(weights.values())
    ]
    assert (report.coverage.examined, report.coverage.total) == (1, 1)
    assert _number(report, "largest ||dW|| / ||W||") == pytest.approx(max(norms), rel=1e-4)
    assert _number(report, "median ||dW|| / ||W||") == pytest.approx(sorted(norms)[1], rel=1e-4)
    assert "30 top directions" not in report.summary


def test_the_report_names_the_base_by_digest_and_no_harmlessness(tmp_path):
    context = _context(tmp_path, {f"{LAYER}.weight": _spectral(24, 40)})
    report = _run(_lora(_randn(24, 2) * 1e-2, _randn(2, 40)), context)
    assert report.verdict is Verdict.PASS
    assert len(dict(report.metrics)["base files (sha256)"]) == 16
    assert "backdoor" not in f"{report}".lower()
