"""Moments have one spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.moments import parse_moment, to_text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21",
        "2026-11-21T12:00:00",
        "2026-11-21t12:00:00z",
        "2026-11-21T12:00:00.5Z",
        "2026-11-21T12:00:00+00:00",
        "2026-11-21 12:00:00Z",
        "2026-11-21T12:00:00Z\n",
        "2026-02-30T12:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T12:00:60Z",
        "0000-01-01T00:00:00Z",
        "\uff12026-11-21T12:00:00Z",
        "9" * 1000,
    ],
)
def test_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_moment(text)


def test_naive_moment_is_a_callers_bug() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_text(datetime(2026, 11, 21, 12, 0))  # noqa: DTZ001 - that is the point


def test_moment_of_another_zone_is_written_in_utc() -> None:
    zone = timezone(timedelta(hours=8))
    assert to_text(datetime(2026, 11, 21, 20, 0, 0, 999_999, zone)) == "2026-11-21T12:00:00Z"


@settings(max_examples=100)
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001 - hypothesis takes naive bounds
def test_what_is_written_is_read(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert parse_moment(to_text(aware)) == aware.replace(microsecond=0)
    assert to_text(parse_moment(to_text(aware))) == to_text(aware)


@settings(max_examples=200)
@given(st.text(max_size=25))
def test_any_text_raises_only_our_error(text: str) -> None:
    try:
        parse_moment(text)
    except FormatError:
        return
    assert len(text) == 20
