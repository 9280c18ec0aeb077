"""Reads new series as those of the training were read; what a model forecasts from is the end of each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from models.data.calendar import known_columns
from models.data.differences import differences, references
from models.data.gaps import Fill
from models.data.grid import following, step_in_words, step_of
from models.data.numerals import Numerals
from models.data.series_file import Measured, measured_in
from models.data.splits import Ints
from models.data.text_file import separator_of
from models.data.timed_file import Floats, read_columns, text_of


class NewSeries(NamedTuple):
    """inputs: (series, window, columns); reference: (series, outputs); rows: the names and times of all forecasts."""

    inputs: Floats
    reference: Floats
    rows: dict[str, Any]
    remarks: list[str]


def read_new_series(source: Any, state: Mapping[str, Any]) -> NewSeries:
    """The end of each series of a file or a data frame.

    Args:
        state: of models.data.series:Series, see models.data.new_data.

    Raises:
        ValueError: it cannot be read, lacks columns, or every series is too short.
    """
    remarks: list[str] = []
    found, who = _measured(source, state, remarks)
    lasts = np.cumsum(found.lengths) - 1
    needed = state["window"] + state["lag"]
    is_long = np.array(found.lengths) >= needed
    if not is_long.all():
        number = int(is_long.argmin())
        name = f" '{found.names[number]}'" if found.names[number] else ""
        text = f"series{name} has {found.lengths[number]} steps; the model needs the last {needed}"
        if not is_long.any():
            raise ValueError(f"{who}: {text}")
        remarks.append(f"{text}: {np.count_nonzero(~is_long)} of {len(lasts)} series are too short and left out")
    ends = lasts[is_long]
    _check_gaps(found, ends, needed, state, who=who, remarks=remarks)
    fill = Fill(found.values, state["interpolation"])
    steps = ends[:, None] + np.arange(1 - state["window"], 1)
    lag, horizon, targets = state["lag"], state["horizon"], len(state["targets"])
    times = [following(found.times[end], _step(found, end, state, remarks), horizon) for end in ends]
    rows: dict[str, Any] = {found.time: np.concatenate(times)}
    if state["reading"]["id"]:
        names = [name for name, is_kept in zip(found.names, is_long, strict=True) if is_kept]
        rows = {state["reading"]["id"]: np.repeat(names, horizon), **rows}
    values = (differences(fill, steps, ends, lag=lag) - state["shift"]) / state["scale"]
    return NewSeries(
        np.concatenate([values, *known_columns(found.times[steps], state)], axis=2),
        references(fill, ends, lag=lag, horizon=horizon, targets=targets),
        rows,
        list(dict.fromkeys(remarks)),
    )


def _measured(source: Any, state: Mapping[str, Any], remarks: list[str]) -> tuple[Measured, str]:
    reading = state["reading"]
    separator = reading["separator"] or ","
    if isinstance(source, pd.DataFrame):
        frame, who = source.reset_index(drop=True), "Series"
        frame.columns = frame.columns.map(str)
    elif isinstance(source, str | Path):
        who = f"Series: {source}"
        how = {name: reading[name] for name in ("separator", "decimal", "encoding")}
        frame, separator = read_columns(str(source), who="Series", **how), separator_of(Path(source), separator)
    else:
        raise ValueError(f"Series: new data should be a file or a data frame, not {type(source).__name__}")
    columns = tuple(state["columns"])
    needed = [name for name in (reading["id"], reading["time"], *columns) if name]
    has = [str(name) for name in frame.columns]
    if lacking := [name for name in needed if name not in has]:
        others = [name for name in has if name not in needed]
        close = {name: difflib.get_close_matches(name, others, n=1) for name in lacking}
        named = "; ".join(
            f"'{name}'" + (f" (did you mean '{near[0]}'?)" if near else "") for name, near in close.items()
        )
        raise ValueError(
            f"{who} lacks {len(lacking)} of the {len(needed)} columns that the model needs: {named}. It has "
            f"{', '.join(has)}"
        )
    if unused := [name for name in has if name not in needed]:
        remarks.append(f"columns that are not used: {', '.join(unused)}")
    numerals = Numerals(reading["decimal"], reading["thousands"], separator)
    chosen = {name: reading[name] for name in ("id", "time", "every", "date_order")}
    found = measured_in(frame, tuple(state["targets"]), columns, numerals=numerals, who=who, **chosen)
    return found, who


def _check_gaps(
    found: Measured, ends: Ints, needed: int, state: Mapping[str, Any], *, who: str, remarks: list[str]
) -> None:
    rows = (ends[:, None] + np.arange(1 - needed, 1)).ravel()
    gaps = np.isnan(found.values[rows])
    if not gaps.any():
        return
    row, column = np.argwhere(gaps)[0]
    where = f"{gaps.sum():,} of the values that the model needs are missing, the first in column "
    where += f"'{found.columns[column]}' at {text_of(found.times[rows[row]])}"
    if state["interpolation"] == "none":
        raise ValueError(f"{who}: {where}: fill them in; the model was trained without gaps (interpolation: none)")
    remarks.append(f"{where}: filled in as in the training ({state['interpolation']})")


def _step(found: Measured, end: int, state: Mapping[str, Any], remarks: list[str]) -> str | float:
    """The step from one time to the next: the training's, or the series' own, where that is another."""
    trained: str | float = state["step"]
    number = int(np.searchsorted(np.cumsum(found.lengths), end, side="right"))
    own = step_of(found.times[end + 1 - found.lengths[number] : end + 1])
    if isinstance(trained, str) or not own or (not isinstance(own, str) and math.isclose(own, trained, rel_tol=1e-6)):
        return trained
    are_dates = found.times.dtype.kind == "M"
    mine, theirs = (step_in_words(step, are_dates=are_dates) for step in (own, trained))
    remarks.append(f"the times are steps of {mine}; the model was trained with steps of {theirs}, and knows no others")
    return own
