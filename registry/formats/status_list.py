"""The status list: what was withdrawn or overtaken, until when that is known, and how much of the log it saw.

Canonical JSON, schema `loraseal/status-list.v1`, signed as DSSE with `PAYLOAD_TYPE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.fields import ID_DIGITS, Fields
from registry.formats.moments import parse_moment
from registry.limits import ENVELOPE_BYTES, STATUS_ENTRIES

SCHEMA = "loraseal/status-list.v1"
PAYLOAD_TYPE = "application/vnd.loraseal.status-list+json"


class StatusState(StrEnum):
    """What a listed status id has become; an id that is not listed stands."""

    REVOKED = "revoked"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One status id that no longer stands. `superseded_by` is a status id, only when superseded."""

    status_id: str
    state: StatusState
    at: str
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class StatusList:
    """All entries of one registry at one moment, sorted by status id.

    `log_root` is the hex root of the log at `log_size` leaves: a statement behind that size was not
    seen, so the list says nothing about it. `counter` never goes back.
    """

    registry: str
    counter: int
    issued: str
    valid_until: str
    log_size: int
    log_root: str
    entries: tuple[StatusEntry, ...] = ()

    def find(self, status_id: str) -> StatusEntry | None:
        """Return the entry of `status_id`, None if it stands."""
        return next((entry for entry in self.entries if entry.status_id == status_id), None)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, to be signed.

        Raises:
            ValueError: entries are not sorted by status id, or one stands twice.
        """
        if not _is_sorted(self.entries):
            raise ValueError("status entries are not sorted, or one stands twice")
        rows: list[Json] = [
            {
                "status_id": entry.status_id,
                "state": entry.state.value,
                "at": entry.at,
                "superseded_by": entry.superseded_by,
            }
            for entry in self.entries
        ]
        return dump_canonical(
            {
                "schema": SCHEMA,
                "registry": self.registry,
                "counter": self.counter,
                "issued": self.issued,
                "valid_until": self.valid_until,
                "log_size": self.log_size,
                "log_root": self.log_root,
                "entries": rows,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the list in `data`, the payload of a verified envelope.

        Raises:
            FormatError: not canonical, wrong schema or members, entries unsorted, or it ends before
                it begins.
        """
        fields = Fields.of(
            parse_canonical(data, what="status list", max_bytes=ENVELOPE_BYTES), "status list"
        )
        fields.schema(SCHEMA)
        rows = fields.items("entries", most=STATUS_ENTRIES)
        status = cls(
            registry=fields.text("registry"),
            counter=fields.integer("counter"),
            issued=fields.moment("issued"),
            valid_until=fields.moment("valid_until"),
            log_size=fields.integer("log_size"),
            log_root=fields.hexadecimal("log_root"),
            entries=tuple(_entry_from(row) for row in rows),
        )
        if not _is_sorted(status.entries):
            raise FormatError("status list: entries are not sorted, or one stands twice")
        if parse_moment(status.issued) >= parse_moment(status.valid_until):
            raise FormatError("status list ends before it begins")
        return status


def _entry_from(row: Json) -> StatusEntry:
    fields = Fields.of(row, "status entry")
    return StatusEntry(
        status_id=fields.hexadecimal("status_id", ID_DIGITS),
        state=StatusState(fields.choice("state", [item.value for item in StatusState])),
        at=fields.moment("at"),
        superseded_by=fields.optional_hexadecimal("superseded_by", ID_DIGITS),
    )


def _is_sorted(entries: tuple[StatusEntry, ...]) -> bool:
    ids = [entry.status_id for entry in entries]
    return all(first < second for first, second in zip(ids, ids[1:], strict=False))
