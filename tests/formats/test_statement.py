"""in-toto statements."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.statement import STATEMENT_TYPE, Statement, Subject, parse_statement

SUBJECT = Subject("a file", (("sha256", "ab" * 32),))
STATEMENT = Statement("urn:example:v1", (SUBJECT,), {"n": 1, "s": "é", "l": [None, True]})
BODY = {
    "_type": STATEMENT_TYPE,
    "subject": [{"name": "a", "digest": {"sha256": "ab" * 32}}],
    "predicateType": "urn:example:v1",
    "predicate": {},
}


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"name": "a", "digest": {}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "AB"}}]},
        {"subject": [{"name": "a", "digest": {"sha256": 7}}]},
        {"subject": [{"name": "a", "digest": {"../": "ab"}}]},
        {"subject": [{"digest": {"sha256": "ab"}}]},
        {"predicateType": 5},
        {"predicate": []},
    ],
)
def test_malformed_statement_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        parse_statement(dump_canonical({**BODY, **change}))  # type: ignore[dict-item]


@pytest.mark.parametrize("name", sorted(BODY))
def test_missing_member_is_refused(name: str) -> None:
    body = {key: value for key, value in BODY.items() if key != name}
    with pytest.raises(FormatError):
        parse_statement(dump_canonical(body))  # type: ignore[arg-type]


def test_spaces_and_truncation_are_refused() -> None:
    data = STATEMENT.to_bytes()
    with pytest.raises(FormatError):
        parse_statement(json.dumps(json.loads(data)).encode())
    for length in range(len(data)):
        with pytest.raises(FormatError):
            parse_statement(data[:length])


def test_unknown_fields_are_ignored() -> None:
    parsed = parse_statement(dump_canonical({**BODY, "later": {"x": 1}}))  # type: ignore[dict-item]
    assert parsed.predicate_type == "urn:example:v1"


def test_statement_survives_and_can_be_hashed() -> None:
    assert parse_statement(STATEMENT.to_bytes()) == STATEMENT
    assert hash(parse_statement(STATEMENT.to_bytes())) == hash(STATEMENT)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_mutated_bytes_raise_only_our_error(position: int, value: int) -> None:
    data = bytearray(STATEMENT.to_bytes())
    data[position % len(data)] = value
    try:
        parse_statement(bytes(data))
    except FormatError:
        return


def test_the_reference_library_reads_it() -> None:
    reference = pytest.importorskip(
        "in_toto_attestation.v1.statement", reason="oracle missing: in-toto-attestation"
    )
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1 import statement_pb2

    parsed = ParseDict(json.loads(STATEMENT.to_bytes()), statement_pb2.Statement())
    reference.Statement.copy_from_pb(parsed).validate()
