"""What may be said of a z: a threshold that counts everyone, and words that claim no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.fingerprints.marks.accuse import COPY, SILENCE, SYMMETRY, accuse, threshold


@pytest.mark.parametrize("alpha", [0.0, -1e-6, 0.5, 1.0, math.nan])
def test_chance_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        threshold(alpha, 10)


@pytest.mark.parametrize(("recipients", "tests"), [(0, 1), (1, 0)])
def test_nobody_to_accuse_is_refused(recipients, tests):
    with pytest.raises(ValueError, match="at least 1"):
        threshold(1e-6, recipients, tests)


def test_fewer_recipients_than_were_tested_is_refused():
    with pytest.raises(ValueError, match="2 recipients were tested of 1"):
        accuse({"a": 1.0, "b": 2.0}, recipients=1)


def test_z_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="no number"):
        accuse({"a": math.nan})


def test_nobody_is_named_below_the_threshold():
    verdict = accuse({"a": 5.0, "b": -300.0}, recipients=100)
    assert verdict.named == ()
    assert verdict.words() == (SILENCE,)


@pytest.mark.parametrize(("recipients", "z"), [(100, 5.61), (1000, 6.00), (10_000, 6.36)])
def test_thresholds_of_the_facts(recipients, z):
    assert threshold(1e-6, recipients) == pytest.approx(z, abs=0.005)


def test_strongest_is_named_first_and_the_words_say_no_more_than_is_known():
    verdict = accuse({"a": 7.0, "b": 40.04, "c": 0.3}, recipients=1000)
    assert [one.recipient for one in verdict.named] == ["b", "a"]
    first, _, *limits = verdict.words()
    assert first == (
        "z = 40.0 for recipient b; the chance that an innocent one of 1000 recipients reaches this "
        "is at most 1e-06"
    )
    assert limits == [COPY, SYMMETRY]
    said = " ".join(verdict.words())
    assert not any(word in said for word in ("guilt", "leaked", "proof", "proves", "certain"))


@given(st.floats(1e-12, 0.4), st.integers(1, 10**6), st.integers(1, 9))
def test_threshold_spends_the_chance_on_all_recipients(alpha, recipients, tests):
    z = threshold(alpha, recipients, tests)
    assert math.erfc(z / math.sqrt(2)) / 2 * recipients * tests == pytest.approx(alpha, rel=1e-6)
    assert threshold(alpha, recipients + 1, tests) > z
