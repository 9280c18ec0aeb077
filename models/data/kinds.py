"""The kinds of a table's columns: numbers, dates or categories, each converted to one type."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_datetime64_any_dtype,
    is_float_dtype,
    is_integer_dtype,
    is_numeric_dtype,
)

from models.data.dates import ADVICE, dates, in_utc, look_like_dates, look_like_times, times_of_day
from models.data.numerals import MOSTLY, Numerals, read_numbers
from models.data.standalone.words import YES_AND_NO
from models.data.text_file import by_text

# Larger numbers are infinite in single precision, in which networks compute.
LARGEST = float(np.finfo(np.float32).max)
# A double-precision number distinguishes whole numbers up to here, and identifiers may be longer.
LARGEST_EXACT = 2**53
_LEADING_ZERO = r"[-+]?0\d+(\.0*)?"
MOST_SPELLINGS = 30  # of words for yes and no: small, with a capital, in capitals


@dataclass(frozen=True)
class Writing:
    """How numbers and dates are written in a file.

    Attributes:
        numerals: of models.data.numerals.
        date_order: of models.data.dates:dates.
    """

    numerals: Numerals = field(default_factory=Numerals)
    date_order: str = "auto"


USUAL = Writing()


def typed(
    table: pd.DataFrame,
    *,
    categorical: Collection[str] = (),
    writing: Writing = USUAL,
    has_words: bool = True,
) -> pd.DataFrame:
    """The same table with float64, datetime64[us] or string columns; NaN, NaT or NaN where there is no value.

    Yes and no become 1 and 0, in common languages. Infinite numbers, and those beyond 3.4e38, count as missing, with a
    warning. Times are converted to UTC; those without a date are times on the day CLOCK_DAY of models.data.dates.
    Whole numbers of more than 15 digits are names of categories, with a warning.

    Args:
        categorical: columns that are always categories.
        has_words: words for yes and no are numbers; otherwise only true and false are.

    Raises:
        ValueError: there is text among numbers, or numbers or dates are ambiguous.
    """
    plain = [name for name, dtype in table.dtypes.items() if is_numeric_dtype(dtype) and name not in categorical]
    plain = [name for name in plain if not _is_too_long(table[name])]
    # also of booleans; through an array, so that pandas has one block of numbers and not one a column
    numbers = _finite(pd.DataFrame(table[plain].to_numpy("float64", na_value=np.nan), table.index, plain))
    others = {
        name: as_text(table[name]) if name in categorical else _typed(table[name], writing, has_words=has_words)
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
    """Strings; whole numbers without a point and with all their digits."""
    known = values.dropna()
    if is_numeric_dtype(known) and not is_bool_dtype(known):
        known = known.map(_digits)
    texts = by_text(known, lambda different: different.astype(str).str.strip()) if len(known) else known
    return texts.reindex(values.index).astype(object)


def _digits(value: Any) -> str:
    is_whole_float = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT
    return str(int(value)) if is_whole_float else f"{value}"


def _is_too_long(values: pd.Series) -> bool:
    return is_integer_dtype(values.dtype) and bool((values.abs() > LARGEST_EXACT).any())


def _typed(values: pd.Series, writing: Writing, *, has_words: bool) -> pd.Series:
    if is_date(values):
        return in_utc(values)
    known = as_text(values).dropna()
    if not len(known):
        return pd.Series(np.nan, index=values.index, dtype="float64", name=values.name)
    if (truth := _truth(known)) is not None and (has_words or set(known.str.casefold()) <= {"true", "false"}):
        return truth.reindex(values.index)
    declared = f"{{categorical: {values.name}}}"
    numbers = read_numbers(known, writing.numerals, who="Table", names=f"if they are names, give {declared}")
    if numbers.notna().all():
        return _numbers_or_names(known, numbers, declared).reindex(values.index)
    if numbers.notna().any():
        wrong = known[numbers.isna()]
        raise ValueError(text_among_numbers(wrong, "column", f"or declare the column as categories, {declared}"))
    if look_like_times(known).mean() >= MOSTLY:
        return times_of_day(known, who="Table", remedy=_as_missing).reindex(values.index)
    if look_like_dates(known).mean() >= MOSTLY:
        advice = f"{ADVICE}; or leave the column out, {{ignore: {values.name}}}"
        return dates(known, who="Table", order=writing.date_order, advice=advice, remedy=_as_missing).reindex(
            values.index
        )
    return known.reindex(values.index).astype(object)


def _truth(known: pd.Series) -> pd.Series | None:
    """1 for words such as yes and 0 for those such as no; None if a text is neither, or all mean the same."""
    different = known.unique()
    if len(different) > MOST_SPELLINGS:
        return None
    words = {str(text).casefold() for text in different}
    for yes, no in YES_AND_NO:
        positive, negative = set(yes.split()), set(no.split())
        if words <= positive | negative and ((words & positive and words & negative) or words <= {"true", "false"}):
            meaning = dict.fromkeys(positive, 1.0) | dict.fromkeys(negative, 0.0)
            return known.str.casefold().map(meaning).astype("float64")
    return None


def words_as_numbers(known: pd.Series) -> pd.Series:
    """1 for a word for yes and 0 for one for no, in any of the languages; NaN for another text."""
    meaning = {word: 1.0 for yes, _ in YES_AND_NO for word in yes.split()}
    meaning |= {word: 0.0 for _, no in YES_AND_NO for word in no.split()}
    return known.str.casefold().map(meaning).astype("float64")


def _as_missing(text: str) -> str:
    return f'. Correct it; or declare it as a missing value, {{missing_values: "?,{text}"}}'


def _numbers_or_names(known: pd.Series, numbers: pd.Series, declared: str) -> pd.Series:
    """Of a column whose texts are all numbers: the numbers, or its texts if numbers would not keep them apart."""
    if (numbers.abs() > LARGEST_EXACT).any() and known.str.fullmatch(r"[-+]?\d+").all():
        warnings.warn(
            f"Table: column '{known.name}' has whole numbers of more than 15 digits, such as '{known.iloc[0]}': read "
            "as names of categories",
            stacklevel=2,
        )
        return known
    zeros = known[known.str.fullmatch(_LEADING_ZERO).astype(bool)]
    if len(zeros):
        warnings.warn(
            f"Table: column '{known.name}' has leading zeros, such as '{zeros.iloc[0]}': read as numbers; if they are "
            f"names, give {declared}",
            stacklevel=2,
        )
    return _finite(numbers.to_frame()).iloc[:, 0]


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
        f"Table: {what} '{wrong.name}' holds numbers, but '{value}' in row {row + 1}{others}{_as_missing(value)}"
        f"{advice and '; '}{advice}"
    )


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
