"""Columns of a text file as numbers and times, with errors that name the row and column.

Rows are counted from 1, below the header.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.dates import compact_dates, dates, in_utc, wall_clock
from models.data.kinds import LARGEST, as_text, is_date
from models.data.missing_words import is_text, without_words
from models.data.numerals import MOSTLY, Numerals, plain_numbers, read_numbers
from models.data.text_file import read_text

Floats = NDArray[np.float64]
Moments = NDArray[Any]  # dates, datetime64[us], or numbers
USUAL = Numerals()


def check_file(path: str, *, who: str) -> Path:
    """The path of an existing file.

    Raises:
        ValueError: there is none; relative paths start from the current folder, in a study from the project folder.
    """
    found = Path(path)
    if not found.is_file():
        what = "this is not a file" if found.exists() else "there is no such file"
        place = "" if found.is_absolute() else f", seen from {Path.cwd()}"
        raise ValueError(f"{who}: {path}: {what}{place}")
    return found


def read_columns(path: str, *, who: str, **reading: str) -> pd.DataFrame:
    """The file's columns.

    Args:
        reading: separator, decimal and encoding, as in models.data.text_file:read_text.

    Raises:
        ValueError: it cannot be read, or has no rows.
    """
    frame = read_text(check_file(path, who=who), who=who, **reading)
    if not len(frame):
        raise ValueError(f"{who}: {path}: there are no rows below the header {', '.join(frame.columns)}")
    return frame


def check_columns(frame: pd.DataFrame, names: Sequence[str], *, who: str) -> None:
    """Check that the columns exist.

    Raises:
        ValueError: one does not; the message lists the columns.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"{who}: there is no column '{missing[0]}'; the columns are {', '.join(frame.columns)}")


def numbers(column: pd.Series[Any], *, who: str, numerals: Numerals = USUAL) -> Floats:
    """The column's values, NaN where a cell is empty, or NA and the like.

    Raises:
        ValueError: a cell holds text, or a number that is not finite.
    """
    column = without_words(column.to_frame()).iloc[:, 0]
    found = pd.to_numeric(column, errors="coerce")
    if is_text(column) and len(known := as_text(column).dropna()):
        found = read_numbers(known, numerals, who=who)
        found = (plain_numbers(known, numerals.decimal) if found.isna().all() else found).reindex(column.index)
    values = found.to_numpy(dtype=np.float64, copy=True)
    huge = np.abs(values) > LARGEST
    wrong = np.flatnonzero((np.isnan(values) & column.notna().to_numpy()) | huge)
    if len(wrong):
        more = f", and {len(wrong) - 1} more like that" if len(wrong) > 1 else ""
        problem = "is too large" if huge[wrong[0]] else "is not a number"
        cell = column.iloc[wrong[0]]
        raise ValueError(f"{who}: column '{column.name}', row {wrong[0] + 1}: '{cell}' {problem}{more}")
    return values


def times(column: pd.Series[Any], *, who: str, order: str = "auto", advice: str = "") -> Moments:
    """Points in time, dates or numbers, in the file's order; numbers such as 202401 and 20240131 are dates.

    Args:
        order, advice: of models.data.dates:dates.

    Raises:
        ValueError: a cell is empty, or neither a date nor a number.
    """
    column = without_words(column.to_frame()).iloc[:, 0]
    if column.isna().any():
        raise ValueError(f"{who}: column '{column.name}', row {int(column.isna().argmax()) + 1}: the time is missing")
    if is_date(column):  # of a data frame
        return in_utc(column).to_numpy(dtype="datetime64[us]")
    if pd.api.types.is_numeric_dtype(column):
        found = compact_dates(column)
        return numbers(column, who=who) if found is None else found.to_numpy(dtype="datetime64[us]")
    if pd.to_numeric(column, errors="coerce").notna().mean() >= MOSTLY:
        return numbers(column, who=who)  # whose error names the invalid cell
    texts = as_text(column)
    moments: Moments = dates(texts, who=who, order=order, advice=advice).to_numpy(dtype="datetime64[us]")
    clock = wall_clock(texts)
    return moments if clock is None else _steadier(moments, clock.to_numpy(dtype="datetime64[us]"))


def _steadier(moments: Moments, clock: Moments) -> Moments:
    """The times in UTC, or by the clock on the wall if its steps are alike and those in UTC are not, such as days."""
    if len(np.unique(clock)) < len(np.unique(moments)):  # set back, it shows an hour twice
        return moments
    return clock if _steadiness(clock) > _steadiness(moments) else moments


def _steadiness(moments: Moments) -> float:
    """The fraction of steps that are whole multiples of the most frequent one."""
    steps = np.diff(np.unique(moments)).astype(np.int64)
    if not len(steps):
        return 1.0
    found, counts = np.unique(steps, return_counts=True)
    return float((steps % found[counts.argmax()] == 0).mean())


def check_ascending(moments: Moments, name: str, *, who: str, rows: NDArray[np.int64] | None = None) -> None:
    """Check that the times are strictly ascending.

    Args:
        rows: the moments' row numbers from 0, if they are not all rows of the file.

    Raises:
        ValueError: they are not; the message has two rows and their times.
    """
    wrong = np.flatnonzero(moments[1:] <= moments[:-1])
    if not len(wrong):
        return
    first = int(wrong[0])
    earlier, later = (first, first + 1) if rows is None else (int(rows[first]), int(rows[first + 1]))
    where = f"{who}: column '{name}', row {later + 1}: {text_of(moments[first + 1])}"
    if moments[first + 1] == moments[first]:
        clock = ""
        if isinstance(moments[first], np.datetime64):
            clock = ". If a clock was set back there, write times with their offset from UTC: 2025-10-26T02:30+01:00"
        raise ValueError(f"{where} is also the time of row {earlier + 1}: keep one row per time{clock}")
    raise ValueError(f"{where} is before row {earlier + 1}, {text_of(moments[first])}: sort the rows by '{name}'")


def text_of(moment: Any) -> str:
    """A point in time as text."""
    if isinstance(moment, np.datetime64):
        return str(pd.Timestamp(moment)).removesuffix(" 00:00:00")
    return f"{float(moment):.12g}"
