"""Cursors of channels: up to which event a channel's events were handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.provenance.models import MetaRow

if TYPE_CHECKING:
    from registry.provenance.ledger import Reader, Transaction

_PREFIX = "channel-cursor/"


def read_cursor(reader: Reader, channel: str) -> str | None:
    """Return the cursor of a channel, None before its first event."""
    row = reader.session.get(MetaRow, _PREFIX + channel)
    return None if row is None else row.value.decode("utf-8")


def write_cursor(tx: Transaction, channel: str, cursor: str) -> None:
    """Remember that everything up to `cursor` was handled."""
    row = tx.session.get(MetaRow, _PREFIX + channel)
    if row is None:
        tx.session.add(MetaRow(key=_PREFIX + channel, value=cursor.encode("utf-8")))
    else:
        row.value = cursor.encode("utf-8")
    tx.session.flush()
