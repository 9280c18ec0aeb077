"""The race of candidates, as a function of their scores."""

from __future__ import annotations

import random

import pytest

from hpo.study.plan import Candidate, Plan, shares
from hpo.study.race import leader, race
from hpo.study.states import Direction

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
GOOD, BAD = [0.90, 0.91, 0.92, 0.905, 0.915], [0.50, 0.51, 0.52, 0.505, 0.515]


def test_a_candidate_that_is_far_behind_after_three_rounds_is_out() -> None:
    good, bad = race([GOOD, BAD], UP)

    assert (good.is_out, bad.is_out) == (False, True)
    assert bad.scores == tuple(BAD[:3])  # what was trained in excess is not looked at
    assert [standing.is_out for standing in race([GOOD, BAD], DOWN)] == [True, False]


def test_nobody_is_out_after_two_rounds_or_by_a_difference_that_may_be_chance() -> None:
    assert not any(standing.is_out for standing in race([GOOD[:2], BAD[:2]], UP))
    assert not any(standing.is_out for standing in race([[0.9, 0.8, 0.85], [0.8, 0.9, 0.82]], UP))


def test_equal_scores_of_two_candidates_keep_both_and_different_constant_ones_only_the_better() -> None:
    assert not any(standing.is_out for standing in race([[1.0] * 3, [1.0] * 3], UP))
    assert [standing.is_out for standing in race([[0.5] * 3, [1.0] * 3], UP)] == [True, False]


def test_a_round_counts_when_all_that_are_in_the_race_have_ended_it() -> None:
    assert not any(standing.is_out for standing in race([GOOD, BAD[:2]], UP))


def test_failed_trials_have_no_score_and_a_candidate_that_only_failed_never_leads() -> None:
    standings = race([[None, None, None], [0.1, None, 0.2]], UP)

    assert leader(standings, UP) == 1
    assert standings[0].mean is None
    assert leader(race([[None]], UP), UP) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_result_does_not_depend_on_the_order_in_which_trials_ended(seed: int) -> None:
    draw = random.Random(seed)
    candidates = tuple(Candidate(number, 0.5, {}) for number in range(3))
    plan = Plan("rerun", candidates, 6)
    values = {number: draw.gauss(number % 3, 0.5) for number in range(plan.trials)}
    done = race(plan.by_candidate(values), UP)

    seen: dict[int, float | None] = {}
    was_out = [False] * 3
    for number in draw.sample(range(plan.trials), plan.trials):
        seen[number] = values[number]
        is_out = [standing.is_out for standing in race(plan.by_candidate(seen), UP)]
        assert all(now for before, now in zip(was_out, is_out, strict=True) if before)  # nobody comes back
        was_out = is_out
    assert was_out == [standing.is_out for standing in done]


def test_trainings_are_divided_by_weight_and_none_is_lost() -> None:
    assert shares({4: 72.0, 7: 20.0, 9: 5.0, 1: 3.0}, 5) == {4: 4, 7: 1}
    assert shares({4: 1.0}, 5) == {4: 5}
    assert shares({1: 1.0, 2: 1.0}, 1) == {1: 1}
    for total in range(1, 12):
        assert sum(shares({1: 0.3, 2: 0.3, 3: 0.4}, total).values()) == total


def test_a_plan_is_the_same_after_json() -> None:
    plan = Plan("retrain", (Candidate(7, 0.9, {"lr": 0.1, "sizes": [1, 2]}, 9), Candidate(3, 0.8, {}, 4)), 5)

    assert Plan.from_json(plan.to_json()) == plan
    assert plan.config(2) == {"trained_on": "train+validation", "stop_after": 9}
    assert plan.config(3)["stop_after"] == 4
    assert Plan.from_json(
        '{"kind": "retrain", "candidates": [{"trial": 7, "value": 0.9, "params": {}}], "seeds": 5, "stop_after": 9}'
    ) == Plan("retrain", (Candidate(7, 0.9, {}, 9),), 5)
