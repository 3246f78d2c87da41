from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings

from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from registry.formats.keyset import (
    KeyAlgorithm,
    KeyEntry,
    KeyRole,
    Keyset,
    algorithm_for,
    key_id_of,
    parse_keyset,
)
from registry.limits import KEYSET_KEYS
from tests.mutants import mutants

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ROOT = KeyEntry.of(KeyRole.ROOT, bytes(range(32)), valid_from=START)
OMS = KeyEntry.of(KeyRole.OMS, b"\x04" + bytes(64), valid_from=START)
HOST = KeyEntry.of(
    KeyRole.HOST, b"\x07" * 32, valid_from=START, valid_until=START + timedelta(days=1)
)
RECEIPT = KeyEntry.of(KeyRole.RECEIPT, b"\x08" * 32, valid_from=START)
KEYSET = Keyset(
    "adapters of example.org",
    3,
    "2026-11-21T12:00:00Z",
    "example.org/log",
    (ROOT, OMS, HOST, RECEIPT),
)


def _json(**changes: Json) -> bytes:
    value = KEYSET.to_json()
    assert isinstance(value, dict)
    return dump_canonical({**value, **changes})


def _with_key(**changes: Json) -> bytes:
    row = HOST.to_json()
    assert isinstance(row, dict)
    return _json(keys=[{**row, **changes}])


@pytest.mark.parametrize("size", range(0, len(KEYSET.to_bytes()), 7))
def test_truncated_keyset_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        parse_keyset(KEYSET.to_bytes()[:size])


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        KEYSET.to_bytes() + b"\n",
        _json(schema="loraseal/keyset.v2"),
        _json(version=0),
        _json(version=True),
        _json(version="1"),
        _json(version=-1),
        _json(registry=""),
        _json(registry="a\nb"),
        _json(registry="x" * 129),
        _json(registry=None),
        _json(issued="2026-11-21"),
        _json(log_origin="Example.org"),
        _json(keys=[]),
        _json(keys={}),
        _json(keys=[1]),
        _json(keys=[HOST.to_json()] * 2),
        _json(keys=[HOST.to_json()] * (KEYSET_KEYS + 1)),
        _with_key(algorithm="x25519"),
        _with_key(algorithm="rsa"),
        _with_key(role="oms"),
        _with_key(role=None),
        _with_key(key_id="00" * 32),
        _with_key(public="AAAA"),
        _with_key(public="!"),
        _with_key(valid_from="yesterday"),
        _with_key(valid_until=5),
        _with_key(valid_until="2026-11-21T12:00:00Z"),
        _with_key(valid_until="2025-11-21T12:00:00Z"),
    ],
)
def test_malformed_keyset_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_keyset(data)


def test_one_key_in_two_roles_is_refused() -> None:
    twice = KeyEntry.of(KeyRole.AUDITOR, HOST.public, valid_from=START)
    with pytest.raises(FormatError, match="one key twice"):
        Keyset("r", 1, "2026-11-21T12:00:00Z", "a", (HOST, twice))


@pytest.mark.parametrize("role", list(KeyRole))
def test_a_role_takes_keys_of_its_own_algorithm_only(role: KeyRole) -> None:
    right = algorithm_for(role)
    size = 65 if right is KeyAlgorithm.ECDSA_P256 else 32
    public = bytes(size)
    wrong = next(item for item in KeyAlgorithm if item is not right)
    with pytest.raises(FormatError, match="algorithm"):
        KeyEntry(key_id_of(public), role, wrong, public, "2026-11-21T12:00:00Z")
    with pytest.raises(FormatError, match="bytes"):
        KeyEntry.of(role, bytes(size + 1), valid_from=START)
    assert KeyEntry.of(role, public, valid_from=START).algorithm is right


@settings(max_examples=150)
@given(mutants(KEYSET.to_bytes()))
def test_mutated_keyset_raises_only_format_error_or_means_something_else(data: bytes) -> None:
    try:
        keyset = parse_keyset(data)
    except FormatError:
        return
    assert parse_keyset(keyset.to_bytes()) == keyset


def test_keyset_that_was_written_is_read_back() -> None:
    assert parse_keyset(KEYSET.to_bytes()) == KEYSET


def test_unknown_fields_and_keys_of_unknown_roles_are_passed_over() -> None:
    rows = [
        {**row, "note": "x"} for row in (ROOT.to_json(), HOST.to_json()) if isinstance(row, dict)
    ]
    rows.append({"role": "witness", "algorithm": "ml-dsa-44"})
    keyset = parse_keyset(_json(keys=list(rows), purpose="test"))
    assert keyset.keys == (ROOT, HOST)


def test_keys_are_found_by_id_and_by_role() -> None:
    assert KEYSET.find(OMS.key_id) is OMS
    assert KEYSET.find("00" * 32) is None
    assert KEYSET.with_role(KeyRole.HOST) == (HOST,)
    assert KEYSET.with_role(KeyRole.LOG) == ()


def test_a_key_is_valid_from_its_start_and_before_its_end() -> None:
    second = timedelta(seconds=1)
    assert not HOST.is_valid_at(START - second)
    assert HOST.is_valid_at(START)
    assert HOST.is_valid_at(START + timedelta(days=1) - second)
    assert not HOST.is_valid_at(START + timedelta(days=1))
    assert ROOT.is_valid_at(START + timedelta(days=36500))
