"""Converts typed columns to a network's inputs: fitted on training rows, applied to any rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from models.data.date_numbers import clock_numbers, date_numbers
from models.data.dates import CLOCK_DAY
from models.data.kinds import LARGEST, columns_of
from models.data.scaling import Scaling, fit_scaling
from models.data.text_file import listed

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

UNKNOWN = 0  # the number of a category that is not in the training rows
NO_VALUE = "(missing)"  # treated as a category
OFTEN = 2  # rarer categories are also unknown, so that the embedding of unknown categories is trained
NAMED = 3  # columns whose reasons an error gives


class Columns:
    """The statistics of each column, from `fit`; `numbers` and `categories` apply them.

    A number is filled in where it is missing, and scaled. A date becomes six numbers: year, month, weekday (Monday is
    0), sine and cosine of the day of the year, days since the first date of training; with times, also sine and cosine
    of the hour. A time without a date becomes its hour, and sine and cosine of it. A category becomes a class number
    from 1, or, one_hot, a number 1 in one of so many columns; all of them 0 and class number 0 mean a category that
    occurs less than twice in training. A missing category is a category.

    Args:
        missing: the value for missing numbers: the mean or the median of training; "indicator" uses the median, and
            adds a column that is 1 for missing numbers.
        categories: "embedding" keeps class numbers, "one_hot" converts them to numbers.
        drop_constant: leave out columns with a single value.
        most_correlation: leave out a number whose absolute correlation with an earlier one is above this.
    """

    def __init__(
        self,
        *,
        missing: str = "median",
        scaling: str = "standard",
        categories: str = "embedding",
        drop_constant: bool = True,
        most_correlation: float = 1.0,
    ) -> None:
        self._missing = missing
        self._scaling = scaling
        self._is_one_hot = categories == "one_hot"
        self._drop_constant = drop_constant
        self._most_correlation = most_correlation

    def fit(self, train: pd.DataFrame, used: Sequence[str]) -> Columns:
        """Learn from these rows, in which each of the used columns has a value somewhere."""
        self._numeric, self._dates, texts = columns_of(train[list(used)])
        self._first = {name: train[name].min() for name in self._dates}
        self._with_time = {name for name in self._dates if _has_times(train[name].dropna())}
        self._without_date = {name for name in self._dates if (train[name].dropna().dt.normalize() == CLOCK_DAY).all()}
        self._known = {name: _frequent(train[name]) for name in texts}
        raw, names = self._raw(train)
        strategy = "mean" if self._missing == "mean" else "median"
        imputer = SimpleImputer(strategy=strategy, keep_empty_features=True)
        self._fill = imputer.fit(raw).statistics_ if names else np.empty(0)
        filled = self._filled(raw)
        self._kept = self._informative(filled)
        kind = self._scaling if len(self._kept) else "none"
        self._scale, self._learnt = fit_scaling(kind, filled[:, self._kept])
        self._yes_and_no = [name for name in self._numeric if train[name].dropna().isin((0, 1)).all()]
        self._incomplete = [
            name for name in (*self._numeric, *self._dates) if self._missing == "indicator" and train[name].hasnans
        ]
        self.names = self._named(names)
        return self

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Columns:
        """The columns as they were fitted, from what `state` gave."""
        columns = cls(categories="one_hot" if state["one_hot"] else "embedding")
        columns._numeric = list(state["numbers"])
        columns._yes_and_no = list(state["yes_and_no"])
        columns._dates = [date["name"] for date in state["dates"]]
        columns._first = {date["name"]: pd.Timestamp(date["first"]) for date in state["dates"]}
        columns._with_time = {date["name"] for date in state["dates"] if date["with_time"]}
        columns._without_date = {date["name"] for date in state["dates"] if date["is_clock"]}
        columns._known = {each["name"]: list(each["values"]) for each in state["categories"]}
        columns._fill, columns._kept = state["fill"], state["kept"]
        columns._scale = Scaling(state["scaling"]["kind"], state["scaling"]["arrays"])
        columns._incomplete = list(state["incomplete"])
        columns.names = tuple(state["names"])
        return columns

    def state(self) -> dict[str, Any]:
        """All that `numbers` and `categories` depend on: arrays and plain values, described in models.data.new_data."""
        return {
            "numbers": self._numeric,
            "yes_and_no": self._yes_and_no,
            "dates": [
                {
                    "name": name,
                    "first": str(self._first[name]),
                    "with_time": name in self._with_time,
                    "is_clock": name in self._without_date,
                }
                for name in self._dates
            ],
            "categories": [{"name": name, "values": values} for name, values in self._known.items()],
            "one_hot": self._is_one_hot,
            "fill": self._fill,
            "kept": self._kept,
            "scaling": {"kind": self._scale.kind, "arrays": dict(self._scale.arrays)},
            "incomplete": self._incomplete,
            "names": list(self.names),
        }

    def fitted(self) -> dict[str, Any]:
        """Everything that was learnt, by names for messages: arrays, and plain values."""
        return {
            "columns": [list(self.names), list(self._known), self._incomplete],
            "values for missing numbers": self._fill,
            "scalings": self._learnt,
            "first dates": [str(first) for first in self._first.values()],
            "categories": self._known,
        }

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of values of each column of categories, including unknown."""
        return () if self._is_one_hot else tuple(len(values) + 1 for values in self._known.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """The column that each of `names`, and then each of `category_names`, was made of."""
        kept = self.names[: len(self._kept)]
        dated = [
            max((date for date in self._dates if name.startswith(f"{date} ")), key=len, default=name) for name in kept
        ]
        numbers = [name if name in self._numeric else date for name, date in zip(kept, dated, strict=True)]
        one_hot = [name for name, values in self._known.items() for _ in values if self._is_one_hot]
        return (*numbers, *self._incomplete, *one_hot, *self.category_names)

    @property
    def category_names(self) -> tuple[str, ...]:
        """The names of the columns of categories."""
        return () if self._is_one_hot else tuple(self._known)

    def numbers(self, frame: pd.DataFrame) -> Floats:
        """(rows, names)"""
        raw, _ = self._raw(frame)
        scaled = self._scale(self._filled(raw)[:, self._kept])
        parts = [scaled, *(frame[name].isna().to_numpy()[:, None] for name in self._incomplete)]
        if self._is_one_hot:
            codes = self._codes(frame)
            parts += [codes[:, [i]] == np.arange(1, len(known) + 1) for i, known in enumerate(self._known.values())]
        return np.hstack(parts, dtype=np.float64).clip(-LARGEST, LARGEST).astype(np.float32)

    def categories(self, frame: pd.DataFrame) -> Ints:
        """(rows, cardinalities)"""
        return self._codes(frame) if not self._is_one_hot else np.zeros((len(frame), 0), dtype=np.int64)

    def _raw(self, frame: pd.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
        """Numbers and dates as numbers (rows, names), with NaN where they are missing."""
        parts = [frame[self._numeric].to_numpy(dtype=np.float64)]
        names = list(self._numeric)
        for name in self._dates:
            found = date_numbers(frame[name], self._first[name], with_time=name in self._with_time)
            if name in self._without_date:
                found = clock_numbers(frame[name])
            parts.append(np.column_stack(list(found.values())))
            names += [f"{name} {part}" for part in found]
        return np.hstack(parts), names

    def _filled(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isnan(raw), self._fill, raw)

    def _named(self, raw_names: Sequence[str]) -> tuple[str, ...]:
        one_hot = [f"{name} is {value}" for name, values in self._known.items() for value in values if self._is_one_hot]
        return (*(raw_names[i] for i in self._kept), *(f"no {name}" for name in self._incomplete), *one_hot)

    def _codes(self, frame: pd.DataFrame) -> Ints:
        codes = [
            pd.Index(known, dtype=object).get_indexer(pd.Index(frame[name].fillna(NO_VALUE))).astype(np.int64) + 1
            for name, known in self._known.items()
        ]
        return np.column_stack(codes) if codes else np.zeros((len(frame), 0), dtype=np.int64)

    def _informative(self, filled: NDArray[np.float64]) -> Ints:
        """The columns that are neither constant nor nearly equal to an earlier one."""
        kept = np.arange(filled.shape[1])
        if self._drop_constant:
            kept = kept[np.ptp(filled, axis=0) > 0]
        if self._most_correlation >= 1 or len(kept) < 2:
            return kept
        with np.errstate(invalid="ignore"):  # a constant column correlates with nothing
            likeness = np.nan_to_num(np.abs(np.corrcoef(filled[:, kept], rowvar=False)))
        chosen: list[int] = []
        for column in range(len(kept)):
            if not (likeness[column, chosen] > self._most_correlation).any():
                chosen.append(column)
        return kept[chosen]


def usable(train: pd.DataFrame, *, drop_constant: bool, most_categories: int, missing: str = "median") -> list[str]:
    """The columns that are usable for training; warns of the others, but for those with one value in every row.

    Args:
        missing: as in Columns.

    Raises:
        ValueError: none is.
    """
    reasons = _reasons_against(train, drop_constant=drop_constant, most_categories=most_categories, missing=missing)
    said = [f"column '{name}' is left out: {reason}" for name, reason in reasons.items() if reason]
    if len(reasons) == len(train.columns):
        why = f": {'; '.join(said[:NAMED])}{'; ...' * (len(said) > NAMED)}" if said else ""
        raise ValueError(f"Table: no column is left to learn from of {listed(train)}{why}")
    for text in said:
        warnings.warn(f"Table: {text}", stacklevel=2)
    return [str(name) for name in train.columns if name not in reasons]


def _reasons_against(train: pd.DataFrame, *, drop_constant: bool, most_categories: int, missing: str) -> dict[Any, str]:
    """Why columns are not usable; empty for those with one value in every row."""
    numeric, dates, texts = columns_of(train)
    values = train[numeric].to_numpy()
    extremes = zip(numeric, np.fmin.reduce(values), np.fmax.reduce(values), strict=True)
    different = {name: 0 if np.isnan(low) else 1 + int(low < high) for name, low, high in extremes}  # 2: or more
    different |= {name: train[name].nunique() for name in (*dates, *texts)}
    is_incomplete = train.isna().any()
    reasons = {}
    for name in train.columns:
        is_one_value = different[name] == 1 and drop_constant
        if different[name] == 0:
            reasons[name] = "it has no value in the training part"
        elif name in texts and not _frequent(train[name]):
            reasons[name] = (
                f"none of its {different[name]} different texts is in two rows of the training part, so each would be "
                f"an unknown category, such as '{train[name].dropna().iloc[0]}'. If these are numbers or dates, write "
                "them plainly, like 1200.5 or 2025-12-31"
            )
        elif name in texts and different[name] > most_categories:
            reasons[name] = (
                f"it has {different[name]} different texts in {len(train)} rows, like names. To learn from it, give "
                f"{{most_categories: {different[name]}}}"
            )
        elif is_one_value and not is_incomplete[name]:
            reasons[name] = ""
        elif is_one_value and name not in texts and missing != "indicator":
            reasons[name] = (
                "it has a single value or none in the training part. To learn from where it is missing, give "
                "{missing: indicator}"
            )
    return reasons


def _has_times(dates: pd.Series) -> bool:
    return bool((dates != dates.dt.normalize()).any())


def _frequent(values: pd.Series) -> list[str]:
    counts = values.fillna(NO_VALUE).value_counts()
    return sorted(counts[counts >= OFTEN].index)
