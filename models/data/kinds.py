"""The kinds of a table's columns: numbers, dates or categories, each converted to one type."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_float_dtype, is_numeric_dtype

# A column of text with at least this fraction of numbers is a column of numbers with mistakes.
MOSTLY = 0.5
# Orders of day, month and year, tried for the whole column after that of ISO 8601.
DATE_FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
TIME_FORMATS = ("", " %H:%M", " %H:%M:%S")
# Larger numbers are infinite in single precision, in which networks compute.
LARGEST = float(np.finfo(np.float32).max)
_LOOKS_LIKE_DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{4}"
_DECIMAL_COMMA = r"[-+]?\d+,\d+"


def typed(table: pd.DataFrame, *, categorical: Collection[str] = ()) -> pd.DataFrame:
    """The same table with float64, datetime64[us] or string columns; NaN, NaT or NaN where there is no value.

    Yes and no become 1 and 0. Infinite numbers, and those beyond 3.4e38, count as missing, with a warning. Times are
    converted to UTC.

    Args:
        categorical: columns that are always categories.

    Raises:
        ValueError: there is text among numbers, or dates are ambiguous.
    """
    plain = [name for name, dtype in table.dtypes.items() if is_numeric_dtype(dtype) and name not in categorical]
    # also of booleans; through an array, so that pandas has one block of numbers and not one a column
    numbers = _finite(pd.DataFrame(table[plain].to_numpy("float64", na_value=np.nan), table.index, plain))
    others = {
        name: as_text(table[name]) if name in categorical else _typed(table[name])
        for name in table.columns
        if name not in plain
    }
    return pd.concat([numbers, pd.DataFrame(others)], axis=1)[list(table.columns)] if others else numbers


def columns_of(frame: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The names of a typed frame's columns: numbers, dates, categories."""
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name, dtype in frame.dtypes.items():
        found[0 if is_float_dtype(dtype) else 1 if is_datetime64_any_dtype(dtype) else 2].append(str(name))
    return found


def is_date(values: pd.Series) -> bool:
    """Whether a column that has been read holds dates."""
    return is_datetime64_any_dtype(values.dtype)


def is_number(values: pd.Series) -> bool:
    """Whether a column that has been read holds numbers."""
    return is_float_dtype(values.dtype)


def as_text(values: pd.Series) -> pd.Series:
    """Strings, whole numbers without a point."""
    known = values.dropna()
    if is_numeric_dtype(known) and not is_bool_dtype(known):
        known = known.map(lambda value: f"{value:.15g}")
    return known.astype(str).str.strip().reindex(values.index).astype(object)


def _typed(values: pd.Series) -> pd.Series:
    if is_date(values):
        return _in_utc(values)
    known = as_text(values).dropna()
    if not len(known):
        return pd.Series(np.nan, index=values.index, dtype="float64", name=values.name)
    if set(known) <= {"True", "False"}:  # pandas leaves them as objects if there are missing values
        return (known == "True").astype("float64").reindex(values.index)
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.notna().all():
        return _finite(numbers.astype("float64").reindex(values.index).to_frame()).iloc[:, 0]
    if numbers.notna().mean() >= MOSTLY:
        wrong = known[numbers.isna()]
        raise ValueError(
            text_among_numbers(wrong, "column", f"or declare the column as categories, {{categorical: {values.name}}}")
        )
    if known.str.fullmatch(_DECIMAL_COMMA).all():
        raise ValueError(
            f"Table: column '{values.name}' has decimal commas, such as '{known.iloc[0]}': give {{decimal: \",\"}}"
        )
    if known.str.fullmatch(_LOOKS_LIKE_DATE).mean() >= MOSTLY:
        return dates(known, who="Table", advice=f"or leave the column out, {{ignore: {values.name}}}").reindex(
            values.index
        )
    return known.reindex(values.index).astype(object)


def _finite(numbers: pd.DataFrame) -> pd.DataFrame:
    infinite = np.abs(numbers.to_numpy()) > LARGEST
    for name, count in zip(numbers.columns, infinite.sum(axis=0).tolist(), strict=True):
        if count:
            warnings.warn(
                f"Table: column '{name}' has {_times(count, 'infinite value')}: treated as missing", stacklevel=2
            )
    return numbers.mask(infinite) if infinite.any() else numbers


def text_among_numbers(wrong: pd.Series, what: str, advice: str) -> str:
    """A message that a column holds numbers except for these cells, with the possible remedies."""
    row, value = wrong.index[0], wrong.iloc[0]
    others = f", and {_times(len(wrong) - 1, 'more such value')}" if len(wrong) > 1 else ""
    return (
        f"Table: {what} '{wrong.name}' holds numbers, but '{value}' in row {row + 1}{others}. Correct it; or declare "
        f'it as a missing value, {{missing_values: "?,{value}"}}; {advice}'
    )


def dates(known: pd.Series, *, who: str, advice: str = "") -> pd.Series:
    """Texts as dates, in the only order of day, month and year that fits all of them.

    Raises:
        ValueError: one is not a date, or two orders fit; the message begins with `who`.
    """
    try:
        return _in_utc(pd.to_datetime(known, format="ISO8601", utc=True))
    except ValueError:
        pass
    readings = [
        pd.to_datetime(known, format=order + time, errors="coerce") for order in DATE_FORMATS for time in TIME_FORMATS
    ]
    whole = [reading for reading in readings if reading.notna().all()]
    if len(whole) == 1 or (whole and whole[0].equals(whole[1])):
        return _in_utc(whole[0])
    if whole:
        raise ValueError(
            f"{who}: column '{known.name}' is ambiguous: '{known.iloc[0]}' and all others may have the day or the "
            f"month first. Write them like 2025-12-31{advice and ', '}{advice}"
        )
    best = max(readings, key=lambda reading: int(reading.notna().sum()))
    wrong = known[best.isna()]
    iso = pd.to_datetime(known, format="ISO8601", errors="coerce", utc=True)
    if iso.notna().sum() >= best.notna().sum():
        wrong = known[iso.isna()]
    raise ValueError(
        f"{who}: column '{known.name}' holds dates, but '{wrong.iloc[0]}' in row {wrong.index[0] + 1} is not a date"
        + (f", and {_times(len(wrong) - 1, 'more such value')}" if len(wrong) > 1 else "")
    )


def _in_utc(values: pd.Series) -> pd.Series:
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.astype("datetime64[us]")


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
