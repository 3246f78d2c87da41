"""Numbers from the child are outside input: strict, bounded, in one spelling."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audits.detailing import decimal_text
from registry.audits.details import AuditDetails, CohortPosition, FeaturePosition, ModuleDetail
from registry.audits.details_wire import (
    details_from_json,
    details_to_json,
    module_from_json,
    module_to_json,
    rest_from_json,
    rest_to_json,
)
from registry.errors import FormatError
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.limits import (
    AUDIT_CODE_BYTES,
    AUDIT_DETAIL_FEATURES,
    AUDIT_DETAIL_MODULES,
    AUDIT_DETAIL_NAME_CHARS,
    AUDIT_DETAIL_VALUES,
    AUDIT_SKETCH_BYTES,
)
from tests.mutants import mutants

MODULE = ModuleDetail("layers.0.q_proj", "attn.q", ("3.5", "0.25", "1e-07"), "3.5089", "a caveat")
UNMEASURED = ModuleDetail("layers.1.q_proj", "attn.q", reason="method ia3 has no low-rank form")
POSITION = CohortPosition(
    "sdxl, kohya, rank 32", 61, "4.2", (FeaturePosition("attn.q.sigma1", "1.5", "1.1", "-2.3"),)
)
CODE = bytes(range(256))
DETAILS = AuditDetails(
    (MODULE, UNMEASURED), (("attn.q.sigma1", "1.5"),), POSITION, b"\x00\x01", CODE
)


def _module(**changes):
    return {**module_to_json(MODULE), **changes}


def _rest(**changes):
    return {**rest_to_json(DETAILS), **changes}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        _module(extra=1),
        _module(place=1),
        _module(place="x" * (AUDIT_DETAIL_NAME_CHARS + 1)),
        _module(place="a\u202eb"),
        _module(kind="\x1b[2J"),
        _module(values=["1"] * (AUDIT_DETAIL_VALUES + 1)),
        _module(values=[3.5]),
        _module(values=["1", "2"]),
        _module(values=["-1"]),
        _module(values=["nan"]),
        _module(values=["inf"]),
        _module(values=["1e999"]),
        _module(values=["3.50"]),
        _module(values=["3.123456"]),
        _module(values=[" 3.5"]),
        _module(values=["\u0663"]),
        _module(values=["1_0"]),
        _module(values=[]),
        _module(frobenius=""),
        _module(frobenius="-1"),
        _module(reason="why"),
        {**module_to_json(UNMEASURED), "reason": ""},
    ],
)
def test_modules_that_are_not_exactly_modules_are_refused(value):
    with pytest.raises(FormatError):
        module_from_json(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        _rest(more=1),
        _rest(features=[["a", "1"]] * (AUDIT_DETAIL_FEATURES + 1)),
        _rest(features=[["a"]]),
        _rest(features=[["", "1"]]),
        _rest(features=[["a", 1]]),
        _rest(features=[["a", "nan"]]),
        _rest(features=[["a\u202e", "1"]]),
        _rest(position={}),
        _rest(position={**rest_to_json(DETAILS)["position"], "peers": -1}),
        _rest(position={**rest_to_json(DETAILS)["position"], "distance": "far"}),
        _rest(position={**rest_to_json(DETAILS)["position"], "features": [["a"]]}),
        _rest(sketch="***"),
        _rest(sketch=""),
        _rest(code=""),
        _rest(code="AAEC"),
        _rest(sketch="AA"),
        _rest(sketch="A" * (4 * (AUDIT_SKETCH_BYTES // 3 + 2))),
    ],
)
def test_a_rest_that_is_not_exactly_that_is_refused(value):
    with pytest.raises(FormatError):
        rest_from_json(value, ())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"module": module_to_json(MODULE)}],
        [{"details": _rest()}, {"details": _rest()}],
        [{"details": _rest()}, {"module": module_to_json(MODULE)}],
        [{"module": module_to_json(MODULE), "more": 1}, {"details": _rest()}],
        [{"note": 1}, {"details": _rest()}],
        [{"module": module_to_json(MODULE)}] * (AUDIT_DETAIL_MODULES + 1) + [{"details": _rest()}],
    ],
    ids=["none", "no end", "two ends", "after the end", "more", "other kind", "too many"],
)
def test_lines_out_of_order_are_refused(lines):
    with pytest.raises(FormatError):
        details_from_json(lines)


def test_details_survive_the_wire():
    lines = [json.loads(dump_canonical(line)) for line in details_to_json(DETAILS)]
    assert details_from_json(lines) == DETAILS
    assert details_from_json([{"details": _rest(position=None)}]).position is None


_NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    _NAMES,
    st.lists(st.floats(0, 1e300), min_size=1, max_size=8),
    st.lists(st.tuples(_NAMES.filter(bool), st.floats(-1e9, 1e9)), max_size=4),
    st.binary(max_size=16),
)
def test_any_numbers_survive_the_wire(name, values, features, sketch):
    numbers = tuple(map(decimal_text, sorted(values, reverse=True)))
    details = AuditDetails(
        (ModuleDetail(name, name, numbers, decimal_text(max(values))),),
        tuple((key, decimal_text(value)) for key, value in features),
        None,
        sketch,
        bytes(AUDIT_CODE_BYTES) if sketch else b"",
    )
    lines = [
        parse_canonical(dump_canonical(line), what="line") for line in details_to_json(details)
    ]
    assert details_from_json(lines) == details


@settings(max_examples=200, deadline=None)
@given(mutants(*(dump_canonical(line) for line in details_to_json(DETAILS))))
def test_mutated_lines_raise_only_our_error(line):
    try:
        details_from_json([parse_canonical(line, what="line")])
    except FormatError:
        return
    assert line.startswith(b'{"details"')
