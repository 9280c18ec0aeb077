"""The grid sampler's points: all of them, each once, and only for a space that has an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hpo.errors import SpecError
from hpo.search.grid import check_grid, grid_points, points_in, untried_point
from hpo.space import Choice, Float, Int, Parameter, SearchSpace


def everyone(points: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    return np.ones(len(points), bool)


def test_the_last_parameter_changes_fastest() -> None:
    space = SearchSpace((Parameter("a", Choice("x", "y")), Parameter("b", Int(1, 3))))

    points = [(point["a"], point["b"]) for point in grid_points(space)]

    assert points == [("x", 1), ("x", 2), ("x", 3), ("y", 1), ("y", 2), ("y", 3)]


def test_a_conditional_parameter_is_there_only_under_its_condition() -> None:
    momentum = Parameter("momentum", Choice(0.5, 0.9), when={"optimizer": ("sgd",)})
    space = SearchSpace((Parameter("optimizer", Choice("adam", "sgd")), momentum))

    assert list(grid_points(space)) == [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "momentum": 0.9},
    ]


@pytest.mark.parametrize(
    ("range_", "values"),
    [
        (Float(0.1, 0.3, step=0.1), [0.1, 0.2, 0.3]),  # 0.1 + 2 * 0.1 is not 0.3 in floats
        (Float(0.0, 1.0, step=0.4), [0.0, 0.4, 0.8]),
        (Float(0.0, 0.7, step=0.1), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        (Int(1, 4), [1, 2, 3, 4]),
        (Int(2, 9, step=3), [2, 5, 8]),
        (Int(5, 5), [5]),
        (Choice(True, False), [True, False]),
        (Choice(None, "x", 1), [None, "x", 1]),
    ],
)
def test_a_range_gives_all_its_values_in_its_own_type(range_: Float | Int | Choice, values: list[object]) -> None:
    space = SearchSpace((Parameter("p", range_),))

    points = [point["p"] for point in grid_points(space)]

    assert points == values
    assert [type(point) for point in points] == [type(value) for value in values]
    assert all(space.contains({"p": point}) for point in points)


def test_a_space_with_a_continuous_parameter_has_no_grid() -> None:
    space = SearchSpace(
        (Parameter("lr", Float(0.1, 1.0)), Parameter("depth", Int(1, 3)), Parameter("dropout", Float(0.0, 0.5)))
    )

    with pytest.raises(SpecError, match=r"give lr, dropout a list of values or a step \(space: \{lr: \[\.\.\.\]\}\)"):
        check_grid(space, trials=1)


def test_a_grid_has_no_more_trials_than_points() -> None:
    space = SearchSpace((Parameter("lr", Float(0.1, 1.0, step=0.1)), Parameter("depth", Int(1, 3))))

    check_grid(space, trials=30)
    with pytest.raises(SpecError, match="the grid has 30 points: ask for that many trials at most, not 31"):
        check_grid(space, trials=31)


def test_points_are_counted_up_to_a_number_which_stands_for_infinitely_many_too() -> None:
    kinds = Parameter("kind", Choice("a", "b"))
    layers = Parameter("layers", Int(1, 3), when={"kind": ("a",)})

    assert points_in(SearchSpace((kinds, layers)), most=100) == 4
    assert points_in(SearchSpace((kinds, layers)), most=3) == 3
    assert points_in(SearchSpace((kinds, Parameter("lr", Float(0.0, 1.0)))), most=100) == 100
    assert points_in(SearchSpace(()), most=100) == 1


def test_an_untried_point_is_one_of_those_that_are_left() -> None:
    space = SearchSpace((Parameter("kind", Choice("a", [1, 2])), Parameter("layers", Int(1, 2))))
    points = [space.stored(point) for point in grid_points(space)]

    for number, left in enumerate(points):
        tried = [point for point in points if point != left]
        found = untried_point(space, tried, points[0], feasible=everyone, seed=number)
        assert found is not None
        assert space.stored(found) == left
    assert untried_point(space, points, points[0], feasible=everyone, seed=0) is None


def test_of_several_untried_points_it_is_the_one_that_is_most_like_what_was_proposed() -> None:
    space = SearchSpace((Parameter("kind", Choice("a", "b")), Parameter("layers", Int(1, 9))))
    proposed = {"kind": "a", "layers": 7}

    found = [untried_point(space, [proposed], proposed, feasible=everyone, seed=seed) for seed in range(20)]

    assert {point["layers"] for point in found if point is not None} == {6, 8}
    assert {point["kind"] for point in found if point is not None} == {"a"}


def test_of_those_one_that_is_likely_to_be_feasible_where_there_is_any() -> None:
    space = SearchSpace((Parameter("kind", Choice("a", "b")), Parameter("layers", Int(1, 9))))
    proposed = {"kind": "a", "layers": 7}

    def few_layers(points: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
        return np.array([point["layers"] < 4 for point in points])

    found = untried_point(space, [proposed], proposed, feasible=few_layers, seed=0)
    assert found == {"kind": "a", "layers": 3}
    without = untried_point(space, [proposed], proposed, feasible=lambda points: ~everyone(points), seed=0)
    assert without is not None
    assert without["layers"] in (6, 8)
