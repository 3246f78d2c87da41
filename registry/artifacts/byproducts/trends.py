"""What of a training log may stay in clear: means over many records, and how many those were.

Nothing else of a record gets here: no sample, file, prompt, path or host, no single step and no gradient.
A mean of few records is those records, so it is withheld. Means have three digits, so that two logs of
one run, one a step longer than the other, do not give the step away by their difference.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SCHEMA = "loraseal/trend.v1"
LEAST_RECORDS = 8
_MOST_EPOCHS = 10_000
_MOST_PARTS = 20
_DIGITS = 3
# Beyond this a value is a fault of the run, and sums of such values overflow.
_MOST_VALUE = 1e30

# Names under which trainers log, in lower case, to the word of the trend. Nothing else is looked at.
METRICS: Mapping[str, str] = {
    "loss": "loss",
    "loss/current": "loss",
    "loss/loss": "loss",
    "loss/train": "loss",
    "step_loss": "loss",
    "train/loss": "loss",
    "train_loss_step": "loss",
    "avg_loss": "average_loss",
    "avr_loss": "average_loss",
    "loss/average": "average_loss",
    "smooth loss": "average_loss",
    "loss/epoch": "epoch_loss",
    "loss/epoch_average": "epoch_loss",
    "loss/validation": "eval_loss",
    "loss/validation/current": "eval_loss",
    "train/train_loss": "train_loss",
    "train_loss": "train_loss",
    "eval/loss": "eval_loss",
    "eval_loss": "eval_loss",
    "val/loss": "eval_loss",
    "val_loss": "eval_loss",
    "validation_loss": "eval_loss",
    "eval/accuracy": "eval_accuracy",
    "eval_accuracy": "eval_accuracy",
    "mean_token_accuracy": "token_accuracy",
    "train/mean_token_accuracy": "token_accuracy",
    "learning_rate": "learning_rate",
    "lr": "learning_rate",
    "train/learning_rate": "learning_rate",
}
_RATE_PREFIX = "lr/"
EPOCH_NAMES = frozenset({"epoch", "train/epoch", "current_epoch"})


@dataclass(frozen=True, slots=True)
class Record:
    """One logged moment: its epoch, if it says one, and the values of known metrics."""

    epoch: float | None
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in one epoch (or part of the run): how many records, and their mean or None."""

    group: int | None
    metric: str
    count: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class Trend:
    """What remains of a log. `by` is `epoch`, or `part` where no record says its epoch.

    `whole` has the metrics that no row could show, over the whole run: with rows beside it a mean of
    everything would give back by subtraction what a row withholds.
    """

    by: str
    least_records: int
    records: int
    rows: tuple[Row, ...]
    whole: tuple[Row, ...] = ()


def record_of(pairs: Iterable[tuple[object, object]]) -> Record:
    """Return what of a logged object is known: numbers under known names, the first of each name."""
    epoch: float | None = None
    values: dict[str, float] = {}
    for name, value in pairs:
        number = _number(value)
        if number is None or not isinstance(name, str):
            continue
        word = name.strip().lower()
        if word in EPOCH_NAMES:
            epoch = number if epoch is None else epoch
        elif (metric := _metric(word)) is not None:
            values.setdefault(metric, number)
    return Record(epoch, tuple(values.items()))


def trend_of(records: Sequence[Record], least: int = LEAST_RECORDS) -> Trend:
    """Return the means of `records` by epoch, or by parts of the run; of fewer than `least`: none."""
    logged = [record for record in records if record.values]
    epochs = [_epoch(record.epoch) for record in logged]
    fractions = any(record.epoch is not None and not record.epoch.is_integer() for record in logged)
    by_epoch = 0 < len(set(epochs) - {None}) <= _MOST_EPOCHS
    groups = (
        _rounded_up(epochs, logged, fractions=fractions) if by_epoch else _parts(len(logged), least)
    )
    sums: dict[tuple[int | None, str], list[float]] = defaultdict(list)
    for group, record in zip(groups, logged, strict=True):
        for metric, value in record.values:
            sums[group, metric].append(value)
    rows = tuple(
        Row(group, metric, len(values), _mean(values, least))
        for (group, metric), values in sorted(sums.items(), key=_in_order)
    )
    whole = tuple(_whole(rows, sums, least))
    return Trend("epoch" if by_epoch else "part", least, len(logged), rows, whole)


def dump_trend(trend: Trend) -> bytes:
    """Return `trend` as one line of JSON with sorted keys; the same trend gives the same bytes."""
    body = {
        "schema": SCHEMA,
        "by": trend.by,
        "least_records": trend.least_records,
        "records": trend.records,
        "rows": [_row(row, trend.by) for row in trend.rows],
        "whole": [_numbers(row) for row in trend.whole],
        "withheld": sum(row.mean is None for row in trend.rows),
    }
    return (json.dumps(body, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) <= _MOST_VALUE else None


def _metric(word: str) -> str | None:
    return "learning_rate" if word.startswith(_RATE_PREFIX) else METRICS.get(word)


def _epoch(epoch: float | None) -> int | None:
    return None if epoch is None or not 0 <= epoch <= _MOST_EPOCHS else math.ceil(epoch)


def _rounded_up(
    epochs: list[int | None], logged: list[Record], *, fractions: bool
) -> list[int | None]:
    # transformers counts 0.02 … 3.0, and 0 is in the first epoch too; others count whole epochs, some from 0.
    if not fractions:
        return epochs
    return [None if epoch is None else max(1, epoch) for epoch in epochs]


def _parts(records: int, least: int) -> list[int | None]:
    parts = max(1, min(_MOST_PARTS, records // least))
    return [position * parts // records + 1 for position in range(records)]


def _mean(values: list[float], least: int) -> float | None:
    if len(values) < least:
        return None
    return float(f"{math.fsum(values) / len(values):.{_DIGITS}g}")


def _whole(
    rows: tuple[Row, ...], sums: Mapping[tuple[int | None, str], list[float]], least: int
) -> Iterator[Row]:
    shown = {row.metric for row in rows if row.mean is not None}
    for metric in sorted({row.metric for row in rows} - shown):
        values = [value for (_, name), part in sums.items() if name == metric for value in part]
        if (mean := _mean(values, least)) is not None:
            yield Row(None, metric, len(values), mean)


def _in_order(item: tuple[tuple[int | None, str], list[float]]) -> tuple[bool, int, str]:
    group, metric = item[0]
    return group is None, group or 0, metric


def _row(row: Row, by: str) -> dict[str, object]:
    return {by: row.group, **_numbers(row)}


def _numbers(row: Row) -> dict[str, object]:
    return {"metric": row.metric, "count": row.count, "mean": row.mean}
