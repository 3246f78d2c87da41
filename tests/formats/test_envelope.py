from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.canonical import Json
from registry.formats.envelope import Envelope, EnvelopeSignature, pae, parse_envelope
from registry.limits import ENVELOPE_BYTES, ENVELOPE_SIGNATURES, SIGNATURE_BYTES
from tests.mutants import mutants

SIGNATURE = EnvelopeSignature("ab" * 32, bytes(range(64)))
ENVELOPE = Envelope("application/vnd.in-toto+json", b'{"a":1}', (SIGNATURE,))


def _json(**changes: Json) -> dict[str, Json]:
    value = json.loads(ENVELOPE.to_bytes())
    assert isinstance(value, dict)
    return {**value, **changes}


@pytest.mark.parametrize("size", range(len(ENVELOPE.to_bytes())))
def test_truncated_envelope_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        parse_envelope(ENVELOPE.to_bytes()[:size])


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {},
        _json(extra="x"),
        {name: part for name, part in _json().items() if name != "payload"},
        _json(payload=1),
        _json(payload="e30"),
        _json(payload="e30=\n"),
        _json(payloadType=None),
        _json(payloadType=""),
        _json(payloadType="a b"),
        _json(payloadType="ä"),
        _json(payloadType="x" * 129),
        _json(signatures={}),
        _json(signatures=[]),
        _json(signatures=[1]),
        _json(signatures=[{"sig": "AA=="}]),
        _json(signatures=[{"keyid": "ab" * 32, "sig": "AA==", "cert": "x"}]),
        _json(signatures=[{"keyid": "AB" * 32, "sig": "AA=="}]),
        _json(signatures=[{"keyid": "ab" * 31, "sig": "AA=="}]),
        _json(signatures=[{"keyid": 5, "sig": "AA=="}]),
        _json(signatures=[{"keyid": "ab" * 32, "sig": ""}]),
        _json(signatures=[{"keyid": "ab" * 32, "sig": "AA=="}] * (ENVELOPE_SIGNATURES + 1)),
    ],
)
def test_json_that_is_not_exactly_an_envelope_is_refused(value: Json) -> None:
    with pytest.raises(FormatError):
        Envelope.from_json(value)


def test_messages_name_the_envelope_that_is_wrong() -> None:
    with pytest.raises(FormatError, match="release envelope"):
        Envelope.from_json({}, what="release envelope")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" " + ENVELOPE.to_bytes(),
        ENVELOPE.to_bytes() + b"\n",
        json.dumps(_json(), indent=1).encode(),
        b'{"payload":"e30=",' + ENVELOPE.to_bytes()[1:],
    ],
)
def test_another_spelling_of_the_same_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_envelope(data)


def test_oversized_payload_and_signature_are_refused() -> None:
    with pytest.raises(FormatError, match="payload has"):
        Envelope("t", bytes(ENVELOPE_BYTES + 1), (SIGNATURE,))
    with pytest.raises(FormatError, match="signature has"):
        EnvelopeSignature("ab" * 32, bytes(SIGNATURE_BYTES + 1))


@settings(max_examples=150)
@given(mutants(ENVELOPE.to_bytes()))
def test_mutated_bytes_raise_only_format_error_or_mean_something_else(data: bytes) -> None:
    try:
        envelope = parse_envelope(data)
    except FormatError:
        return
    assert envelope != ENVELOPE
    assert envelope.to_bytes() == data


@settings(max_examples=50)
@given(
    payload=st.binary(max_size=200),
    payload_type=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    signatures=st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4),
)
@example(payload=b"", payload_type='"\\', signatures=[b"\x00"])
def test_what_was_written_is_read_back(
    payload: bytes, payload_type: str, signatures: list[bytes]
) -> None:
    rows = tuple(EnvelopeSignature("0f" * 32, signature) for signature in signatures)
    envelope = Envelope(payload_type[:128], payload, rows)
    assert parse_envelope(envelope.to_bytes()) == envelope
    assert Envelope.from_json(envelope.to_json()) == envelope


def test_an_envelope_is_hashable_and_named_by_its_payload_alone() -> None:
    again = Envelope(ENVELOPE.payload_type, ENVELOPE.payload, (SIGNATURE, SIGNATURE))
    assert len({ENVELOPE, again}) == 2
    assert again.statement_digest == ENVELOPE.statement_digest
    assert ENVELOPE.statement_digest.value.startswith("015abd7f")


def test_pae_is_that_of_the_specification() -> None:
    # dsse v1.0.0, protocol.md, "Test vectors"
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_and_not_characters() -> None:
    assert pae("\u00e9", b"\xff\x00") == b"DSSEv1 2 \xc3\xa9 2 \xff\x00"
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_pae_and_encoding_agree_with_securesystemslib() -> None:
    dsse = pytest.importorskip("securesystemslib.dsse", reason="oracle missing: securesystemslib")
    theirs = dsse.Envelope.from_dict(_json())
    assert theirs.pae() == ENVELOPE.pae()
    assert theirs.to_dict() == ENVELOPE.to_json()
