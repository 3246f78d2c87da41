"""Readers of training logs: hostile bytes first, then each form with secrets that must not get through."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.byproducts import logs as training_logs
from registry.artifacts.byproducts.logs import LogForm, form_of, parse_log
from registry.artifacts.byproducts.trends import dump_trend, trend_of
from registry.errors import FormatError
from registry.limits import TRAINING_LOG_BYTES
from tests.artifacts.trainer_folders import (
    SECRETS,
    event,
    event_file,
    field,
    loss_database,
    loss_table,
    record,
    trainer_log,
    trainer_state,
    varint,
)
from tests.mutants import mutants

GOOD: dict[LogForm, bytes] = {
    LogForm.TRAINER_STATE: trainer_state(),
    LogForm.RESULTS: b'{"train_loss": 1.5, "epoch": 3.0, "total_flos": 1}',
    LogForm.JSON_LINES: trainer_log(),
    LogForm.CSV: loss_table(),
    LogForm.LOSS_DATABASE: loss_database(),
    LogForm.EVENTS: event_file(),
}
EVERY = pytest.mark.parametrize("form", LogForm)


def database(script: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as base:
        base.executescript(script)
        return base.serialize()


# --- refusals


@EVERY
def test_too_long_is_refused_before_it_is_read(form: LogForm) -> None:
    with pytest.raises(FormatError, match="more than"):
        parse_log(form, bytes(TRAINING_LOG_BYTES + 1))


@pytest.mark.parametrize(
    ("form", "data"),
    [
        (LogForm.TRAINER_STATE, b""),
        (LogForm.TRAINER_STATE, b"[]"),
        (LogForm.TRAINER_STATE, b'{"log_history": {}}'),
        (LogForm.TRAINER_STATE, b'{"log_history": [1]}'),
        (LogForm.TRAINER_STATE, b"[" * 100_000),
        (LogForm.RESULTS, b"3"),
        (LogForm.JSON_LINES, b'{"loss": 1}\nzqsecret\n{"loss": 2}\n'),
        (LogForm.JSON_LINES, b"[1]\n"),
        (LogForm.CSV, b"loss\n\xff\xfe\n"),
        (LogForm.CSV, b'loss\n"open'),
        (LogForm.EVENTS, b"zq" * 40),
        (LogForm.EVENTS, record(b"\x07")),
        (LogForm.EVENTS, record(varint(5 << 3 | 2) + varint(99) + b"short")),
        (LogForm.EVENTS, record(b"\xff" * 12)),
        (LogForm.LOSS_DATABASE, b""),
        (LogForm.LOSS_DATABASE, b"SQLite format 3\0" + bytes(200)),
        (LogForm.LOSS_DATABASE, database("create table other (a)")),
        (LogForm.LOSS_DATABASE, database("create view metrics as select 1 step, 'loss' key, 1.0 value_real")),
        (LogForm.LOSS_DATABASE, loss_database()[:-4096]),
    ],
)  # fmt: skip
def test_what_is_no_such_log_is_refused_without_quoting_it(form: LogForm, data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_log(form, data)
    assert caught.value.hint
    assert "zq" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_database_that_computes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_logs, "_SQLITE_STEPS", 0)
    monkeypatch.setattr(training_logs, "_SQLITE_STEPS_AT_ONCE", 100)
    with pytest.raises(FormatError):
        parse_log(LogForm.LOSS_DATABASE, loss_database(500))


def test_generated_column_runs_no_function() -> None:
    data = database(
        "create table metrics (step integer, key text,"
        " value_real real generated always as (length(hex(zeroblob(100)))));"
        "insert into metrics values (1, 'loss')"
    )
    with pytest.raises(FormatError):
        parse_log(LogForm.LOSS_DATABASE, data)


def test_more_records_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_logs, "TRAINING_LOG_RECORDS", 5)
    for form in set(LogForm) - {LogForm.RESULTS}:
        with pytest.raises(FormatError):
            parse_log(form, GOOD[form])


SMALL = {
    **GOOD,
    LogForm.TRAINER_STATE: trainer_state(1, 3),
    LogForm.JSON_LINES: trainer_log(3),
    LogForm.LOSS_DATABASE: loss_database(2),
    LogForm.EVENTS: event_file(2),
    LogForm.CSV: loss_table(3),
}


@EVERY
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_logs_raise_only_our_error(form: LogForm, data: st.DataObject) -> None:
    damaged = data.draw(mutants(SMALL[form]) | st.binary(max_size=200))
    try:
        found = parse_log(form, damaged)
    except FormatError:
        return
    dump_trend(trend_of(found))


# --- what is read


@EVERY
def test_no_secret_of_a_real_log_is_in_its_trend(form: LogForm) -> None:
    data = dump_trend(trend_of(parse_log(form, GOOD[form])))
    assert not any(secret.encode() in data for secret in (*SECRETS, "zq", "grad", "wall", "prompt"))


def test_trainer_state_gives_a_mean_for_each_epoch() -> None:
    trend = trend_of(parse_log(LogForm.TRAINER_STATE, GOOD[LogForm.TRAINER_STATE]))
    losses = [(row.group, row.count, row.mean) for row in trend.rows if row.metric == "loss"]
    assert losses == [(1, 20, 1.9), (2, 20, 1.69), (3, 20, 1.49)]
    withheld = [row for row in trend.rows if row.metric == "eval_loss"]
    assert [(row.count, row.mean) for row in withheld] == [(1, None)] * 3


def test_json_lines_give_rates_and_losses() -> None:
    trend = trend_of(parse_log(LogForm.JSON_LINES, trainer_log()))
    assert [(row.group, row.metric, row.count) for row in trend.rows] == [
        (1, "learning_rate", 20), (1, "loss", 20), (2, "learning_rate", 20), (2, "loss", 20),
    ]  # fmt: skip


def test_last_line_that_was_cut_off_is_left_out() -> None:
    cut = trainer_log()[:-20]
    assert len(parse_log(LogForm.JSON_LINES, cut)) == 39


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_are_read_with_their_delimiter(delimiter: str) -> None:
    data = loss_table().replace(b",", delimiter.encode())
    trend = trend_of(parse_log(LogForm.CSV, data))
    assert [(row.group, row.count) for row in trend.rows if row.metric == "train_loss"] == [
        (0, 10), (1, 10), (2, 10),
    ]  # fmt: skip


@pytest.mark.parametrize("write_ahead", [False, True])
def test_database_is_read_from_memory(write_ahead: bool) -> None:
    trend = trend_of(parse_log(LogForm.LOSS_DATABASE, loss_database(write_ahead=write_ahead)))
    assert {(row.metric, row.count) for row in trend.rows} == {("loss", 8), ("learning_rate", 8)}
    assert trend.by == "part"


def test_event_file_is_read_by_step_with_its_epochs() -> None:
    trend = trend_of(parse_log(LogForm.EVENTS, event_file()))
    assert [(row.group, row.metric, row.count, row.mean) for row in trend.rows] == [
        (1, "loss", 13, 0.5), (2, "loss", 11, 0.5),
    ]  # fmt: skip


def test_event_file_that_was_cut_off_keeps_its_whole_records() -> None:
    assert len(parse_log(LogForm.EVENTS, event_file()[:-3])) == 24


def test_scalar_tensors_count_and_other_tensors_do_not() -> None:
    new_style = field(1, b"loss") + field(8, field(1, 1) + field(4, b"\0\0\0\x3f"))
    text = field(1, b"loss") + field(8, field(1, 7) + field(8, b"zq"))
    data = b"".join(
        record(field(2, n) + field(5, field(1, each))) for n, each in enumerate((new_style, text))
    )
    (found,) = parse_log(LogForm.EVENTS, data + record(event(7, "zq/loss", 1.0)))[:1]
    assert found.values == (("loss", 0.5),)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a/trainer_state.json", LogForm.TRAINER_STATE),
        ("events.out.tfevents.1.host", LogForm.EVENTS),
        ("loss_log.db", LogForm.LOSS_DATABASE),
        ("all_results.json", LogForm.RESULTS),
        ("trainer_log.jsonl", LogForm.JSON_LINES),
        ("metrics.csv", LogForm.CSV),
        ("running_log.txt", None),
        ("loss_log.db-wal", None),
        ("training_loss.png", None),
    ],
)
def test_form_is_told_by_name(name: str, form: LogForm | None) -> None:
    assert form_of(PurePosixPath(name)) is form


def test_trend_of_a_log_is_the_same_each_time() -> None:
    twice = [dump_trend(trend_of(parse_log(LogForm.EVENTS, event_file()))) for _ in range(2)]
    assert twice[0] == twice[1]
    assert json.loads(twice[0])["least_records"] == 8
