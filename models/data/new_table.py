"""Reads rows of a new table as those of the training were read: the same columns, each of its kind.

What cannot be read counts as missing, and a category that the training part does not have is unknown. Whatever is odd
is counted and told.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from models.data.columns import NO_VALUE
from models.data.dates import in_utc, look_like_times, read_in_order, times_of_day
from models.data.kinds import LARGEST, as_text, is_date, words_as_numbers
from models.data.missing_words import without_words
from models.data.numerals import Numerals, plain_numbers, read_numbers
from models.data.sources import PARQUET, read_source
from models.data.standalone.words import WORDS
from models.data.table_file import with_names
from models.data.text_file import names_of, separator_of, suffix_of

SHOWN = 5


class NewTable(NamedTuple):
    """frame: the columns that the model learnt from, typed; rows: columns that name the rows."""

    frame: pd.DataFrame
    rows: dict[str, Any]
    remarks: list[str]


def read_new_table(source: Any, state: Mapping[str, Any]) -> NewTable:
    """The rows of a file or a data frame.

    Args:
        state: of models.data.table:Table, see models.data.new_data.

    Raises:
        ValueError: columns are missing, or a column is of another kind than in the training.
    """
    return _Reader(source, state).read()


class _Reader:
    def __init__(self, source: Any, state: Mapping[str, Any]) -> None:
        self._state, self._columns = state, state["columns"]
        self._dates = {date["name"]: date for date in self._columns["dates"]}
        self._values = {each["name"]: each["values"] for each in self._columns["categories"]}
        self._who = "Table" if isinstance(source, pd.DataFrame) else f"Table: {source}"
        self._remarks: list[str] = []
        self._table = self._as_read(source)
        self._writing(source)

    def read(self) -> NewTable:
        self._check_columns()
        needed = [*self._columns["numbers"], *self._dates, *self._values]
        table = without_words(self._table[needed], present=self._present)
        numbers = {name: self._numbers(table[name]) for name in self._columns["numbers"]}
        dates = {name: self._date(table[name]) for name in self._dates}
        texts = {name: self._category(table[name]) for name in self._values}
        empty = [name for name in needed if table[name].isna().all()]
        if empty:
            self._remarks.append(f"without a value in any row: {_quoted(empty)}")
        frame = pd.DataFrame(numbers | dates | texts, index=table.index)
        named = {name: self._table[name].to_numpy() for name in self._state["names_of_rows"] if name in self._table}
        return NewTable(frame, {"row": np.arange(1, len(frame) + 1), **named}, self._remarks)

    def _as_read(self, source: Any) -> pd.DataFrame:
        if isinstance(source, pd.DataFrame):
            table = source.reset_index(drop=True)
        elif isinstance(source, str | Path):
            reading = {
                name: self._state["reading"][name] for name in ("separator", "decimal", "encoding", "missing_values")
            }
            as_written = {*self._values, *self._state["names_of_rows"]}
            table = read_source(str(source), **reading, as_written=as_written)
        else:
            raise ValueError(f"Table: new data should be a file or a data frame, not {type(source).__name__}")
        table = with_names(table, "a data frame" if isinstance(source, pd.DataFrame) else str(source))
        if not len(table):
            raise ValueError(f"{self._who}: there are no rows")
        return table

    def _writing(self, source: Any) -> None:
        reading = self._state["reading"]
        path = Path(source) if isinstance(source, str | Path) else None
        marks_missing = path is None or suffix_of(path) in PARQUET  # a text is a value there
        self._present = sorted(WORDS) if marks_missing else names_of(reading["present_values"])
        separator = separator_of(path, reading["separator"]) if path else ","
        self._numerals = Numerals(reading["decimal"], reading["thousands"], separator)

    def _check_columns(self) -> None:
        """All columns of the training are there, or all that are not are named; what is not used is told."""
        has = [str(name) for name in self._table.columns]
        needed = [*self._columns["numbers"], *self._dates, *self._values]
        lacking = [name for name in needed if name not in has]
        extra = [name for name in has if name not in needed]
        if lacking:
            named = "; ".join(_with_hint(name, extra) for name in lacking)
            raise ValueError(
                f"{self._who} lacks {len(lacking)} of the {len(needed)} columns that the model learnt from: {named}. "
                f"It has {', '.join(has)}"
            )
        if targets := [name for name in self._state["target_names"] if name in extra]:
            self._remarks.append(f"the target is in the data and is not used: {_quoted(targets)}")
        known = {*self._state["target_names"], *self._state["names_of_rows"], *self._state["known"]}
        if strange := [name for name in extra if name not in known]:
            self._remarks.append(f"not known from the training, and not used: {_quoted(strange)}")

    def _numbers(self, column: pd.Series) -> pd.Series:
        if is_date(column):
            raise ValueError(f"{self._who}: column '{column.name}' holds dates; in the training it held numbers")
        if is_numeric_dtype(column.dtype):
            found = pd.Series(column.to_numpy("float64", na_value=np.nan), column.index, name=column.name)
        else:
            found = self._numbers_of_texts(column)
        infinite = found.abs() > LARGEST
        if infinite.any():
            self._tell_missing(column[infinite], len(column), "infinite")
        return found.mask(infinite)

    def _numbers_of_texts(self, column: pd.Series) -> pd.Series:
        known = as_text(column).dropna()
        found = plain_numbers(known, self._numerals.decimal)
        rest = known[found.isna()]
        if len(rest):
            others = read_numbers(rest, self._numerals, who=self._who)
            if column.name in self._columns["yes_and_no"]:
                others = others.fillna(words_as_numbers(rest))
            found = found.fillna(others)
        wrong = known[found.isna()]
        if len(wrong) and len(wrong) == len(known):
            raise ValueError(
                f"{self._who}: column '{column.name}' holds numbers in the training, and here texts, such as "
                f"'{wrong.iloc[0]}'"
            )
        self._tell_missing(wrong, len(column), "no numbers")
        return found.reindex(column.index)

    def _date(self, column: pd.Series) -> pd.Series:
        if is_date(column):
            return in_utc(column)
        known = as_text(column).dropna()
        if self._dates[column.name]["is_clock"]:
            is_time = look_like_times(known)
            found = times_of_day(known[is_time], who=self._who, remedy=lambda _: "") if is_time.any() else known[:0]
            wrong = known[~is_time]
        else:
            found = read_in_order(known, self._state["date_orders"].get(column.name, ""), who=self._who)
            wrong = known[found.isna()]
        kind = "times of the day" if self._dates[column.name]["is_clock"] else "dates"
        if len(wrong) and len(wrong) == len(known):
            raise ValueError(
                f"{self._who}: column '{column.name}' holds {kind} in the training, and here texts, such as "
                f"'{wrong.iloc[0]}'"
            )
        self._tell_missing(wrong, len(column), f"no {kind}")
        return pd.to_datetime(found.reindex(column.index)).astype("datetime64[us]")

    def _category(self, column: pd.Series) -> pd.Series:
        texts = as_text(column)
        counts = texts.fillna(NO_VALUE).value_counts()
        unseen = counts[~counts.index.isin(self._values[column.name])]
        if len(unseen):
            shown = ", ".join(f"'{value}' ({count:,})" for value, count in unseen.iloc[:SHOWN].items())
            more = f" and {len(unseen) - SHOWN:,} more" if len(unseen) > SHOWN else ""
            self._remarks.append(
                f"column '{column.name}': {unseen.sum():,} of {len(column):,} rows have a category that is not, or "
                f"only once, in the training part: {shown}{more}; the model takes them as unknown"
            )
        return texts

    def _tell_missing(self, wrong: pd.Series, rows: int, what: str) -> None:
        if len(wrong):
            first = f"'{wrong.iloc[0]}' in row {wrong.index[0] + 1:,}"
            count = f"{len(wrong):,} of {rows:,} values are {what}, such as {first}"
            self._remarks.append(f"column '{wrong.name}': {count}: treated as missing")


def _with_hint(name: str, extra: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(extra), n=1)
    return f"'{name}'" + (f" (did you mean '{close[0]}'?)" if close else "")


def _quoted(names: Iterable[str]) -> str:
    words = [f"'{name}'" for name in names]
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
