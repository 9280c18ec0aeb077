"""Targets of a table: class numbers or values, from their columns."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from models.data.base import Task
from models.data.kinds import USUAL, Writing, as_text, is_date, is_number, text_among_numbers, typed
from models.data.missing_words import check_no_words, is_text, without_words
from models.data.numerals import plain_numbers, read_numbers
from models.data.text_file import has_more_digits

# Whole numbers are classes if there are at most so many different ones, else values.
MOST_NUMBERED_CLASSES = 20
TASKS = ("auto", "binary", "multiclass", "regression")


@dataclass(frozen=True)
class Target:
    """The targets of all rows that have one.

    Attributes:
        values: class numbers (rows,) int64, or values (rows, values) float64.
        class_names: in the order of their numbers: numbers by size, texts alphabetically.
        rows: the row numbers in the table; the others have no target.
    """

    task: Task
    values: NDArray[Any]
    class_names: tuple[str, ...]
    rows: NDArray[np.int64]


def read_target(
    columns: pd.DataFrame,
    task: str,
    *,
    writing: Writing = USUAL,
    present: Collection[str] = (),
    missing_values: str = "",
    where: str = "Table",
) -> Target:
    """The target in these columns, as written in the file; rows without one are left out, with a warning.

    Args:
        present: classes that are named like a missing value.
        missing_values: as given for the table, for messages.
        where: begins the message on such a class.

    Raises:
        ValueError: a column does not fit the task or is constant, a class has a single example, or may stand for a
            missing value.
    """
    if task not in TASKS:
        raise ValueError(f"Table: task '{task}' should be {', '.join(TASKS)}")
    named = _named(columns)
    values = without_words(columns)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        if task == "regression" or len(columns.columns) > 1:
            values = _as_numbers(values, writing)
        elif task == "auto" and not _are_names(values.iloc[:, 0]):
            values = _as_numbers(values, writing, advice="or declare them as classes, {task: multiclass}")
    found = _detected(values) if task == "auto" else task
    known = without_words(columns, present=present)
    if task == "auto" and found != "regression":
        found = _detected(known)
    if found != "regression" and len(columns.columns) > 1:
        raise ValueError(f"Table: several targets, {named}, need a regression, not a {found} task")
    if found == "regression":
        for warning in warned:  # classes keep their texts
            warnings.warn(warning.message, stacklevel=2)
        clean = typed(values, writing=writing, has_words=False)
    else:
        label = columns.iloc[:, 0]
        check_no_words(label, "class", title="the target", where=where, present=present, missing_values=missing_values)
        clean = _labels(known.iloc[:, 0], writing.numerals.decimal).to_frame()
    has_target = clean.notna().all(axis=1).to_numpy()
    if not has_target.any():
        raise ValueError(f"Table: no row has a value of the target {named}")
    if not has_target.all():
        missing = int((~has_target).sum())
        have = "has" if missing == 1 else "have"
        warnings.warn(f"Table: {missing} of {len(clean)} rows {have} no target, {named}: left out", stacklevel=2)
    clean, rows_kept = clean[has_target], np.flatnonzero(has_target)
    if found == "regression":
        return Target("regression", _values(clean), (), rows_kept)
    classes, class_names = _classes(clean.iloc[:, 0], found)
    return Target("binary" if found == "binary" else "multiclass", classes, class_names, rows_kept)


def _named(columns: pd.DataFrame) -> str:
    return ", ".join(f"'{name}'" for name in columns.columns)


def _detected(columns: pd.DataFrame) -> str:
    if len(columns.columns) > 1:
        return "regression"
    values = columns.iloc[:, 0].dropna()
    different = values.nunique()
    if is_bool_dtype(values) or different == 2:
        return "binary"
    if not is_numeric_dtype(values):
        return "multiclass"
    is_whole = bool((values == values.round()).all())
    return "multiclass" if is_whole and different <= MOST_NUMBERED_CLASSES else "regression"


def _are_names(values: pd.Series) -> bool:
    """Whether a column of text has two different texts, or numbers that are not kept by their value."""
    known = values.dropna()
    return is_text(values) and (known.nunique() == 2 or has_more_digits(known))


def _as_numbers(columns: pd.DataFrame, writing: Writing, *, advice: str = "") -> pd.DataFrame:
    """The columns, those of text as float64 if all their texts are numbers.

    Raises:
        ValueError: a column has text among its numbers.
    """
    found = {}
    for name, column in columns.items():
        known = as_text(column).dropna() if is_text(column) else column.iloc[:0]
        remedy = "if they are names of classes, give {task: multiclass}" if advice else ""
        numbers = read_numbers(known, writing.numerals, who="Table", remedy=remedy) if len(known) else known
        if len(known) and numbers.notna().all():
            found[str(name)] = numbers.reindex(column.index)
        elif len(known) and numbers.notna().any():
            raise ValueError(text_among_numbers(known[numbers.isna()], "the target", advice))
    return columns.assign(**found) if found else columns


def _labels(labels: pd.Series, decimal: str) -> pd.Series:
    """Numbers by their value, unless that would not keep them apart; infinite ones are missing."""
    if is_text(labels):
        known = as_text(labels).dropna()
        numbers = plain_numbers(known, decimal)
        if numbers.isna().any() or has_more_digits(known):
            return as_text(labels)
        labels = numbers.reindex(labels.index)
    return labels.replace([np.inf, -np.inf], np.nan) if is_number(labels) else labels


def _values(columns: pd.DataFrame) -> NDArray[np.float64]:
    for name in columns.columns:
        values = columns[name]
        if is_date(values) or not is_number(values):
            kind = "dates" if is_date(values) else f"text, such as '{values.iloc[0]}'"
            raise ValueError(f"Table: the target '{name}' holds {kind}: a regression needs numbers")
        if values.nunique() == 1:
            raise ValueError(_constant(name, values.iloc[0]))
    return columns.to_numpy(dtype=np.float64)


def _classes(labels: pd.Series, task: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    numbers, found = pd.factorize(labels, sort=True)
    names = tuple(as_text(pd.Series(found)))
    if len(names) == 1:
        raise ValueError(_constant(str(labels.name), names[0]))
    if task == "binary" and len(names) > 2:
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise ValueError(f"Table: the target '{labels.name}' has {len(names)} classes, {shown}, but a binary task two")
    if is_numeric_dtype(found) and not is_bool_dtype(found) and found.tolist() != list(range(len(found))):
        shown = ", ".join(names[:3]) + (f" ... {names[-1]}" if len(names) > 3 else "")
        warnings.warn(
            f"Table: labels of the target '{labels.name}' are {shown}: classes are numbered from 0 in this order",
            stacklevel=2,
        )
    counts = np.bincount(numbers)
    rare = np.flatnonzero(counts == 1)
    if len(rare):
        row = int(labels.index[np.flatnonzero(numbers == rare[0])[0]]) + 1
        others = f", and {len(rare) - 1} more class{'es' * (len(rare) > 2)} have" if len(rare) > 1 else ", has"
        advice = "Leave such rows out or join the classes with others"
        if pd.to_numeric(labels, errors="coerce").notna().all():
            advice += "; or is it a regression, {task: regression}?"
        raise ValueError(
            f"Table: class '{names[rare[0]]}' of the target '{labels.name}', in row {row}{others} a single example, "
            f"which cannot be in both training and validation. {advice}"
        )
    return numbers.astype(np.int64), names


def _constant(name: str, value: Any) -> str:
    return f"Table: the target '{name}' is {value} in every row: there is nothing to learn"
