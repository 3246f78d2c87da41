"""Bundles."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.bundle import Bundle, ConsistencyLink, LoggedStatement, parse_bundle
from registry.formats.canonical import dump_canonical
from registry.formats.envelope import Envelope, EnvelopeSignature

ENVELOPE = Envelope("text/x", b"{}", (EnvelopeSignature("ab" * 32, b"sig"),))
LOGGED = LoggedStatement(ENVELOPE, bytes(32), "proof")
BUNDLE = Bundle(
    keyset=ENVELOPE,
    intake=LOGGED,
    verdicts=(LOGGED, LOGGED),
    release=LOGGED,
    delivery=LOGGED,
    status=ENVELOPE,
    sealed_part=b"age",
    consistency=(ConsistencyLink("old", (bytes(32),)),),
    sshsig="ssh",
    oms="{}",
)


@pytest.mark.parametrize("name", sorted(json.loads(BUNDLE.to_bytes())))
def test_each_part_must_stand_there(name: str) -> None:
    body = json.loads(BUNDLE.to_bytes())
    del body[name]
    with pytest.raises(FormatError):
        parse_bundle(dump_canonical(body))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "loraseal/bundle.v2"},
        {"verdicts": {}},
        {"verdicts": [{}] * 257},
        {"sealed_part": "AA"},
        {"sealed_part": None},
        {"sshsig": 5},
        {"consistency": [{"old_checkpoint": "x", "hashes": ["AA=="]}]},
        {"consistency": [{"old_checkpoint": "x", "hashes": [5]}]},
        {"intake": {"envelope": {}, "salt": "", "proof": ""}},
    ],
)
def test_malformed_part_is_refused(change: dict[str, object]) -> None:
    body = {**json.loads(BUNDLE.to_bytes()), **change}
    with pytest.raises(FormatError):
        parse_bundle(dump_canonical(body))


def test_short_salt_is_refused() -> None:
    short = replace(BUNDLE, release=replace(LOGGED, salt=bytes(31)))
    with pytest.raises(FormatError, match="release salt has 31 bytes"):
        parse_bundle(short.to_bytes())


def test_truncated_or_extended_bundle_is_refused() -> None:
    data = BUNDLE.to_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(FormatError):
            parse_bundle(data[:length])
    for more in (b"\n", b" ", b"{}", b"\0"):
        with pytest.raises(FormatError):
            parse_bundle(data + more)


def test_bundle_survives() -> None:
    assert parse_bundle(BUNDLE.to_bytes()) == BUNDLE
    bare = replace(BUNDLE, sshsig=None, oms=None, consistency=())
    assert parse_bundle(bare.to_bytes()) == bare
    assert hash(bare) == hash(replace(bare))


def test_unknown_field_is_ignored() -> None:
    body = {**json.loads(BUNDLE.to_bytes()), "later": 1}
    assert parse_bundle(dump_canonical(body)) == BUNDLE


@settings(max_examples=300)
@given(st.integers(0, 100_000), st.integers(0, 7))
def test_flipped_bits_raise_only_our_error(position: int, bit: int) -> None:
    data = bytearray(BUNDLE.to_bytes())
    data[position % len(data)] ^= 1 << bit
    try:
        assert parse_bundle(bytes(data)) != BUNDLE
    except FormatError:
        return
