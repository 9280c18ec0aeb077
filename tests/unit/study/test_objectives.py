"""Several objectives: non-domination, its ranks, the order of trials, and the hypervolume, against Optuna's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank

from hpo.study.objectives import Costs, Objectives, dominates, front_of, hypervolume, ranked, ranks
from hpo.study.states import Direction


def points(objectives: int) -> st.SearchStrategy[list[Costs]]:
    """Few values, so that there are ties in every objective."""
    return st.lists(st.tuples(*[st.integers(0, 6).map(float)] * objectives), min_size=1, max_size=25)


@settings(max_examples=200)
@given(st.integers(1, 4).flatmap(points))
def test_ranks_are_those_of_optuna(found: list[Costs]) -> None:
    assert ranks(found) == _fast_non_domination_rank(np.array(found)).tolist()


@settings(max_examples=200)
@given(st.integers(1, 4).flatmap(points))
def test_the_hypervolume_is_that_of_optuna(found: list[Costs]) -> None:
    reference = (7.0,) * len(found[0])

    assert hypervolume(found, reference) == pytest.approx(compute_hypervolume(np.array(found), np.array(reference)))


def test_what_is_not_better_than_the_reference_adds_nothing() -> None:
    assert hypervolume([(1.0, 3.0), (3.0, 1.0)], (2.0, 2.0)) == 0.0
    assert hypervolume([(1.0, 1.0), (0.0, 5.0)], (2.0, 2.0)) == 1.0


@settings(max_examples=100)
@given(points(2))
def test_no_trial_is_ranked_before_one_that_dominates_it(found: list[Costs]) -> None:
    by_key = dict(enumerate(found))

    order = ranked(by_key)

    assert sorted(order) == list(range(len(found)))
    place = {key: at for at, key in enumerate(order)}
    for key, costs in by_key.items():
        assert all(place[other] < place[key] for other, its in by_key.items() if dominates(its, costs))


def test_within_a_front_the_best_by_the_first_objective_comes_first_and_then_the_farthest() -> None:
    front: dict[int, Costs] = {3: (0.0, 9.0), 5: (1.0, 8.0), 7: (4.0, 5.0), 8: (5.0, 4.0), 9: (9.0, 0.0), 1: (9.0, 9.0)}

    assert ranked(front)[:2] == [3, 9]
    assert ranked(front)[-1] == 1
    assert front_of(front) == [3, 5, 7, 8, 9]


def test_one_objective_is_ordered_by_itself_and_ties_by_number() -> None:
    assert ranked({2: (0.5,), 1: (0.5,), 0: (0.9,)}) == [1, 2, 0]


def test_thousands_of_trials_are_ranked_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    many = [(float(a), float(b)) for a, b in rng.random((5_000, 2))]

    assert ranks(many) == _fast_non_domination_rank(np.array(many)).tolist()


def test_values_become_costs_by_their_directions() -> None:
    both = Objectives((Direction.MAXIMIZE, Direction.MINIMIZE), ("val_accuracy", "parameters"), (0.5, 100.0))

    assert both.costs((0.9, 10.0)) == (-0.9, 10.0)
    assert both.hypervolume([(0.9, 10.0)]) == pytest.approx(0.4 * 90)
    assert Objectives(both.directions).hypervolume([(0.9, 10.0)]) is None
    assert str(both) == "maximize val_accuracy, minimize parameters"
    assert math.isclose(both.hypervolume([]) or 0.0, 0.0)
