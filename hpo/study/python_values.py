"""Converts Python values to those of a study file: classes, ranges, numpy's numbers and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import LoadError
from hpo.loading import label_of_class
from hpo.space import Choice, Float, Int
from hpo.study.objectives import MEASURED
from hpo.study.states import Direction

# Parts of a metric's name from which its direction follows.
MAXIMIZED = frozenset({"accuracy", "acc", "auroc", "auc", "f1", "r2", "precision", "recall"})
MINIMIZED = frozenset({"loss", "error", "mae", "mse", "rmse"})


def as_in_a_file(value: Any) -> Any:
    """The value in the types of a study file: import paths, mappings, lists, texts and numbers.

    A range becomes a mapping with all its keys, so that it overrides the constructor's range completely.

    Raises:
        ValueError: a study file cannot have the value.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, type):
        try:
            return label_of_class(value)
        except LoadError as error:
            raise ValueError(str(error)) from error
    if isinstance(value, Choice):
        return list(value.choices)
    if isinstance(value, Float | Int):
        return _bounds(value)
    if isinstance(value, Mapping):
        return {str(key): as_in_a_file(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_in_a_file(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # numpy's number
        return as_in_a_file(value.item())
    raise ValueError(
        "a study takes numbers, texts, true, false, null, lists, mappings, classes and ranges, not "
        f"{type(value).__name__}"
    )


def direction_of(metric: str) -> Direction:
    """The direction of a metric, from its name.

    Raises:
        ValueError: the name does not show it.
    """
    if metric in MEASURED:
        return Direction.MINIMIZE
    parts = set(re.split(r"[^a-z0-9]+", metric.lower()))
    if parts & MAXIMIZED and not parts & MINIMIZED:
        return Direction.MAXIMIZE
    if parts & MINIMIZED and not parts & MAXIMIZED:
        return Direction.MINIMIZE
    raise ValueError(
        f"the name {metric} does not show whether higher or lower is better: write it as "
        f'{{"metric": "{metric}", "direction": "maximize"}}, or "minimize"'
    )


def _bounds(range_: Float | Int) -> dict[str, Any]:
    bounds = {"low": range_.low, "high": range_.high, "log": range_.log}
    if range_.step is not None:
        return bounds | {"step": range_.step}
    # A step of 1 keeps the numbers whole if the constructor also accepts others.
    return bounds | ({"step": 1} if isinstance(range_, Int) and not range_.log else {})
