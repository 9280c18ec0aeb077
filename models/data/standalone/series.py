"""The ends of new series as a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.calendar import known_columns
from models.data.differences import differences, references
from models.data.gaps import Fill
from models.data.standalone.moments import moment_texts, moments_of
from models.data.standalone.numerals import numbers_without_gaps
from models.data.standalone.text_columns import check_has_columns, read_text_columns
from models.data.standalone.words import WORDS

MONTHS_OF_STEPS = {"M": 1, "Q": 3, "Y": 12}  # by the first letter of the calendar's unit


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The `horizon` steps after the end of each series of a .csv or .tsv file.

    Raises:
        ValueError: it cannot be read, lacks columns, has irregular times, or is too short.
    """
    reading = state["reading"]
    if reading["every"]:
        raise ValueError(
            f"the model takes series on a grid of `every: {reading['every']}`, which only 'hpo predict' makes"
        )
    table = read_text_columns(source, reading)
    id, time, columns = reading["id"], reading["time"], list(state["columns"])
    check_has_columns(table, [name for name in (id, time, *columns) if name], source)
    unused = [name for name in table if name not in (id, time, *columns)]
    remarks = [f"columns that are not used: {', '.join(unused)}"] if unused else []
    times = moments_of(table[time], order=reading["date_order"], where=f"{source}: column '{time}'")
    values = np.stack([_cells(table[name], name, source, reading) for name in columns], axis=1)
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(table[id] if id else [""] * len(times)):
        groups.setdefault(name, []).append(row)
    needed = state["window"] + state["lag"]
    inputs, reference, names, moments = [], [], [], []
    for name, rows in groups.items():
        own, when = values[rows], times[rows]
        where = f"{source}: series '{name}'" if id else source
        _check_steps(when, where, state["step"])
        first = int(np.max([_first_value(column) for column in own.T]))
        own = _from(own, first)
        if len(own) < needed:
            text = f"{where} has {len(own)} steps; the model needs the last {needed}"
            if len(groups) == 1:
                raise ValueError(text)
            remarks.append(f"{text}: left out")
            continue
        if np.isnan(own[-needed:]).any():
            if state["interpolation"] == "none":
                raise ValueError(f"{where}: some of the last {needed} steps have gaps: fill them in")
            remarks.append(f"{where}: gaps in the last {needed} steps are filled in as in the training")
        fill, end = Fill(own, state["interpolation"]), np.array([len(own) - 1])
        steps = end[:, None] + np.arange(1 - state["window"], 1)
        scaled = (differences(fill, steps, end, lag=state["lag"]) - state["shift"]) / state["scale"]
        inputs.append(np.concatenate([scaled, *known_columns(when[first:][steps], state)], axis=2))
        ahead = {"lag": state["lag"], "horizon": state["horizon"], "targets": len(state["targets"])}
        reference.append(references(fill, end, **ahead))
        names += [name] * state["horizon"]
        moments.append(_following(when, state["step"], state["horizon"]))
    if not inputs:
        raise ValueError(f"{source}: every series has less than the {needed} steps that the model needs")
    rows_of = {time: moment_texts(np.concatenate(moments))}
    return {
        "inputs": (np.concatenate(inputs).astype(np.float32),),
        "rows": {id: names, **rows_of} if id else rows_of,
        "remarks": remarks,
        "steps": np.full(len(inputs), state["horizon"]),
        "reference": np.concatenate(reference),
    }


def _cells(cells: list[str], name: str, source: str, reading: Mapping[str, Any]) -> Any:
    known = ["" if cell in WORDS else cell for cell in cells]
    where = f"{source}: column '{name}'"
    return numbers_without_gaps(known, decimal=reading["decimal"], thousands=reading["thousands"], where=where)


def _first_value(column: Any) -> int:
    measured = np.flatnonzero(~np.isnan(column))
    return int(measured[0]) if len(measured) else len(column)


def _from(values: Any, first: int) -> Any:
    """The steps from the first at which every column has a value; an earlier one stands for a gap there."""
    if first >= len(values):
        return values[:0]
    for column in values.T:
        measured = np.flatnonzero(~np.isnan(column[: first + 1]))
        column[first] = column[measured[-1]]
    return values[first:]


def _check_steps(when: Any, where: str, step: Any) -> None:
    steps = np.diff(when).astype(np.float64)
    if (steps <= 0).any():
        raise ValueError(f"{where}: the times are not ascending")
    if len(steps) > 1 and not np.allclose(steps, steps[0], rtol=1e-6) and not isinstance(step, str):
        raise ValueError(f"{where}: the steps of time are not regular")


def _following(when: Any, step: Any, count: int) -> Any:
    """The next times, in the step of the training, or the series' own where that is another."""
    last, ahead = when[-1], np.arange(1, count + 1)
    if isinstance(step, str):
        return _of_calendar(last, step, ahead)
    own = float(np.median(np.diff(when).astype(np.float64))) if len(when) > 1 else 0.0
    step = step if not own or np.isclose(own, step, rtol=1e-6) else own
    return last + ((ahead * step).round().astype("timedelta64[us]") if when.dtype.kind == "M" else ahead * step)


def _of_calendar(last: Any, unit: str, ahead: Any) -> Any:
    """In months, quarters, years or days of work: of pandas' names such as MS, QE-DEC and B."""
    if unit == "B":
        return np.busday_offset(last.astype("datetime64[D]"), ahead, roll="backward").astype("datetime64[us]")
    code = unit.partition("-")[0]
    if code[:1] not in MONTHS_OF_STEPS or code[1:] not in ("S", "E"):
        raise ValueError(f"the model's series has steps of {unit}, of which only 'hpo predict' tells the next times")
    months = last.astype("datetime64[M]") + ahead * MONTHS_OF_STEPS[code[0]]
    days = (months + 1).astype("datetime64[D]") - 1 if code[1:] == "E" else months.astype("datetime64[D]")
    return days.astype("datetime64[us]")
