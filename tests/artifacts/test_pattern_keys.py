from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.classifying.pattern_keys import PatternKeys, UnevaluatedPatternError


def matches(key: str, name: str) -> bool:
    return PatternKeys((key,)).first_match([name]) == (0,)


@pytest.mark.parametrize(
    "key",
    [
        "(?=a)",
        "(?i)a",
        "(?P<x>a)",
        r"(a)\1",
        r"\ba",
        "a**",
        "a++",
        "*a",
        "(a",
        "a)",
        "[a",
        "[]a]",
        "[z-a]",
        "[a&&b]",
        "{2}",
        "a{2,1}",
        "a{99999}",
        "a\\",
        "(" * 40 + "a" + ")" * 40,
        "(a{1000}){1000}",
    ],
)
def test_what_is_no_plain_expression_is_not_evaluated(key: str) -> None:
    with pytest.raises(UnevaluatedPatternError):
        PatternKeys((key,)).first_match(["a"])


@pytest.mark.parametrize("key", ["(a+)+b", "(a|a)*b", "(a|aa)+$b", "(.*)*x", "(a*)*(a*)*b"])
def test_expressions_that_never_end_elsewhere_end(key: str) -> None:
    assert not matches(key, "a" * 400)


def test_too_much_work_is_not_done() -> None:
    with pytest.raises(UnevaluatedPatternError, match="too long"):
        PatternKeys(("(.*a){20}x",)).first_match(["a" * 500] * 2000)
    with pytest.raises(UnevaluatedPatternError, match="too many"):
        PatternKeys(tuple(f"k{number}" for number in range(2000))).first_match(["a"] * 2000)


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("q_proj", "model.layers.0.self_attn.q_proj", True),
        ("q_proj", "q_proj", True),
        ("proj", "model.q_proj", False),
        ("self.attn.q_proj", "model.self_attn.q_proj", True),
        ("^model.q", "model.q", True),
        ("^q", "model.q", False),
        (r"layers\.[0-4]\..*", "model.layers.3.mlp.up", True),
        (r"layers\.[0-4]\..*", "model.layers.5.mlp.up", False),
        (r"(q|v)_proj", "a.v_proj", True),
        (r"layers\.\d{2}\.x", "layers.12.x", True),
        (r"layers\.\d{2}\.x", "layers.1.x", False),
        (r"[^q]_proj", "a.k_proj", True),
        (r"[^q]_proj", "a.q_proj", False),
        (r"a{0}b", "b", True),
    ],
)
def test_keys_match_as_peft_matches_them(key: str, name: str, expected: bool) -> None:
    assert matches(key, name) == expected
    assert (re.match(rf"(.*\.)?({key})$", name) is not None) == expected


def test_the_first_key_that_matches_counts() -> None:
    keys = PatternKeys(("v", r"\d\.v", "q"))
    assert keys.first_match(["1.v", "0.q", "k"]) == (0, 2, None)


ATOMS = st.sampled_from(
    [
        r"a",
        r"b",
        r".",
        r"\.",
        r"\d",
        r"\w",
        r"[ab]",
        r"[^a]",
        r"[0-9_]",
        r"(a|b)",
        r"(?:ab)",
        r"(a*)",
        r"(a|)",
        r"^",
        r"$",
        r"x_y",
        r"(a.b|b)",
        r"[\d.]",
        r"\D",
    ]
)
COUNTS = st.sampled_from(
    ["", "", "", "*", "+", "?", "*?", "+?", "{2}", "{0}", "{1,3}", "{0,2}", "{2,}"]
)
KEYS = st.lists(st.tuples(ATOMS, COUNTS), min_size=1, max_size=5).map(
    lambda parts: "".join(atom + count for atom, count in parts)
)
NAMES = st.text("ab.1_xyq", max_size=10)


@given(KEYS, st.lists(NAMES, min_size=1, max_size=8))
def test_they_agree_with_re_on_every_plain_expression(key: str, names: list[str]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [re.match(rf"(.*\.)?({key})$", name) is not None for name in names]
        found = PatternKeys((key,)).first_match(names)
    except (re.error, UnevaluatedPatternError):
        return
    assert [place is not None for place in found] == expected


@given(st.text(max_size=30), NAMES)
def test_any_text_is_a_key_or_is_not_evaluated(key: str, name: str) -> None:
    try:
        PatternKeys((key,)).first_match([name])
    except UnevaluatedPatternError:
        return
