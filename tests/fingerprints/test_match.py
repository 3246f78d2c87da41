"""Classes of likeness, and the null behind them."""

from __future__ import annotations

import dataclasses
import math

import pytest

np = pytest.importorskip("numpy")

from registry.fingerprints.match import (  # noqa: E402
    Kinship,
    Similarity,
    compare,
    kinship_of,
    shared_similarity,
    similarity,
)
from registry.fingerprints.null import chance_bound, deviation  # noqa: E402
from registry.fingerprints.sketch import Omissions  # noqa: E402
from tests.fingerprints.sketches import random_sketch, random_values, sketch_of  # noqa: E402


def test_sketches_of_different_keys_are_refused() -> None:
    values = random_values(1)
    other = sketch_of(values, key_id=b"another!")
    for question in (compare, similarity, shared_similarity):
        with pytest.raises(ValueError, match="different keys"):
            question(sketch_of(values), other)


def test_no_comparison_is_no_number_of_comparisons() -> None:
    with pytest.raises(ValueError, match="at least"):
        compare(random_sketch(1), random_sketch(1), comparisons=0)


@pytest.mark.parametrize(
    ("cosine", "null", "kinship"),
    [
        (1.0, 0.01, Kinship.SAME_FUNCTION),
        (-0.9999, 0.01, Kinship.SAME_FUNCTION),
        (0.9998, 0.01, Kinship.RE_ENCODED),
        (0.95, 0.01, Kinship.RE_ENCODED),
        (0.949, 0.01, Kinship.DERIVED),
        (-0.3, 0.01, Kinship.DERIVED),
        (0.299, 0.01, Kinship.WEAK),
        (0.04, 0.01, Kinship.WEAK),
        (0.039, 0.01, Kinship.UNRELATED),
        (0.45, 0.125, Kinship.UNRELATED),  # one layer: 0.45 is chance
        (0.0, 0.0, Kinship.UNRELATED),
    ],
)
def test_classes_by_cosine_and_null(cosine: float, null: float, kinship: Kinship) -> None:
    assert kinship_of(Similarity(cosine, 1, 1, 1, null, 1.0)) is kinship


def test_what_chance_brings_among_so_many_is_unrelated_but_for_copies() -> None:
    def kinship(cosine: float, rate: float) -> Kinship:
        return kinship_of(Similarity(cosine, 1, 1, 1, 0.01, 1.0), rate)

    assert [kinship(cosine, 0.02) for cosine in (0.2, 0.5)] == [Kinship.UNRELATED] * 2
    assert [kinship(cosine, 0.005) for cosine in (0.2, 0.5)] == [Kinship.WEAK, Kinship.DERIVED]
    assert kinship(0.96, 1.0) is Kinship.RE_ENCODED
    assert kinship(1.0, 1.0) is Kinship.SAME_FUNCTION


def test_an_empty_sketch_is_like_nothing() -> None:
    empty = random_sketch(1, 0)
    for other in (empty, random_sketch(2)):
        found = compare(empty, other, comparisons=10)
        assert found.kinship is Kinship.UNRELATED
        assert (found.overall.cosine, found.false_match_rate) == (0.0, 1.0)


def test_unrelated_sketches_are_unrelated() -> None:
    first = random_sketch(0)
    found = [compare(first, random_sketch(seed), comparisons=100) for seed in range(1, 60)]
    assert {match.kinship for match in found} == {Kinship.UNRELATED}
    assert min(match.false_match_rate for match in found) > 0.01


def test_one_function_at_another_strength() -> None:
    values = random_values(1)
    found = compare(sketch_of(values), sketch_of(values * -3), comparisons=10**6)
    assert found.kinship is Kinship.SAME_FUNCTION
    assert found.is_negated
    assert found.overall.cosine == pytest.approx(-1)
    assert found.false_match_rate < 1e-9


def test_layers_of_one_only_count_as_different() -> None:
    values = random_values(1)
    half = compare(sketch_of(values), sketch_of(values[20:], first=21))
    expected = np.linalg.norm(values[20:]) / np.linalg.norm(values)
    assert half.overall.cosine == pytest.approx(expected, abs=1e-4)
    assert half.shared.cosine == pytest.approx(1)
    assert (half.overall.layers, half.overall.layers_first, half.overall.layers_second) == (
        20,
        40,
        20,
    )
    assert half.kinship is Kinship.DERIVED
    # That the layers in common agree is as sure however many others there are.
    assert half.false_match_rate < 1e-9
    assert similarity(sketch_of(values[:20]), sketch_of(values[20:], first=21)).cosine == 0


def test_effective_layers_of_equal_energies_are_the_layers() -> None:
    values = np.ones((25, 8, 8))
    found = similarity(sketch_of(values), sketch_of(values))
    assert found.effective_layers == pytest.approx(25)
    assert found.null_deviation == pytest.approx(1 / 8 / 5)
    assert found.error == 0


def test_one_strong_layer_is_one_effective_layer() -> None:
    values = random_values(1)
    values[3] *= 1e4
    assert similarity(sketch_of(values), sketch_of(values)).effective_layers < 1.01


def _equal(layers: int):
    return np.full(layers, 1 / layers)


def test_the_bound_is_never_below_the_gaussian_tail() -> None:
    for layers in (1, 4, 40, 700):
        weights = _equal(layers)
        for deviations in (0.5, 2, 4, 8):
            cosine = min(1.0, deviations * deviation(weights))
            tail = math.erfc(cosine / deviation(weights) / math.sqrt(2))
            assert chance_bound(cosine, weights) >= tail


def test_the_bound_holds_for_one_entry_in_few_layers() -> None:
    """The worst case in full: every layer a product of two sums of eight signs, all of them counted."""
    sums = np.array([sum(1 if bits >> n & 1 else -1 for n in range(8)) for bits in range(256)]) / 8
    sizes, counts = np.unique(np.outer(sums, sums), return_counts=True)
    chances = counts / 65536
    assert (chances * sizes**2).sum() == pytest.approx(1 / 64)
    pairs = (sizes[:, None] + sizes[None, :]) / 2
    for cosine in (0.1, 0.3, 0.5, 0.75, 0.95, 1.0):
        one = chances[np.abs(sizes) >= cosine].sum()
        two = np.outer(chances, chances)[np.abs(pairs) >= cosine].sum()
        assert 0.999 * one <= chance_bound(cosine, _equal(1)) <= max(1e-3, 100 * one)
        assert 0.999 * two <= chance_bound(cosine, _equal(2)) <= max(1e-3, 100 * two)


def test_the_bound_holds_where_there_is_nothing() -> None:
    assert chance_bound(0.0, _equal(3)) == 1
    assert chance_bound(0.5, np.zeros(0)) == 1
    assert chance_bound(0.9, _equal(8192)) < 1e-100


@pytest.mark.parametrize("field", ["no_factors", "not_finite", "faulty", "direction_only"])
def test_what_was_not_compared_is_never_the_same_function(field: str) -> None:
    one = random_sketch(1)
    omissions = dataclasses.replace(one.omissions, **{field: 3})
    other = dataclasses.replace(one, omissions=omissions)
    assert compare(one, one).kinship is Kinship.SAME_FUNCTION
    for first, second in ((one, other), (other, one)):
        found = compare(first, second)
        assert found.kinship is Kinship.RE_ENCODED
        assert found.not_compared[0].startswith("3 ")
    assert compare(one, dataclasses.replace(one, omissions=Omissions(zero=2))).not_compared == ()
