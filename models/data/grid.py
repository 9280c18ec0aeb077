"""Steps of time: whether times are a regular step apart, and otherwise a grid of steps that the values are put on."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.timed_file import Floats, Moments, text_of

MOST_STEPS = 50_000_000  # with more, the step is a mistake
MOST_STEPS_TRIED = 100  # for each row, of a step that a message may suggest
# Times are rounded to the nearest step if at most this fraction of the rows then shares one with another.
MOST_JOINED = 0.05
_UNITS = {"1D": "D", "1h": "h", "1min": "min", "10s": "s", "1s": "s", "100ms": "ms", "10ms": "ms", "1ms": "ms"}


class _Tried(NamedTuple):
    every: str
    steps: int
    empty: int  # steps without a row
    joined: int  # rows that share a step with an earlier one

    def __str__(self) -> str:
        joined = f", and {self.joined} rows share a step with others, by their mean" if self.joined else ""
        fill = "; empty steps need {interpolation: linear} or {interpolation: previous}" if self.empty else ""
        return f"`every: {self.every}` makes {self.steps} steps, {self.empty} of them empty{joined}{fill}"


def is_regular(moments: Moments) -> bool:
    """Whether times are equally far apart, or by one calendar unit, such as months."""
    steps = np.diff(moments)
    if len(steps) < 2 or np.allclose(steps.astype(np.float64), steps[0].astype(np.float64), rtol=1e-6):
        return True
    if not _are_dates(moments):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about the type of its result, which does not matter here
        warnings.simplefilter("ignore", DeprecationWarning)
        return pd.infer_freq(pd.DatetimeIndex(moments)) is not None


def step_of(moments: Moments) -> str | float:
    """The step of regular times: the calendar's unit, such as MS, or else microseconds, or a number; 0 for one time."""
    steps = np.diff(moments).astype(np.float64)
    if not len(steps):
        return 0.0
    if np.allclose(steps, steps[0], rtol=1e-6):
        return float(steps[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        unit = pd.infer_freq(pd.DatetimeIndex(moments)) if _are_dates(moments) and len(moments) > 2 else None
    return unit or float(np.median(steps))


def following(last: Any, step: str | float, count: int) -> Moments:
    """The next times after the last one, in steps of `step_of`."""
    if isinstance(step, str):
        offset = pd.tseries.frequencies.to_offset(step)
        days = [pd.Timestamp(last) + offset * (ahead + 1) for ahead in range(count)]
        return np.array(days, dtype="datetime64[us]")
    ahead = np.arange(1, count + 1) * step
    moments: Moments = last + (ahead.round().astype("timedelta64[us]") if isinstance(last, np.datetime64) else ahead)
    return moments


def step_in_words(step: str | float, *, are_dates: bool) -> str:
    """A step of `step_of` for messages."""
    return (
        step if isinstance(step, str) else _step(np.timedelta64(round(step), "us") if are_dates else np.float64(step))
    )


def check_regular(moments: Moments, name: str, *, who: str, rows: NDArray[np.int64] | None = None) -> None:
    """Check that times are regular.

    Args:
        rows: their row numbers from 0, if they are not all rows of the file.

    Raises:
        ValueError: they are not; the message has the first irregular step, and the step of the best grid.
    """
    if is_regular(moments):
        return
    steps = np.diff(moments)
    found, counts = np.unique(steps, return_counts=True)
    usual = found[counts.argmax()]
    others = np.flatnonzero(steps != usual)
    first = int(others[0])
    more = f", and {len(others) - 1} more like that" if len(others) > 1 else ""
    earlier, later = (first, first + 1) if rows is None else (int(rows[first]), int(rows[first + 1]))
    best = _best_grid(moments)
    raise ValueError(
        f"{who}: column '{name}': the steps are not regular: mostly {_step(usual)}, but {_step(steps[first])} from "
        f"row {earlier + 1} to row {later + 1} ({text_of(moments[first + 1])}){more}{'; ' if best else ''}{best or ''}"
    )


def on_grid(values: Floats, moments: Moments, every: str, *, who: str) -> tuple[Floats, Moments]:
    """The mean of the values in each step, NaN if there are none.

    Times are rounded to the nearest step if that joins hardly any rows; otherwise a step extends from its start up to
    the next one's.

    Args:
        every: a step such as 7D, 1h or MS; a number for times that are numbers.

    Raises:
        ValueError: it is no step, or makes too many.
    """
    try:
        step = _length(every) if _are_dates(moments) else float(every)
        if not _are_dates(moments) and step <= 0:
            raise ValueError("it is not above 0")
    except ValueError as error:
        example = "7D, 1h, 15min or MS (months)" if _are_dates(moments) else "1 or 0.5"
        raise ValueError(f"{who}: every '{every}' should be a step of time such as {example}: {error}") from error
    count = float((moments[-1] - moments[0]) / step)
    if count > MOST_STEPS:
        raise ValueError(f"{who}: every '{every}' makes {count:.2g} steps of this file's times: take a longer one")
    if _are_dates(moments) and not _is_fixed(every):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # about the starts of months
            frame = pd.DataFrame(values, index=pd.DatetimeIndex(moments)).resample(every).mean()
        return frame.to_numpy(copy=True), frame.index.to_numpy(dtype="datetime64[us]")
    origin, bins = _bins(moments, step)
    means = pd.DataFrame(values).groupby(bins).mean().reindex(np.arange(bins[-1] + 1))
    return means.to_numpy(copy=True), origin + np.arange(bins[-1] + 1) * step


def _bins(moments: Moments, step: Any) -> tuple[Any, NDArray[np.int64]]:
    """The time of the first step, and each row's step from 0."""
    places = ((moments - moments[0]) / step).astype(np.float64)
    shift = float(np.median(places - np.round(places)))
    nearest = np.round(places - shift).astype(np.int64)
    if len(np.unique(nearest)) < (1 - MOST_JOINED) * len(nearest):
        return moments[0], np.floor(places + 1e-9).astype(np.int64)
    middle = moments[0] + (shift + nearest[0]) * step
    nearest -= nearest[0]
    jitter = np.abs(moments - (middle + nearest * step)).max()
    return _rounded(moments[0], middle, jitter, step), nearest


def _rounded(first: Any, middle: Any, jitter: Any, step: Any) -> Any:
    """The first time, rounded to the largest unit that leaves it as near to its step as the rows are."""
    if not isinstance(first, np.datetime64):
        near = np.round(first / step) * step
        return near if abs(near - middle) <= 2 * jitter else first
    rounded = (pd.Timestamp(first).round(unit).to_datetime64().astype("datetime64[us]") for unit in _UNITS)
    return next((near for near in rounded if abs(near - middle) <= 2 * jitter), first)


def _best_grid(moments: Moments) -> _Tried | None:
    """The grid with the fewest empty steps and joined rows."""
    tried = []
    for every in _candidates(moments):
        step = _length(every) if _are_dates(moments) else float(every)
        if (moments[-1] - moments[0]) / step > MOST_STEPS_TRIED * len(moments):
            continue
        values, _ = on_grid(np.zeros((len(moments), 1)), moments, every, who="")
        empty = int(np.isnan(values).sum())
        tried.append(_Tried(every, len(values), empty, len(moments) - (len(values) - empty)))
    return min(tried, key=lambda grid: grid.empty + grid.joined) if tried else None


def _candidates(moments: Moments) -> list[str]:
    steps = np.diff(moments)
    found, counts = np.unique(steps, return_counts=True)
    median, span = np.median(steps.astype(np.float64)), float((moments[-1] - moments[0]).astype(np.float64))
    mean = span / max(round(span / median), 1) if median > 0 else median  # of a step, were there no gaps
    typical = (mean, found[counts.argmax()].astype(np.float64), steps.min().astype(np.float64))
    if not _are_dates(moments):
        rounded = [float(f"{step:.{digits}g}") for digits in (1, 2, 3) for step in (median, mean)]
        return [f"{step:.10g}" for step in (*rounded, median, *typical) if step > 0]
    fixed = [_multiple(step, size) for step in typical for size in _UNITS]
    return list(dict.fromkeys([*_calendar(pd.DatetimeIndex(moments), median / 86_400e6), *filter(None, fixed)]))


def _multiple(microseconds: float, size: str) -> str:
    """A step as the nearest multiple of a unit of time; empty if that is 0."""
    unit = _UNITS[size]
    count = round(microseconds / (pd.Timedelta(size) / pd.Timedelta("1us")))
    return f"{count * int(size.removesuffix(unit))}{unit}" if count else ""


def _calendar(days: pd.DatetimeIndex, step: float) -> list[str]:
    """The calendar's units that are about so many days long."""
    month = days[0].strftime("%b").upper()
    if 27 <= step <= 32:
        return ["ME"] if days.is_month_end.all() else ["MS"]
    if 88 <= step <= 94:
        return [f"QS-{month}"]
    if 363 <= step <= 368:
        return [f"YS-{month}"]
    return ["B"] if step == 1 and (days.day_of_week < 5).all() else []


def _length(every: str) -> np.timedelta64:
    """The length of the shortest step, such as 28 days for a month."""
    first = pd.Timestamp("2026-02-01")
    length = first + pd.tseries.frequencies.to_offset(every) - first
    return np.timedelta64(round(length / pd.Timedelta("1us")), "us")


def _is_fixed(every: str) -> bool:
    return isinstance(pd.tseries.frequencies.to_offset(every), pd.offsets.Tick | pd.offsets.Day)


def _are_dates(moments: Moments) -> bool:
    return bool(np.issubdtype(moments.dtype, np.datetime64))


def _step(step: np.timedelta64 | np.float64) -> str:
    if not isinstance(step, np.timedelta64):
        return f"{float(step):.12g}"
    return str(pd.Timedelta(step)).removesuffix(" 00:00:00")
