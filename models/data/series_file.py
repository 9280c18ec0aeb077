"""Reads a file of series: columns of numbers at regular times, with NaN in the gaps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from models.data.cache import Kept, is_worth_keeping, read_once
from models.data.timed_file import (
    Floats,
    Moments,
    check_ascending,
    check_columns,
    names_of,
    numbers,
    read_columns,
    text_of,
    times,
)

SHOWN_COLUMNS = 8
MOST_STEPS = 50_000_000  # on a grid: with more, the step is a mistake


class Measured(NamedTuple):
    """Values (times, columns), NaN where nothing was measured, and their times, a regular step apart."""

    values: Floats
    times: Moments
    targets: tuple[str, ...]
    columns: tuple[str, ...]  # the targets first


def read_series(
    path: str, *, time: str, target: str | Sequence[str], features: str | Sequence[str], every: str, **reading: str
) -> Measured:
    """The columns of a file with a row for each point in time; a large one is read once for all trials.

    Args:
        time, target, features, every: as in Series.
        reading: separator, decimal and encoding.

    Raises:
        ValueError: a column is missing or holds text, or the times are not ascending or not regular.
    """
    chosen: dict[str, Any] = {"time": time, "target": target, "features": features, "every": every, **reading}
    if not is_worth_keeping(Path(path)):
        return _read(path, **chosen)
    return _unpacked(read_once("series 1", Path(path), chosen, lambda: _packed(_read(path, **chosen))))


def _packed(found: Measured) -> Kept:
    are_dates = found.times.dtype.kind == "M"
    moments = found.times.astype("datetime64[us]").view(np.int64) if are_dates else found.times
    note = {"are_dates": are_dates, "targets": found.targets, "columns": found.columns}
    return Kept({"values": found.values, "times": moments}, note)


def _unpacked(kept: Kept) -> Measured:
    moments, note = kept.arrays["times"], kept.note
    moments = moments.view("datetime64[us]") if note["are_dates"] else moments
    return Measured(kept.arrays["values"], moments, tuple(note["targets"]), tuple(note["columns"]))


def _read(
    path: str, *, time: str, target: str | Sequence[str], features: str | Sequence[str], every: str, **reading: str
) -> Measured:
    who = f"Series: {path}"
    frame = read_columns(path, who="Series", **reading)
    time = time or str(frame.columns[0])
    check_columns(frame, [time], who=who)
    targets, columns = _columns(frame, time, target, features, who=who)
    moments = times(frame[time], who=who)
    check_ascending(moments, time, who=who)
    values = np.stack([numbers(frame[name], who=who) for name in columns], axis=1)
    if every:
        values, moments = _resampled(values, moments, every, who=who)
    else:
        _check_regular(moments, time, who=who)
    for name, column in zip(columns, values.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"{who}: column '{name}' is empty")
        if name in targets and np.nanmin(column) == np.nanmax(column):
            raise ValueError(
                f"{who}: column '{name}' is {np.nanmin(column):g} at all times: there is nothing to forecast"
            )
    # Before a column's first measurement, gaps cannot be filled.
    firsts = (~np.isnan(values)).argmax(axis=0)
    first = int(firsts.max())
    for column, begin in zip(values.T, firsts, strict=True):
        measured = np.flatnonzero(~np.isnan(column[: first + 1]))
        column[first] = column[measured[-1]] if begin < first else column[first]
    return Measured(values[first:], moments[first:], targets, columns)


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


def _check_regular(moments: Moments, time: str, *, who: str) -> None:
    steps = np.diff(moments)
    if len(steps) < 2 or np.allclose(steps.astype(np.float64), steps[0].astype(np.float64), rtol=1e-6):
        return
    if np.issubdtype(moments.dtype, np.datetime64):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about the type of its result, which does not matter here
            warnings.simplefilter("ignore", DeprecationWarning)
            if pd.infer_freq(pd.DatetimeIndex(moments)) is not None:
                return  # such as months, which are regular but not equally long
    found, counts = np.unique(steps, return_counts=True)
    usual = found[counts.argmax()]
    others = np.flatnonzero(steps != usual)
    more = f", and {len(others) - 1} more like that" if len(others) > 1 else ""
    raise ValueError(
        f"{who}: column '{time}': the steps are not regular: mostly {_step(usual)}, but {_step(steps[others[0]])} from "
        f"row {others[0] + 1} to row {others[0] + 2} ({text_of(moments[others[0] + 1])}){more}; "
        f"`every: {_offset(usual)}` resamples them to a grid, by the mean of each step"
    )


def _step(step: np.timedelta64 | np.float64) -> str:
    if not isinstance(step, np.timedelta64):
        return f"{float(step):g}"
    return str(pd.Timedelta(step)).removesuffix(" 00:00:00")


def _offset(step: np.timedelta64 | np.float64) -> str:
    if not isinstance(step, np.timedelta64):
        return f"{float(step):g}"
    seconds = int(step / np.timedelta64(1, "s"))
    sizes = {"D": 86400, "h": 3600, "min": 60}
    return next((f"{seconds // size}{unit}" for unit, size in sizes.items() if seconds % size == 0), f"{seconds}s")


def _resampled(values: Floats, moments: Moments, every: str, *, who: str) -> tuple[Floats, Moments]:
    """The mean of the values in each step, from its start up to the next one's; NaN if there are none."""
    try:
        if np.issubdtype(moments.dtype, np.datetime64):
            _check_steps((moments[-1] - moments[0]) / _duration(every), every, who=who)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # about the starts of months
                frame = pd.DataFrame(values, index=pd.DatetimeIndex(moments)).resample(every, origin="start").mean()
            return frame.to_numpy(copy=True), frame.index.to_numpy(dtype="datetime64[us]")
        step = float(every)
        if step <= 0:
            raise ValueError("it is not above 0")
    except ValueError as error:
        example = "7D, 1h, 15min or MS (months)" if np.issubdtype(moments.dtype, np.datetime64) else "1 or 0.5"
        raise ValueError(f"{who}: every '{every}' should be a step of time such as {example}: {error}") from error
    _check_steps(float(moments[-1] - moments[0]) / step, every, who=who)
    bins = np.floor((moments - moments[0]).astype(np.float64) / step + 1e-9).astype(np.int64)
    means = pd.DataFrame(values).groupby(bins).mean().reindex(np.arange(bins[-1] + 1))
    return means.to_numpy(copy=True), moments[0] + np.arange(bins[-1] + 1) * step


def _duration(every: str) -> np.timedelta64:
    """The length of the shortest step, such as 28 days for a month."""
    first = pd.Timestamp("2026-02-01")
    return (first + pd.tseries.frequencies.to_offset(every) - first).to_timedelta64()


def _check_steps(steps: float, every: str, *, who: str) -> None:
    if steps > MOST_STEPS:
        raise ValueError(f"{who}: every '{every}' makes {steps:.2g} steps of this file's times: take a longer one")
