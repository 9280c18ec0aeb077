"""Targets of a table: class numbers or values, from their columns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from models.data.base import Task
from models.data.kinds import MOSTLY, as_text, is_date, is_number, text_among_numbers, typed

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


def read_target(columns: pd.DataFrame, task: str) -> Target:
    """The target in these columns; rows without one are left out, with a warning.

    Raises:
        ValueError: a column does not fit the task or is constant, or a class has a single example.
    """
    if task not in TASKS:
        raise ValueError(f"Table: task '{task}' should be {', '.join(TASKS)}")
    named = _named(columns)
    if task == "auto" and len(columns.columns) == 1:
        _check_not_numbers_with_mistakes(columns.iloc[:, 0])
    found = _detected(columns) if task == "auto" else task
    if found != "regression" and len(columns.columns) > 1:
        raise ValueError(f"Table: several targets, {named}, need a regression, not a {found} task")
    clean = typed(columns) if found == "regression" else _finite_labels(columns)
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
    numbers, class_names = _classes(clean.iloc[:, 0], found)
    return Target("binary" if found == "binary" else "multiclass", numbers, class_names, rows_kept)


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


def _check_not_numbers_with_mistakes(values: pd.Series) -> None:
    known = as_text(values).dropna()
    if is_numeric_dtype(values) or known.nunique() == 2:
        return
    is_number_too = pd.to_numeric(known, errors="coerce").notna()
    if MOSTLY <= is_number_too.mean() < 1:
        advice = "or declare them as classes, {task: multiclass}"
        raise ValueError(text_among_numbers(known[~is_number_too], "the target", advice))


def _finite_labels(columns: pd.DataFrame) -> pd.DataFrame:
    labels = columns.iloc[:, 0]
    return labels.replace([np.inf, -np.inf], np.nan).to_frame() if is_number(labels) else columns


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
        if is_numeric_dtype(labels):
            advice += "; or is it a regression, {task: regression}?"
        raise ValueError(
            f"Table: class '{names[rare[0]]}' of the target '{labels.name}', in row {row}{others} a single example, "
            f"which cannot be in both training and validation. {advice}"
        )
    return numbers.astype(np.int64), names


def _constant(name: str, value: Any) -> str:
    return f"Table: the target '{name}' is {value} in every row: there is nothing to learn"
