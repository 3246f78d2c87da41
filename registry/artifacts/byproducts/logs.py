"""Readers of training logs: bytes -> records of known metrics, nothing else kept.

Understood: `trainer_state.json`, result files, JSON lines, CSV, the SQLite log of ai-toolkit, and
TensorBoard event files. A log is outside input: bounded, parsed whole, and never written to.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.artifacts.byproducts.event_files import read_scalars
from registry.artifacts.byproducts.trends import Record, record_of
from registry.errors import FormatError
from registry.limits import TRAINING_LOG_BYTES, TRAINING_LOG_RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import PurePath

_SQLITE_MAGIC = b"SQLite format 3\x00"
_SQLITE_HEADER_BYTES = 100
# The versions that a reader and a writer need: 2 is write-ahead, which a copy in memory cannot have.
_SQLITE_VERSIONS = slice(18, 20)
_SQLITE_VALUE_BYTES = 1024 * 1024
_SQLITE_STEPS = 100_000_000
_SQLITE_STEPS_AT_ONCE = 100_000
# Words of a table whose rows are made by code: a virtual one, or one with generated columns.
_COMPUTED = frozenset({"virtual", "generated", "as"})
_HINT = "seal or delete it: no trend can be made of it"


class LogForm(StrEnum):
    """How a log is written."""

    TRAINER_STATE = "trainer-state"
    RESULTS = "results"
    JSON_LINES = "json-lines"
    CSV = "csv"
    LOSS_DATABASE = "loss-database"
    EVENTS = "events"


def form_of(path: PurePath) -> LogForm | None:
    """Return how a log of this name is written, None if no trend can be made of it."""
    name = path.name.lower()
    if name == "trainer_state.json":
        return LogForm.TRAINER_STATE
    if name.startswith("events.out.tfevents."):
        return LogForm.EVENTS
    if name == "loss_log.db":
        return LogForm.LOSS_DATABASE
    if name.endswith("_results.json"):
        return LogForm.RESULTS
    return {".jsonl": LogForm.JSON_LINES, ".csv": LogForm.CSV}.get(path.suffix.lower())


def parse_log(form: LogForm, data: bytes) -> tuple[Record, ...]:
    """Return the records of a log, in its order.

    A last line or record that was cut off, as a killed trainer leaves it, is left out.

    Raises:
        FormatError: longer than the limit, or not what its name says; the message quotes nothing of it.
    """
    if len(data) > TRAINING_LOG_BYTES:
        raise FormatError(f"log has more than {TRAINING_LOG_BYTES} bytes", hint=_HINT)
    try:
        records = tuple(_READERS[form](data))
    except (ValueError, RecursionError, csv.Error, sqlite3.Error):
        # Their words quote the log: only what kind of log it should be is said.
        raise FormatError(f"log cannot be read as {form.value}", hint=_HINT) from None
    if len(records) > TRAINING_LOG_RECORDS:
        raise FormatError(f"log has more than {TRAINING_LOG_RECORDS} records", hint=_HINT)
    return records


def _trainer_state(data: bytes) -> Iterable[Record]:
    body = json.loads(data)
    history = body.get("log_history") if isinstance(body, dict) else None
    if not isinstance(history, list):
        raise ValueError("no log_history")
    return [_record(item) for item in history]


def _results(data: bytes) -> Iterable[Record]:
    return [_record(json.loads(data))]


def _json_lines(data: bytes) -> Iterable[Record]:
    lines = data.split(b"\n")
    records = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            records.append(_record(json.loads(line)))
        except ValueError:
            if number < len(lines) - 1:
                raise
    return records


def _record(item: object) -> Record:
    if not isinstance(item, dict):
        raise ValueError("not an object")
    return record_of(item.items())


def _csv(data: bytes) -> Iterable[Record]:
    text = data.decode("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = next(reader, [])
    return [record_of(zip(names, map(_as_number, row), strict=False)) for row in reader]


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _loss_database(data: bytes) -> Iterable[Record]:
    """Read ai-toolkit's rows (step, key, value) from a copy in memory: no file is opened, none locked."""
    if len(data) < _SQLITE_HEADER_BYTES or not data.startswith(_SQLITE_MAGIC):
        raise ValueError("no database")
    copy = bytearray(data)
    copy[_SQLITE_VERSIONS] = b"\x01\x01"
    with closing(sqlite3.connect(":memory:")) as base:
        base.deserialize(bytes(copy))
        _confine(base)
        cursor = base.execute(
            "select step, key, value_real from metrics where value_real is not null order by step"
        )
        rows = cursor.fetchmany(TRAINING_LOG_RECORDS + 1)
    if len(rows) > TRAINING_LOG_RECORDS:
        raise ValueError("too many rows")
    return _by_step(rows)


def _confine(base: sqlite3.Connection) -> None:
    """Let a hostile database say its rows and nothing else: no code in its schema, no endless query."""
    base.execute("pragma trusted_schema=off")
    base.execute("pragma query_only=on")
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SQLITE_VALUE_BYTES)
    (kind, text), *_ = base.execute(
        "select type, sql from sqlite_master where name = 'metrics'"
    ).fetchall() or [("", "")]
    if kind != "table" or _COMPUTED & set(re.findall(r"\w+", str(text).lower())):
        raise ValueError("no plain table of metrics")
    left = _SQLITE_STEPS

    def too_long() -> bool:
        nonlocal left
        left -= _SQLITE_STEPS_AT_ONCE
        return left < 0

    base.set_progress_handler(too_long, _SQLITE_STEPS_AT_ONCE)


def _by_step(rows: Iterable[tuple[object, object, object]]) -> list[Record]:
    steps: dict[object, list[tuple[object, object]]] = {}
    for step, name, value in rows:
        steps.setdefault(step, []).append((name, value))
    return [record_of(pairs) for pairs in steps.values()]


def _events(data: bytes) -> Iterable[Record]:
    return _by_step(read_scalars(data))


_READERS: Mapping[LogForm, Callable[[bytes], Iterable[Record]]] = {
    LogForm.TRAINER_STATE: _trainer_state,
    LogForm.RESULTS: _results,
    LogForm.JSON_LINES: _json_lines,
    LogForm.CSV: _csv,
    LogForm.LOSS_DATABASE: _loss_database,
    LogForm.EVENTS: _events,
}
