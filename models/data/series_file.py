"""Reads a file of one or several series: columns of numbers at regular times, with NaN in the gaps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.cache import Kept, is_worth_keeping, read_once
from models.data.dates import ADVICE, order_of
from models.data.grid import check_regular, on_grid
from models.data.kinds import as_text
from models.data.numerals import Numerals
from models.data.text_file import listed, names_of, separator_of
from models.data.timed_file import (
    Floats,
    Moments,
    check_ascending,
    check_columns,
    numbers,
    read_columns,
    text_of,
    times,
)

SHOWN_COLUMNS = 8
NOTED = ("targets", "columns", "names", "lengths", "time", "date_order")  # beside the arrays in the cache


class Measured(NamedTuple):
    """Values (times, columns), NaN where nothing was measured, and their times, a regular step apart.

    Of several series, the steps of each follow those of the one before.
    """

    values: Floats
    times: Moments
    targets: tuple[str, ...]
    columns: tuple[str, ...]  # the targets first
    names: tuple[str, ...]  # of the series; one empty name for a file without a column of series
    lengths: tuple[int, ...]  # of the series, in steps
    time: str = ""  # the column of times
    date_order: str = ""  # of its texts, if they have several


def read_series(path: str, **chosen: Any) -> Measured:
    """The columns of a file with a row for each point in time; a large one is read once for all trials.

    Args:
        chosen: id, time, target, features, every, thousands, date_order, separator, decimal and encoding, as in Series.

    Raises:
        ValueError: a column is missing or holds text, or the times are not ascending or not regular.
    """
    if not is_worth_keeping(Path(path)):
        return _read(path, **chosen)
    return _unpacked(read_once("series 4", Path(path), chosen, lambda: _packed(_read(path, **chosen))))


def check_complete(found: Measured, *, who: str) -> None:
    """Check that nothing is missing.

    Raises:
        ValueError: a value is; the message has its column and its time.
    """
    gaps = np.isnan(found.values)
    if not gaps.any():
        return
    row, column = np.argwhere(gaps)[0]
    raise ValueError(
        f"{who}: {gaps.sum()} values are missing, the first in column '{found.columns[column]}' at "
        f"{text_of(found.times[row])}: choose interpolation 'linear' or 'previous'"
    )


def _packed(found: Measured) -> Kept:
    are_dates = found.times.dtype.kind == "M"
    moments = found.times.astype("datetime64[us]").view(np.int64) if are_dates else found.times
    note = {name: getattr(found, name) for name in NOTED}
    return Kept({"values": found.values, "times": moments}, note | {"are_dates": are_dates})


def _unpacked(kept: Kept) -> Measured:
    moments, note = kept.arrays["times"], kept.note
    moments = moments.view("datetime64[us]") if note["are_dates"] else moments
    named: dict[str, Any] = {name: note[name] if isinstance(note[name], str) else tuple(note[name]) for name in NOTED}
    return Measured(kept.arrays["values"], moments, **named)


def _read(
    path: str,
    *,
    id: str,
    time: str,
    target: str | Sequence[str],
    features: str | Sequence[str],
    every: str,
    thousands: str,
    date_order: str,
    **reading: str,
) -> Measured:
    who = f"Series: {path}"
    frame = read_columns(path, who="Series", **reading)
    check_columns(frame, [id] if id else [], who=who)
    time = time or next(str(name) for name in frame.columns if name != id)
    check_columns(frame, [time], who=who)
    targets, columns = _columns(frame.drop(columns=[id] if id else []), time, target, features, who=who)
    numerals = Numerals(reading["decimal"], thousands, separator_of(Path(path), reading["separator"]))
    chosen = {"id": id, "time": time, "every": every, "date_order": date_order}
    found = measured_in(frame, targets, columns, numerals=numerals, who=who, **chosen)
    for name, column in zip(targets, found.values.T, strict=False):
        if np.nanmin(column) == np.nanmax(column):
            raise ValueError(
                f"{who}: column '{name}' is {np.nanmin(column):g} at all times: there is nothing to forecast"
            )
    return found._replace(date_order=order_of(frame[time], date_order))


def measured_in(
    frame: pd.DataFrame,
    targets: tuple[str, ...],
    columns: tuple[str, ...],
    *,
    id: str,
    time: str,
    every: str,
    date_order: str,
    numerals: Numerals,
    who: str,
) -> Measured:
    """The series in a table that has these columns.

    Raises:
        ValueError: a column is empty or holds text, or the times are not ascending or not regular.
    """
    moments = times(frame[time], who=who, order=date_order, advice=ADVICE)
    values = np.stack([numbers(frame[name], who=who, numerals=numerals) for name in columns], axis=1)
    for name, column in zip(columns, values.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"{who}: column '{name}' is empty")
    found = []
    for name, rows in _series(frame, id, who=who):
        its = who if not id else f"{who}: series '{name}'"
        part, when = values[rows], moments[rows]
        if not id:
            _check_single(when, time, who=who)
        check_ascending(when, time, who=its, rows=rows)
        if every:
            part, when = on_grid(part, when, every, who=its)
        else:
            check_regular(when, time, who=its, rows=rows)
        found.append((name, part, when))
    found = _without_late_starts(found, targets, columns, who=who)
    return Measured(
        np.concatenate([part for _, part, _ in found]),
        np.concatenate([when for *_, when in found]),
        targets,
        columns,
        tuple(name for name, *_ in found),
        tuple(len(part) for _, part, _ in found),
        time,
    )


def _series(frame: pd.DataFrame, id: str, *, who: str) -> list[tuple[str, NDArray[np.int64]]]:
    """Each series' name and its rows, in the order of the file."""
    if not id:
        return [("", np.arange(len(frame)))]
    if frame[id].isna().any():
        row = int(frame[id].isna().argmax()) + 1
        raise ValueError(f"{who}: column '{id}', row {row}: the name of the series is missing")
    codes, names = pd.factorize(as_text(frame[id]))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))[:-1]
    return list(zip(map(str, names), np.split(order, ends), strict=True))


def _check_single(moments: Moments, time: str, *, who: str) -> None:
    different = len(np.unique(moments))
    if different <= len(moments) / 2:
        raise ValueError(
            f"{who}: column '{time}' has {different} different times in {len(moments)} rows: of several series, name "
            "the column that tells them apart, such as {id: shop}"
        )


def _without_late_starts(
    found: list[tuple[str, Floats, Moments]], targets: tuple[str, ...], columns: tuple[str, ...], *, who: str
) -> list[tuple[str, Floats, Moments]]:
    """The series from the first step at which all columns have a value, since gaps before it cannot be filled."""
    kept, lost = [], []
    for name, values, moments in found:
        series = f"series '{name}' is left out: " if name else ""
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            warnings.warn(f"{who}: {series}column '{columns[empty[0]]}' has no value in it", stacklevel=2)
            continue
        firsts = (~np.isnan(values)).argmax(axis=0)
        first = int(firsts.max())
        if first:
            lost.append((name, columns[int(firsts.argmax())], moments[first], first, len(values)))
        for column, begin in zip(values.T, firsts, strict=True):
            measured = np.flatnonzero(~np.isnan(column[: first + 1]))
            column[first] = column[measured[-1]] if begin < first else column[first]
        kept.append((name, values[first:], moments[first:]))
    if not kept:
        raise ValueError(f"{who}: no series has a value in each of the columns {listed(columns)}")
    if lost:
        name, column, moment, count, length = max(lost, key=lambda late: late[3])
        where = f" in series '{name}'" if name else ""
        others = f"; {len(lost) - 1} more series begin late, by {sum(late[3] for late in lost) - count} steps in all"
        remedy = "" if column in targets else f". To use them, leave '{column}' out of features"
        warnings.warn(
            f"{who}: column '{column}' has its first value at {text_of(moment)}{where}: the {count} of {length} steps "
            f"before it are left out{others if len(lost) > 1 else ''}{remedy}",
            stacklevel=2,
        )
    return kept


def _columns(
    frame: pd.DataFrame, time: str, target: str | Sequence[str], features: str | Sequence[str], *, who: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    others = [str(name) for name in frame.columns if name != time]
    targets = tuple(names_of(target))
    if not targets:
        if len(others) != 1:
            shown = ", ".join(others[:SHOWN_COLUMNS]) + (", ..." if len(others) > SHOWN_COLUMNS else "")
            raise ValueError(f"{who}: target should name the column to forecast, of {shown or 'which there is none'}")
        targets = (others[0],)
    chosen = others if features == "all" else names_of(features)
    check_columns(frame, [*targets, *chosen], who=who)
    columns = [*targets, *(name for name in chosen if name not in targets)]
    if time in columns:
        raise ValueError(f"{who}: '{time}' is the column of times, so it cannot be a target or a feature")
    return targets, tuple(columns)
