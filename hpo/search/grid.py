"""The points of trials that are not sampled: the defaults, and for the grid sampler all points of a space.

Trial n takes point n, so no worker takes one twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from hpo.errors import SpecError
from hpo.space import Choice, Float, Parameter, SearchSpace
from hpo.study.limits import UNLIMITED
from hpo.study.spec import StudySpec

_MOST_COUNTED = 1_000_000


def check_grid(space: SearchSpace, *, trials: int) -> None:
    """Refuse a space with a parameter that has no finite number of values, and more trials than it has points.

    Raises:
        SpecError: names the parameters, or the number of points.
    """
    continuous = [p.name for p in space.values() if isinstance(p.range, Float) and p.range.step is None]
    if continuous:
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
