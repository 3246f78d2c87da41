"""Status lists."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.status_list import StatusEntry, StatusList, StatusState

A, B = "aa" * 16, "bb" * 16
ENTRIES = (
    StatusEntry(A, StatusState.REVOKED, "2026-11-20T00:00:00Z"),
    StatusEntry(B, StatusState.SUPERSEDED, "2026-11-20T00:00:00Z", A),
)
STATUS = StatusList("r", 3, "2026-11-21T00:00:00Z", "2026-11-28T00:00:00Z", 10, "cc" * 32, ENTRIES)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "loraseal/status-list.v2"},
        {"counter": -1},
        {"counter": True},
        {"log_root": "cc"},
        {"valid_until": "2026-11-21T00:00:00Z"},
        {"valid_until": "later"},
        {"entries": [{"status_id": A}]},
        {"entries": [{"status_id": A, "state": "fine", "at": "x", "superseded_by": None}]},
    ],
)
def test_malformed_list_is_refused(change: dict[str, object]) -> None:
    body = {**json.loads(STATUS.to_bytes()), **change}
    with pytest.raises(FormatError):
        StatusList.parse(dump_canonical(body))


def test_unsorted_or_repeated_entries_are_refused() -> None:
    body = json.loads(STATUS.to_bytes())
    for entries in (body["entries"][::-1], body["entries"][:1] * 2):
        with pytest.raises(FormatError, match="sorted"):
            StatusList.parse(dump_canonical({**body, "entries": entries}))
    with pytest.raises(ValueError, match="sorted"):
        replace(STATUS, entries=ENTRIES[::-1]).to_bytes()


def test_list_survives_and_finds() -> None:
    assert StatusList.parse(STATUS.to_bytes()) == STATUS
    assert STATUS.find(B) == ENTRIES[1]
    assert STATUS.find("dd" * 16) is None


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bits_raise_only_our_error(position: int, bit: int) -> None:
    data = bytearray(STATUS.to_bytes())
    data[position % len(data)] ^= 1 << bit
    try:
        assert StatusList.parse(bytes(data)) != STATUS
    except FormatError:
        return
