"""Points of a search space as rows of numbers: drawn, moved a little, and compared.

A row has a column for each parameter: its place in its range, from 0 to 1 and on the range's scale, or the number of
its choice; NaN where the parameter is inactive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.space.values import among

Floats = NDArray[np.float64]

NEAR = 0.15  # standard deviation of a small move, as a share of the range
MOST_MOVED = 3  # parameters at a time


class Points:
    """The rows of a search space's points.

    Attributes:
        names: of the columns; parameters with a single value have none.
        is_choice: of each column.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._parameters = [parameter for parameter in space.values() if _count(parameter) != 1]
        self._single = {parameter.name: parameter for parameter in space.values() if _count(parameter) == 1}
        self.names = [parameter.name for parameter in self._parameters]
        self.is_choice = np.array([isinstance(parameter.range, Choice) for parameter in self._parameters], bool)
        self._counts = [_count(parameter) for parameter in self._parameters]

    def rows(self, points: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows of points as the store has them, by parameter; one that a point lacks is inactive."""
        found = np.full((len(points), len(self.names)), np.nan)
        for column, parameter in enumerate(self._parameters):
            has = [row for row, point in enumerate(points) if parameter.name in point]
            if has:
                found[has, column] = _places(parameter, [points[row][parameter.name] for row in has])
        return found

    def point(self, row: Floats) -> dict[str, Any]:
        """The active parameters of a row, as the store has them."""
        return {
            parameter.name: _value(parameter, float(place))
            for parameter, place in zip(self._parameters, row, strict=True)
            if not np.isnan(place)
        }

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Points (count, columns) at random."""
        found = rng.random((count, len(self.names)))
        for column in np.flatnonzero(self.is_choice):
            found[:, column] = np.floor(found[:, column] * self._counts[column])
        return self.valid(found)

    def near(self, rows: Floats, rng: np.random.Generator) -> Floats:
        """Points near these: of each, one to three parameters are changed, numbers by a little."""
        columns = rows.shape[1]
        moved = rng.random(rows.shape).argsort(1) < rng.integers(1, MOST_MOVED + 1, (len(rows), 1))
        drawn = self.draw(len(rows), rng)
        # What becomes active has no place to start from.
        found = np.where(np.isnan(rows), rng.random(rows.shape), rows)
        for column in range(columns):
            if self.is_choice[column]:
                others = np.isnan(rows[:, column]) | moved[:, column]
                fresh = np.floor(rng.random(len(rows)) * self._counts[column])
                found[:, column] = np.where(others, fresh, found[:, column])
            else:
                step = rng.normal(0.0, NEAR, len(rows))
                place = np.where(rng.random(len(rows)) < NEAR, drawn[:, column], found[:, column] + step)
                place = np.abs(np.where(np.isnan(place), found[:, column], place))
                found[:, column] = np.where(moved[:, column], 1 - np.abs(1 - place % 2), found[:, column])
        return self.valid(found)

    def keys(self, rows: Floats) -> list[bytes]:
        """The same for the same point."""
        rounded = np.ascontiguousarray(np.round(np.nan_to_num(rows, nan=-1.0), 9))
        return [row.tobytes() for row in rounded]

    def valid(self, rows: Floats) -> Floats:
        """Numbers at a value of their range, and NaN where a parameter is inactive."""
        is_active: dict[str, NDArray[np.bool_]] = {}
        for column, parameter in enumerate(self._parameters):
            if not self.is_choice[column]:
                rows[:, column] = _on_grid(parameter, rows[:, column])
            active = np.ones(len(rows), bool)
            for parent, values in parameter.when.items():
                if parent in self._single:
                    active &= among(self._single[parent].range.middle(), values)
                    continue
                place = self.names.index(parent)
                allowed = _places(self._parameters[place], _allowed(self._parameters[place], values))
                active &= is_active[parent] & np.isclose(rows[:, place, None], allowed[None]).any(1)
            is_active[parameter.name] = active
        for column, name in enumerate(self.names):
            rows[~is_active[name], column] = np.nan
        return rows


def squared_distances(left: Floats, right: Floats, is_choice: NDArray[np.bool_]) -> Floats:
    """In each column (columns, left rows, right rows): 1 for different choices, and where one choice is inactive.

    An inactive number lies beside the middle of the range, 1 from both ends: the distances must be those of points in a
    space, or their covariances would be none.
    """
    a, b = left.T[:, :, None], right.T[:, None, :]
    difference = a - b
    found = np.where(is_choice[:, None, None], difference != 0, np.square(difference))
    absent, other = np.isnan(a), np.isnan(b)
    beside = np.where(is_choice[:, None, None], 1.0, 0.75 + np.square(np.where(absent, b, a) - 0.5))
    return np.where(absent & other, 0.0, np.where(absent | other, beside, found))


def _count(parameter: Parameter) -> int:
    """How many values it has; 0 for a real number's, or where nobody counts."""
    range_ = parameter.range
    if isinstance(range_, Choice):
        return len(range_.choices)
    return int(range_.low == range_.high)


def _allowed(parameter: Parameter, values: Iterable[Any]) -> list[Any]:
    range_ = parameter.range
    if isinstance(range_, Choice):
        labels = zip(range_.choices, range_.labels, strict=True)
        return [label for choice, label in labels if among(choice, tuple(values))]
    return [value for value in values if range_.problem(value) is None]


def _places(parameter: Parameter, values: Sequence[Any]) -> Floats:
    range_ = parameter.range
    if isinstance(range_, Choice):
        numbers = {(type(label), label): number for number, label in enumerate(range_.labels)}
        return np.array([numbers.get((type(value), value), np.nan) for value in values], float)
    return _scaled(range_, np.array(values, float))


def _scaled(range_: Float | Int, values: Floats) -> Floats:
    low, high = float(range_.low), float(range_.high)
    found = np.log(values / low) / np.log(high / low) if range_.log else (values - low) / (high - low)
    return np.asarray(found, float)


def _value(parameter: Parameter, place: float) -> Any:
    range_ = parameter.range
    if isinstance(range_, Choice):
        return range_.labels[int(place)]
    low, high = float(range_.low), float(range_.high)
    return range_.nearest(low * (high / low) ** place if range_.log else low + place * (high - low))


def _on_grid(parameter: Parameter, places: Floats) -> Floats:
    """The places of the values that are nearest to these."""
    range_ = parameter.range
    assert not isinstance(range_, Choice)
    step = range_.step if isinstance(range_, Float) else range_.step or 1
    if step is None:
        return places
    low, high = float(range_.low), float(range_.high)
    values = low * (high / low) ** places if range_.log else low + places * (high - low)
    return _scaled(range_, np.clip(low + np.round((values - low) / step) * step, low, high))
