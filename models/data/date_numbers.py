"""Dates and times of the day as numbers that a network can learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.dates import CLOCK_DAY

Named = dict[str, NDArray[np.float64]]


def date_numbers(dates: pd.Series, first: pd.Timestamp, *, with_time: bool) -> Named:
    """Year, month, weekday (Monday is 0), sine and cosine of the day of the year, days since the first date.

    Args:
        with_time: also the sine and the cosine of the hour.
    """
    since = dates - first
    angle = 2 * np.pi * (dates.dt.day_of_year - 1) / 365.25
    found = {
        "year": dates.dt.year,
        "month": dates.dt.month,
        "weekday": dates.dt.day_of_week,
        "season sine": np.sin(angle),
        "season cosine": np.cos(angle),
        "days": since.dt.total_seconds() / 86_400,
    }
    if with_time:
        hour = 2 * np.pi * (dates.dt.hour + dates.dt.minute / 60) / 24
        found |= {"hour sine": np.sin(hour), "hour cosine": np.cos(hour)}
    return _rounded(found)


def clock_numbers(times: pd.Series) -> Named:
    """The hour, and its sine and cosine."""
    hours = (times - CLOCK_DAY).dt.total_seconds() / 3600
    angle = 2 * np.pi * hours / 24
    return _rounded({"hour": hours, "hour sine": np.sin(angle), "hour cosine": np.cos(angle)})


def _rounded(found: dict[str, Any]) -> Named:
    # since a cosine that is always 0 would seem to vary
    return {name: values.to_numpy(dtype=np.float64).round(9) for name, values in found.items()}
