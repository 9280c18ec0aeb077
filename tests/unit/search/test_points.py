"""Points of a search space as rows of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.search.gaussian_process import kernel
from hpo.search.points import Points, squared_distances
from hpo.space import Choice, Float, Int, Parameter, SearchSpace

SPACE = SearchSpace(
    (
        Parameter("depth", Int(1, 3)),
        Parameter("lr", Float(1e-5, 1e-1, log=True)),
        Parameter("optimizer", Choice("adam", "sgd", [1, 2])),
        Parameter("momentum", Float(0.0, 0.9, step=0.3), when={"optimizer": ("sgd",)}),
        Parameter("second", Int(8, 64, log=True), when={"depth": (2, 3)}),
        Parameter("fixed", Int(5, 5)),
        Parameter("after", Float(-1.0, 1.0), when={"fixed": (5,), "second": (8, 64)}),
    )
)
POINTS = Points(SPACE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("near", [False, True])
def test_what_is_drawn_or_moved_is_in_the_space_and_comes_back_from_its_point(near: bool) -> None:
    rows = POINTS.draw(300, rng())
    rows = POINTS.near(rows, rng(1)) if near else rows

    points = [POINTS.point(row) for row in rows]

    space = {tuple(POINTS.names), *(tuple(point) for point in points)}
    assert len(space) > 5  # of active parameters
    for point in points:
        assert SPACE.problems({**SPACE.suggest(_Fixed(point)), "fixed": 5}) == []
    np.testing.assert_allclose(POINTS.rows(points), rows, atol=1e-9)
    assert POINTS.keys(POINTS.rows(points)) == POINTS.keys(rows)


class _Fixed:
    """Gives each parameter the value of a point."""

    def __init__(self, point: dict[str, object]) -> None:
        self._point = {**point, "fixed": 5}

    def suggest_float(self, name: str, *_: object, **__: object) -> float:
        return float(self._point.pop(name))  # type: ignore[arg-type]

    def suggest_int(self, name: str, *_: object, **__: object) -> int:
        value = self._point.pop(name)
        assert isinstance(value, int)
        return value

    def suggest_categorical(self, name: str, choices: object) -> object:
        assert self._point[name] in choices  # type: ignore[operator]
        return self._point.pop(name)


def test_all_values_are_drawn() -> None:
    points = [POINTS.point(row) for row in POINTS.draw(500, rng())]

    assert {point["depth"] for point in points} == {1, 2, 3}
    assert {point["optimizer"] for point in points} == {"adam", "sgd", "[1, 2]"}
    assert {round(point["momentum"], 9) for point in points if "momentum" in point} == {0.0, 0.3, 0.6, 0.9}
    assert sum(point["lr"] < 1e-3 for point in points) == pytest.approx(250, abs=50)


def test_a_move_changes_few_parameters_and_numbers_by_little() -> None:
    space = SearchSpace(tuple(Parameter(f"x{number}", Float(0.0, 1.0)) for number in range(8)))
    points = Points(space)
    before = points.draw(400, rng())

    after = points.near(before, rng(1))

    changed = (before != after).sum(1)
    assert set(changed.tolist()) == {1, 2, 3}
    assert np.median(np.abs(after - before)[before != after]) < 0.2
    assert ((after >= 0) & (after <= 1)).all()


def test_distances_are_of_places_and_1_between_choices_and_what_is_inactive_is_beside_the_middle() -> None:
    points = [
        {"depth": 1, "lr": 1e-5, "optimizer": "adam"},
        {"depth": 3, "lr": 1e-3, "optimizer": "sgd", "momentum": 0.9, "second": 8, "after": 0.0},
        {"depth": 3, "lr": 1e-3, "optimizer": "sgd", "momentum": 0.3, "second": 64, "after": 1.0},
    ]

    rows = POINTS.rows(points)
    found = dict(zip(POINTS.names, squared_distances(rows, rows, POINTS.is_choice), strict=True))

    assert found["depth"][0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["lr"][0], [0, 0.25, 0.25])
    assert found["optimizer"][0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["momentum"][0], [0, 1, 0.75 + (1 / 3 - 0.5) ** 2])
    np.testing.assert_allclose(found["momentum"][1], [1, 0, 4 / 9])
    np.testing.assert_allclose(found["after"][2], [1, 0.25, 0])


def test_the_distances_of_points_with_inactive_parameters_give_covariances() -> None:
    """A crash of a proposal otherwise: a matrix that is not positive definite has no Cholesky factor."""
    rows = POINTS.draw(300, np.random.default_rng(0))

    covariance = kernel(squared_distances(rows, rows, POINTS.is_choice), np.full(len(POINTS.names), 0.05))

    assert np.linalg.eigvalsh(covariance).min() > -1e-9
