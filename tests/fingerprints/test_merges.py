"""Merges taken apart: what is in them with which weight, and nothing else."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from registry.fingerprints.index import code_of, search  # noqa: E402
from registry.fingerprints.merges import decompose, decompose_among  # noqa: E402
from tests.fingerprints.sketches import random_sketch, random_values, sketch_of  # noqa: E402

COUNT = 27
VALUES = {f"a{number:02}": random_values(number) for number in range(COUNT)}
CANDIDATES = [(name, sketch_of(values)) for name, values in VALUES.items()]


def _merge(weights, layers=40):
    return sketch_of(sum(weight * VALUES[name] for name, weight in weights.items())[:layers])


def _weights(found):
    return {part.artifact_id: part.weight for part in found.components}


def test_candidates_of_another_key_are_refused() -> None:
    other = sketch_of(VALUES["a01"], key_id=b"another!")
    with pytest.raises(ValueError, match="different keys"):
        decompose_among(_merge({"a01": 1}), [("x", other)])
    with pytest.raises(ValueError, match="at least"):
        decompose(_merge({"a01": 1}), lambda _rest: [], compared=0)


def test_an_unknown_adapter_has_no_known_part() -> None:
    for seed in range(100, 130):
        found = decompose_among(random_sketch(seed), CANDIDATES)
        assert found.components == ()
        assert (found.residual, found.compared) == (1.0, COUNT)


@pytest.mark.parametrize("layers", [0, 40])
def test_nothing_is_made_of_nothing(layers) -> None:
    empty = random_sketch(1, 0)
    assert decompose_among(empty, CANDIDATES).components == ()
    assert decompose_among(random_sketch(500, layers), []).components == ()
    assert decompose_among(random_sketch(500, layers), [("x", empty)]).components == ()


@pytest.mark.parametrize(
    "weights",
    [
        {"a03": 1.0},
        {"a03": 0.5, "a11": 0.5},
        {"a03": 0.3, "a11": 0.7},
        {"a00": 0.25, "a05": 0.25, "a13": 0.25, "a26": 0.25},
        {"a03": 1.0, "a11": -0.6},
        {"a03": -1.0},
        {"a03": 2.0, "a11": 0.1},
    ],
)
def test_weights_come_back_and_all_others_are_out(weights) -> None:
    found = decompose_among(_merge(weights), CANDIDATES)
    assert _weights(found) == pytest.approx(weights, abs=1e-3)
    assert found.residual < 2e-3  # rounding to 12 bits
    assert all(part.error < 1e-3 for part in found.components)
    assert all(part.share == pytest.approx(1) for part in found.components)


def test_what_is_unknown_stays_in_the_rest() -> None:
    mixed = sketch_of(0.6 * VALUES["a03"] + 0.8 * random_values(900))
    found = decompose_among(mixed, CANDIDATES)
    [part] = found.components
    assert part.artifact_id == "a03"
    assert abs(part.weight - 0.6) < 4 * part.error < 0.4
    assert 0.6 < found.residual < 0.95


def test_what_adapters_of_one_base_share_is_no_component() -> None:
    akin = sketch_of(random_values(902, 400) + 0.15 * random_values(903, 400))
    known = [("akin", random_sketch(903, 400))]
    assert decompose_among(akin, known).components == ()
    found = decompose(akin, lambda _rest: known, compared=1, background=0)
    assert _weights(found) == pytest.approx({"akin": 0.15}, abs=0.03)


def test_an_older_merge_is_dropped_for_its_parts() -> None:
    older = 0.6 * VALUES["a03"] + 0.6 * VALUES["a11"] + 0.15 * random_values(901)
    found = decompose_among(
        _merge({"a03": 0.5, "a11": 0.5}), [("older", sketch_of(older)), *CANDIDATES]
    )
    assert _weights(found) == pytest.approx({"a03": 0.5, "a11": 0.5}, abs=2e-3)


def test_layers_that_the_merge_left_out_are_told() -> None:
    found = decompose_among(_merge({"a03": 0.5, "a11": 0.5}, layers=20), CANDIDATES)
    assert _weights(found) == pytest.approx({"a03": 0.5, "a11": 0.5}, abs=1e-3)
    assert all(0.2 < part.share < 0.8 for part in found.components)


def test_a_component_of_some_layers_is_found() -> None:
    """A text encoder's part in a merge with a whole adapter: six layers of forty."""
    values = VALUES["a03"].copy()
    values[:6] += 0.8 * random_values(77, 6)
    found = decompose_among(sketch_of(values), [("te", random_sketch(77, 6)), *CANDIDATES])
    assert _weights(found) == pytest.approx({"a03": 1.0, "te": 0.8}, abs=2e-3)


def test_no_more_components_than_asked_for() -> None:
    target = _merge({"a00": 0.5, "a05": 0.4, "a13": 0.3})
    found = decompose(target, lambda _rest: CANDIDATES, compared=COUNT, most=2)
    assert sorted(_weights(found)) == ["a00", "a05"]
    assert found.residual > 0.1


def test_the_index_is_asked_again_with_the_rest() -> None:
    codes = b"".join(code_of(sketch) for _, sketch in CANDIDATES)
    asked = []

    def nearest(rest):
        hits = search([codes], code_of(rest), 1)
        asked.append(CANDIDATES[hits[0].slot][0])
        return [CANDIDATES[hit.slot] for hit in hits]

    weights = {"a00": 0.25, "a05": 0.5, "a13": 0.35}
    found = decompose(_merge(weights), nearest, compared=COUNT)
    assert _weights(found) == pytest.approx(weights, abs=1e-3)
    assert asked == ["a05", "a13", "a00"]
