"""Where points in time are in the cycles of the calendar: the hour in its day, the day in its week, in its year.

Of NumPy alone, since it becomes a part of an exported model's predict.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DAY = np.timedelta64(1, "D")
NAMES = ("hour", "weekday", "monthday", "yearday", "month")
# Days of each cycle, and of the longest step that tells its places apart. Longer steps have the month for the yearday.
AUTO = {"hour": (1, 0.5), "weekday": (7, 3.5), "yearday": (365.25, 20), "month": (365.25, 95)}
MONDAY = 3  # days from a Monday to 1970-01-01
LEAST_CYCLES = 2  # of the training part, or a model would take the place in a cycle for the time since its start


def calendar_of(chosen: str, moments: Any, *, who: str) -> tuple[str, ...]:
    """The cycles that are chosen: none, or auto, or some of NAMES, comma separated.

    Args:
        moments: of the training part; auto takes the cycles that its steps tell apart, if it has two of them at least.

    Raises:
        ValueError: a name is unknown, or the times are no dates; the message begins with `who`.
    """
    names = tuple(name.strip() for name in chosen.split(",") if name.strip())
    are_dates = moments.dtype.kind == "M"
    if names in ((), ("none",)) or (names == ("auto",) and (not are_dates or len(moments) < 2)):
        return ()
    if names == ("auto",):
        step = float(np.median(np.diff(moments)) / DAY)
        span = float((moments[-1] - moments[0]) / DAY) + step
        fitting = [name for name, (days, most) in AUTO.items() if step <= most and span >= LEAST_CYCLES * days]
        return tuple(name for name in fitting if name != "month" or "yearday" not in fitting)
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"{who}: calendar '{unknown[0]}' should be none, auto, or some of {', '.join(NAMES)}")
    if not are_dates:
        raise ValueError(f"{who}: calendar '{chosen}' needs dates, and the times of this file are numbers")
    return names


def calendar_columns(moments: Any, names: Sequence[str]) -> Any:
    """Sine and cosine of each cycle at each moment: (..., 2 * names), from -1 to 1.

    Args:
        moments: datetime64 (...,), or numbers where there are no names.
    """
    if not names:
        return np.empty((*moments.shape, 0))
    angles = 2 * np.pi * np.stack([_place(moments, name) for name in names], axis=-1)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*moments.shape, 2 * len(names))


def calendar_names(names: Sequence[str]) -> tuple[str, ...]:
    """Of the columns."""
    return tuple(f"{name} ({function})" for name in names for function in ("sine", "cosine"))


def holiday_columns(moments: Any, days: Any, step: float) -> Any:
    """Whether each moment's day is a holiday, and whether that of the moment one step later is: (..., 2), 0 or 1.

    Args:
        moments: datetime64 (...,).
        days: of the holidays, in days since 1970; without any, there are no columns.
        step: from one moment to the next, in days.
    """
    if not len(days):
        return np.empty((*moments.shape, 0))
    later = moments + np.timedelta64(round(step * 86_400_000_000), "us")
    found = [np.isin(when.astype("datetime64[D]").astype(np.int64), days) for when in (moments, later)]
    return np.stack(found, axis=-1).astype(np.float64)


def known_columns(moments: Any, state: Mapping[str, Any]) -> list[Any]:
    """The columns of the calendar and of holidays, by what a Series has fitted; of earlier releases without either."""
    days, step = state.get("holidays", ()), state.get("days of a step", 0.0)
    return [calendar_columns(moments, state.get("calendar", ())), holiday_columns(moments, days, step)]


def _place(moments: Any, name: str) -> Any:
    """The place in a cycle, from 0 to 1."""
    days = moments.astype("datetime64[D]")
    match name:
        case "hour":
            return (moments - days) / DAY
        case "weekday":
            return (days.astype(np.int64) + MONDAY) % 7 / 7
        case "month":
            return moments.astype("datetime64[M]").astype(np.int64) % 12 / 12
    unit = "datetime64[M]" if name == "monthday" else "datetime64[Y]"
    first, after = (start.astype("datetime64[D]") for start in (moments.astype(unit), moments.astype(unit) + 1))
    return (days - first) / (after - first)
