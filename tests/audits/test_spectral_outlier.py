"""An adapter among its peers: refusals, exact ranks, robust scales, and planted outliers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from registry.audits.audit import AuditSubject  # noqa: E402 - needs torch
from registry.audits.cohorts.features import SPREAD, as_text, features_of, features_of_subject  # noqa: E402
from registry.audits.cohorts.outlying import (  # noqa: E402
    MIN_PEERS,
    compare,
    place_among,
    position_of,
    robust_scale,
    shrunk_covariance,
    standing_of,
)
from registry.audits.context import AuditContext, PeerGroup  # noqa: E402
from registry.audits.weights.spectral_outlier import SpectralOutlierAudit  # noqa: E402
from registry.formats.findings import Verdict  # noqa: E402
from registry.updates.spectra import ModuleSpectrum  # noqa: E402

SOURCE = torch.Generator().manual_seed(20)


def _group(rows, names=None, label="lora for sd1, rank 4"):
    names = names or tuple(f"f{place}" for place in range(len(rows[0])))
    return PeerGroup(label, names, tuple(tuple(row) for row in rows))


def _random_rows(count, width):
    return torch.randn(count, width, generator=SOURCE, dtype=torch.float64).tolist()


def _adapter(lora, strength=1.0, modules=6):
    """A kohya adapter whose factors are drawn anew; `strength` multiplies its update."""
    tensors = lora(modules)
    for name, (dtype, shape, content) in tensors.items():
        if name.endswith(".weight"):
            factor = torch.randn(shape, generator=SOURCE) * (strength**0.5)
            tensors[name] = (dtype, shape, factor.numpy().tobytes())
        else:
            tensors[name] = (dtype, shape, content)
    return tensors


def _features(subject):
    return features_of_subject(subject, subject.kinds)


def _peers(subject_of, lora, count=60):
    rows = [_features(subject_of(_adapter(lora))) for _ in range(count)]
    names = tuple(name for name, _ in rows[0])
    return _group([[float(as_text(value)) for _, value in row] for row in rows], names)


@pytest.fixture(scope="module")
def peers(subject_of, lora):
    return _peers(subject_of, lora)


def _run(subject, peers):
    context = AuditContext(peers=peers)
    return SpectralOutlierAudit().run(AuditSubject(subject.payload, context=context))


def test_without_a_cohort_it_is_inconclusive(subject_of, lora):
    report = SpectralOutlierAudit().run(subject_of(lora(3)))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.findings[0].message == f"too few peers (have 0, need {MIN_PEERS})"


def test_one_peer_too_few_is_inconclusive(subject_of, lora, peers):
    few = PeerGroup(peers.label, peers.names, peers.rows[: MIN_PEERS - 1])
    report = _run(subject_of(_adapter(lora)), few)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert f"have {MIN_PEERS - 1}" in report.summary


def test_a_cohort_with_no_feature_in_common_is_inconclusive(subject_of, lora):
    strangers = _group(_random_rows(60, 3))
    assert _run(subject_of(lora(3)), strangers).verdict is Verdict.INCONCLUSIVE


def test_an_adapter_without_spectra_is_not_applicable(subject_of, peers):
    blocks = {"lora_unet_a.oft_blocks": ("F16", (1, 2, 2), b"\x00\x3c" * 4)}
    assert _run(subject_of(blocks), peers).verdict is Verdict.NOT_APPLICABLE


def test_features_that_only_one_side_has_are_named(subject_of, lora, peers):
    names = ("attn.q: concentration", *peers.names[1:])
    report = _run(subject_of(_adapter(lora)), PeerGroup(peers.label, names, peers.rows))
    assert report.verdict is Verdict.WARN
    assert any("were not compared" in finding.message for finding in report.findings)


def test_an_ordinary_adapter_passes_and_says_on_what_it_was_calibrated(subject_of, lora, peers):
    report = _run(subject_of(_adapter(lora)), peers)
    assert report.verdict is Verdict.PASS
    metrics = dict(report.metrics)
    assert metrics["cohort"] == "60 peers: lora for sd1, rank 4"
    assert metrics["detector"].startswith("spectral_outlier 1")
    assert "95 % interval" in metrics["false positives among the peers"]
    assert (report.coverage.examined, report.coverage.total) == (6, 6)


@pytest.mark.parametrize("strength", [8.0, 0.125])
def test_an_amplified_adapter_is_an_outlier_and_only_a_warning(subject_of, lora, peers, strength):
    report = _run(subject_of(_adapter(lora, strength)), peers)
    assert report.verdict is Verdict.WARN
    [finding] = report.findings
    assert finding.message.startswith("spectral outlier: ")
    assert "backdoor" not in f"{report}".lower()


def test_with_few_peers_only_the_furthest_of_all_is_flagged():
    group = _group(_random_rows(60, 3))
    far = standing_of(compare(group, (("f0", 9.0), ("f1", 9.0), ("f2", 0.0))))
    assert far.p_value == pytest.approx(1 / 61)
    assert far.is_far_by_distance
    assert far.false_flags == 1  # the furthest of the peers, too


def test_a_twin_of_a_peer_is_no_outlier(subject_of, lora, peers):
    subject = subject_of(_adapter(lora))
    row = tuple(float(as_text(value)) for _, value in _features(subject))
    group = PeerGroup(peers.label, peers.names, (*peers.rows, row))
    assert _run(subject, group).verdict is Verdict.PASS


def test_dead_modules_and_broken_ones_have_no_part_in_features():
    sound = ModuleSpectrum("a", torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    dead = ModuleSpectrum("b", torch.zeros(3, dtype=torch.float64))
    broken = ModuleSpectrum("c", torch.tensor([math.nan] * 3, dtype=torch.float64))
    none = ModuleSpectrum("d", None, reason="unknown")
    alone = features_of([sound, sound], ["k", "k"], [12, 12])
    assert features_of([sound, dead, sound, broken, none], ["k"] * 5, [12] * 5) == alone
    assert features_of([dead, broken, none], ["k"] * 3, [12] * 3) == ()


def test_features_of_a_known_spectrum():
    values = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    found = dict(features_of([ModuleSpectrum("a", values)], ["attn.q"], [56]))
    energy = values.square() / 14
    assert found == pytest.approx(
        {
            "attn.q: log10 largest value": math.log10(3),
            "attn.q: log10 norm": math.log10((14 / 56) ** 0.5),
            "attn.q: concentration": 0.5,
            "attn.q: energy entropy": float(-(energy * energy.log()).sum()),
            "attn.q: log10 kurtosis": math.log10(1.5),
        }
    )
    assert SPREAD not in found


def test_features_do_not_depend_on_units_they_should_not_depend_on():
    values = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    one = dict(features_of([ModuleSpectrum("a", values)], ["k"], [56]))
    other = dict(features_of([ModuleSpectrum("a", values * 1e-150)], ["k"], [56]))
    assert one["k: concentration"] == pytest.approx(other["k: concentration"])
    assert one["k: log10 largest value"] == pytest.approx(other["k: log10 largest value"] + 150)


def test_equal_columns_have_a_scale_and_what_differs_from_them_is_far():
    rows = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 4.0], [1.0, 5.0]], dtype=torch.float64)
    centre, scale = robust_scale(rows)
    assert centre.tolist() == [1.0, 3.0]
    assert scale[0] == pytest.approx(1e-4)
    mostly = torch.tensor([[1.0]] * 9 + [[2.0]], dtype=torch.float64)
    assert robust_scale(mostly)[1][0] == pytest.approx(0.1 * 1.2533)


def test_equal_columns_do_not_make_an_outlier_of_their_like():
    rows = [[1.0, *row] for row in _random_rows(60, 2)]
    same = standing_of(compare(_group(rows), (("f0", 1.0), ("f1", 0.0), ("f2", 0.0))))
    assert same.z[0] == 0
    assert not same.is_far_by_distance
    other = standing_of(compare(_group(rows), (("f0", 1.5), ("f1", 0.0), ("f2", 0.0))))
    assert abs(other.z[0]) > 1000
    assert other.p_value == pytest.approx(1 / 61)


def test_more_features_than_peers_is_no_obstacle():
    rows = _random_rows(55, 70)
    mine = tuple((f"f{place}", value) for place, value in enumerate(_random_rows(1, 70)[0]))
    assert 0 < standing_of(compare(_group(rows), mine)).p_value <= 1


def test_the_covariance_is_that_of_the_rows_when_there_are_many():
    rows = torch.randn(5000, 3, generator=SOURCE, dtype=torch.float64)
    rows[:, 1] += 2 * rows[:, 0]
    sample = rows.T @ rows / len(rows)
    assert float((shrunk_covariance(rows) - sample).abs().max()) < 0.02
    assert float(torch.linalg.eigvalsh(shrunk_covariance(rows[:2]))[0]) > 0
    zeroes = shrunk_covariance(torch.zeros(4, 2, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(zeroes)[0]) > 0


def test_a_direction_against_the_correlation_is_far_though_no_feature_is():
    first = torch.randn(200, generator=SOURCE, dtype=torch.float64)
    noise = torch.randn(200, generator=SOURCE, dtype=torch.float64) * 0.05
    group = _group(torch.stack([first, first + noise], 1).tolist())
    along = standing_of(compare(group, (("f0", 2.0), ("f1", 2.0))))
    against = standing_of(compare(group, (("f0", 1.5), ("f1", -1.5))))
    assert not along.is_far_by_distance
    assert against.is_far_by_distance
    assert against.far == 0


def test_false_positives_keep_to_the_level_that_is_promised():
    """Newcomers drawn like their peers, far from Gaussian: P(p <= 0.05) <= 0.05, here within 3 sigma."""
    everyone = torch.randn(40, 4, generator=SOURCE, dtype=torch.float64).exp()
    flagged = 0
    for place in range(len(everyone)):
        others = torch.cat([everyone[:place], everyone[place + 1 :]])
        mine = tuple((f"f{n}", float(value)) for n, value in enumerate(everyone[place]))
        flagged += standing_of(compare(_group(others.tolist()), mine)).p_value <= 0.05
    # Each is ranked among the same forty, so exactly the two furthest are flagged (but for rounding).
    assert flagged <= 3


def test_there_is_no_position_without_a_cohort():
    few, strangers = _group(_random_rows(49, 2)), _group(_random_rows(60, 2))
    assert place_among(few, (("f0", 1.0),)) is None
    assert place_among(strangers, (("other", 1.0),)) is None
    found = place_among(strangers, (("f0", 1.0),))
    assert found is not None
    assert found.peers == 60


def test_the_position_lists_what_is_furthest_first():
    group = _group(_random_rows(60, 3), ("a", "b", "c"))
    standing = standing_of(compare(group, (("a", 0.1), ("b", 50.0), ("c", -9.0))))
    position = position_of(group, standing)
    assert [feature.name for feature in position.features] == ["b", "c", "a"]
    assert (position.label, position.peers) == (group.label, 60)
    assert float(position.features[0].z) > 10
    assert position.features[0].value == "50"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=2, max_size=2),
        min_size=5,
        max_size=12,
    ),
    st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=2, max_size=2),
)
def test_any_rows_give_a_rank_and_never_raise(rows, mine):
    features = tuple((f"f{place}", value) for place, value in enumerate(mine))
    standing = standing_of(compare(_group(rows), features))
    assert 1 / (len(rows) + 1) <= standing.p_value <= 1
    assert 0 <= standing.false_flags <= standing.peers
    low, high = standing.false_rate
    assert 0 <= low <= high <= 1
