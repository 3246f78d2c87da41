"""Trends: no single record, no word of a log, the same bytes each time."""

from __future__ import annotations

import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.byproducts.trends import METRICS, Record, dump_trend, record_of, trend_of


def records(epoch: float | None, values: list[float], metric: str = "loss") -> list[Record]:
    return [Record(epoch, ((metric, value),)) for value in values]


def rows(found: list[Record], least: int = 8) -> list[tuple[int | None, str, int, float | None]]:
    return [(row.group, row.metric, row.count, row.mean) for row in trend_of(found, least).rows]


@pytest.mark.parametrize("count", [1, 7])
def test_mean_of_few_records_is_withheld(count: int) -> None:
    assert rows(records(1.0, [0.123] * count)) == [(1, "loss", count, None)]
    assert b"0.123" not in dump_trend(trend_of(records(1.0, [0.123] * count)))


def test_what_one_epoch_withholds_cannot_be_subtracted_from_the_whole() -> None:
    found = records(1.0, [1.0] * 50) + records(2.0, [3.0] * 2)
    trend = trend_of(found)
    assert [row.mean for row in trend.rows] == [1.0, None]
    assert trend.whole == ()


def test_one_evaluation_an_epoch_is_shown_as_one_mean_of_the_run() -> None:
    found = [
        record for epoch in range(1, 11) for record in records(float(epoch), [epoch], "eval_loss")
    ]
    trend = trend_of(found)
    assert all(row.mean is None for row in trend.rows)
    assert [(row.metric, row.count, row.mean) for row in trend.whole] == [("eval_loss", 10, 5.5)]


def test_means_have_three_digits() -> None:
    ((_, _, _, mean),) = rows(records(1.0, [0.123456789] * 8))
    assert mean == 0.123


def test_fractions_of_epochs_are_rounded_up_and_whole_ones_stay() -> None:
    parts = [(n / 10, 1.0) for n in range(21)]
    found = [Record(epoch, (("loss", value),)) for epoch, value in parts]
    assert [row[:3] for row in rows(found, 2)] == [(1, "loss", 11), (2, "loss", 10)]
    whole = records(0.0, [1.0] * 8) + records(1.0, [2.0] * 8)
    assert [row[0] for row in rows(whole)] == [0, 1]


def test_without_epochs_the_run_is_cut_into_parts_of_enough_records() -> None:
    trend = trend_of(records(None, [float(n) for n in range(170)]))
    assert trend.by == "part"
    assert len(trend.rows) == 20
    assert all(row.count >= 8 for row in trend.rows)
    assert [row.group for row in trend_of(records(None, [1.0] * 9)).rows] == [1]


def test_endless_epochs_are_no_epochs() -> None:
    found = [Record(1e9 + n, (("loss", 1.0),)) for n in range(40)]
    assert trend_of(found).by == "part"


def test_nothing_logged_is_an_empty_trend() -> None:
    body = json.loads(dump_trend(trend_of([])))
    assert (body["schema"], body["rows"], body["records"]) == ("loraseal/trend.v1", [], 0)


@pytest.mark.parametrize(
    "value", [True, None, "0.5", [1], {"a": 1}, math.nan, math.inf, 1e300, 10**400]
)
def test_what_is_no_plain_number_is_dropped(value: object) -> None:
    assert record_of([("loss", value)]).values == ()


def test_gradients_and_unknown_names_are_dropped() -> None:
    found = record_of(
        [("grad_norm", 1.0), ("sample_17", 0.5), ("Loss", 0.25), ("lr/zqunet", 0.1), (3, 1.0)]
    )
    assert found.values == (("loss", 0.25), ("learning_rate", 0.1))


TEXT = st.text(st.sampled_from("zq" + string.digits + "/._ñ"), min_size=3, max_size=12).map(
    "zq".__add__
)
VALUES = st.one_of(
    TEXT, st.floats(), st.integers(), st.none(), st.booleans(), st.lists(TEXT, max_size=2)
)
NAMES = st.one_of(TEXT, st.sampled_from([*METRICS, "epoch", "step", "prompt"]))


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=30), st.integers(2, 9))
def test_no_word_of_a_log_survives_and_every_mean_has_enough_behind_it(
    logged: list[dict[str, object]], least: int
) -> None:
    trend = trend_of([record_of(item.items()) for item in logged], least)
    data = dump_trend(trend)
    assert b"zq" not in data
    body = json.loads(data)
    assert data == dump_trend(trend)
    shown = [*body["rows"], *body["whole"]]
    assert all(row["metric"] in METRICS.values() for row in shown)
    assert all(row["count"] >= least for row in shown if row["mean"] is not None)
    flat = {key for row in shown for key in row}
    assert flat <= {"epoch", "part", "metric", "count", "mean"}
