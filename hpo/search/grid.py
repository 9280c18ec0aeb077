"""The points of trials that are not sampled: the defaults, for the grid sampler all points of a space, and new ones.

Trial n takes point n of a grid, so no worker takes one twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import SpecError
from hpo.search.points import Points, squared_distances
from hpo.space import Choice, Float, Parameter, SearchSpace
from hpo.study.limits import UNLIMITED
from hpo.study.spec import StudySpec

_MOST_COUNTED = 1_000_000
_MOST_LISTED = 2_000  # of more points, a sampler hardly meets one twice


def check_grid(space: SearchSpace, *, trials: int) -> None:
    """Refuse a space with a parameter that has no finite number of values, and more trials than it has points.

    Raises:
        SpecError: names the parameters, or the number of points.
    """
    if continuous := continuous_in(space):
        names = ", ".join(continuous)
        raise SpecError(
            f"sampler: grid needs a finite number of values: give {names} a list of values or a step "
            f"(space: {{{continuous[0]}: [...]}})"
        )
    points = sum(1 for _ in itertools.islice(grid_points(space), min(trials, _MOST_COUNTED)))
    if points < trials == UNLIMITED:
        more = "more than " if points == _MOST_COUNTED else ""
        raise SpecError(f"the grid has {more}{points} points: limit the trials to that (budget: {{trials: {points}}})")
    if points < trials:
        raise SpecError(f"the grid has {points} points: ask for that many trials at most, not {trials}")


def grid_points(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Every point once, the last parameter changing fastest; a parameter whose condition fails is absent."""
    yield from _expand({}, list(space.values()))


def continuous_in(space: SearchSpace) -> list[str]:
    """The names of the parameters that have infinitely many values."""
    return [p.name for p in space.values() if isinstance(p.range, Float) and p.range.step is None]


def points_in(space: SearchSpace, *, most: int) -> int:
    """How many points a space has, counted up to `most`, which stands for infinitely many too."""
    return most if continuous_in(space) else sum(1 for _ in itertools.islice(grid_points(space), most))


def few_points(space: SearchSpace) -> list[dict[str, Any]] | None:
    """All points, where they are few; None where a sampler hardly meets one twice, and where nothing is searched."""
    if continuous_in(space):
        return None
    points = list(itertools.islice(grid_points(space), _MOST_LISTED + 1))
    return points if 1 < len(points) <= _MOST_LISTED else None


def point_key(point: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """The same for the same point, as Optuna stores it."""
    return frozenset(point.items())


def untried_point(
    space: SearchSpace,
    tried: Collection[Mapping[str, Any]],
    like: Mapping[str, Any],
    *,
    feasible: Callable[[Sequence[Mapping[str, Any]]], NDArray[np.bool_]],
    seed: int,
) -> dict[str, Any] | None:
    """Of the points that no trial has tried, that which is most like a given one, at random among several of these.

    None where there is none, or where points are many or one.

    Args:
        tried, like: as Optuna stores them.
        feasible: which of some points are likely to be; others are chosen only where there is no such one.
    """
    if (points := few_points(space)) is None:
        return None
    known = {point_key(point) for point in tried}
    left = [point for point in points if point_key(space.stored(point)) not in known]
    if not left:
        return None
    likely = feasible([space.stored(point) for point in left])
    left = [point for point, is_likely in zip(left, likely, strict=True) if is_likely] or left
    found = Points(space)
    rows = found.rows([space.stored(point) for point in left])
    away = squared_distances(found.rows([like]), rows, found.is_choice).sum(0)[0]
    nearest = np.flatnonzero(away <= away.min() + 1e-9)
    return left[int(nearest[np.random.default_rng(seed).integers(len(nearest))])]


def fixed_point(spec: StudySpec, space: SearchSpace, number: int) -> Mapping[str, Any] | None:
    """The point of a trial that is not sampled: the grid's, or the defaults for the first trial."""
    if spec.sampler.name == "grid":
        return next(itertools.islice(grid_points(space), number, None), None)
    takes_defaults = number == 0 and spec.first_trial == "defaults"
    return space.defaults() if takes_defaults else None


def _expand(point: dict[str, Any], rest: list[Parameter]) -> Iterator[dict[str, Any]]:
    if not rest:
        yield point
        return
    parameter, *later = rest
    if not parameter.is_active(point):
        yield from _expand(point, later)
        return
    for value in _values(parameter):
        yield from _expand(point | {parameter.name: value}, later)


def _values(parameter: Parameter) -> list[Any]:
    range_ = parameter.range
    if isinstance(range_, Choice):
        return list(range_.choices)
    step = range_.step or 1
    count = int((range_.high - range_.low) / step + 1e-9) + 1
    return [range_.nearest(range_.low + index * step) for index in range(count)]
