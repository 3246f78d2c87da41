"""Moments in statements: RFC 3339, UTC, whole seconds, one spelling: `2026-11-21T12:00:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from registry.errors import FormatError

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def to_text(moment: datetime) -> str:
    """Return `moment` in UTC, with fractions of a second cut off.

    Raises:
        ValueError: `moment` has no time zone; a naive time means nothing to another host.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("moment has no time zone")
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def parse_moment(text: str) -> datetime:
    """Return the aware UTC moment written in `text`.

    Raises:
        FormatError: another spelling (offset, fraction, lower case), or no such day or hour.
    """
    # Length first: the text may be of any size, and it is not quoted beyond what is legal.
    if len(text) > len("2026-11-21T12:00:00Z") or not _MOMENT.fullmatch(text):
        raise FormatError("moment is not of the form 2026-11-21T12:00:00Z")
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError(f"moment {text!r} does not exist in the calendar") from error
