"""The three classes of an answer are never mixed."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy")

from registry.digest import sha256_of
from registry.fingerprints.answers import (
    SameBytes,
    SameTensors,
    Similar,
    make_answer,
)
from registry.fingerprints.match import compare
from tests.fingerprints.sketches import random_values, sketch_of

DIGEST = sha256_of(b"x")


def _similar(artifact_id: str, noise: float) -> Similar:
    values = random_values(1)
    other = sketch_of(values + noise * random_values(2))
    return Similar(artifact_id, compare(sketch_of(values), other, comparisons=3))


def test_an_artifact_stands_in_its_strongest_class_only() -> None:
    answer = make_answer(
        [SameBytes("a", DIGEST), SameBytes("a", DIGEST)],
        [SameTensors("a", DIGEST), SameTensors("b", DIGEST)],
        [_similar("a", 0), _similar("b", 0), _similar("c", 0.5), _similar("d", 0.1)],
        searched=4,
    )
    assert [row.artifact_id for row in answer.same_bytes] == ["a"]
    assert [row.artifact_id for row in answer.same_tensors] == ["b"]
    assert [row.artifact_id for row in answer.similar] == ["d", "c"]


def test_not_searched_is_not_nothing_found() -> None:
    assert make_answer([], [], []).searched == 0
