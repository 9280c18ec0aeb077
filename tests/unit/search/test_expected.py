"""The values that trials are expected to end with."""

from __future__ import annotations

import numpy as np

from hpo.search.expected import expected_costs

NONE = np.nan


def test_a_complete_trial_has_the_cost_of_its_best_epoch() -> None:
    assert expected_costs(np.array([[3.0, 1.0, 2.0]])).tolist() == [1.0]


def test_a_trial_that_was_cut_off_is_expected_to_gain_what_the_others_have_gained() -> None:
    curves = np.array([[5.0, 4.0, 3.5], [6.0, 5.0, 4.5], [7.0, 6.0, 5.5], [8.0, NONE, NONE], [7.5, 6.4, NONE]])

    np.testing.assert_allclose(expected_costs(curves), [3.5, 4.5, 5.5, 6.5, 5.9])


def test_the_better_half_counts() -> None:
    better = np.array([[1.0 + number / 10, 0.0 + number / 10] for number in range(4)])
    worse = np.array([[5.0 + number, 5.0 + number] for number in range(4)])
    curves = np.concatenate([better, worse, [[2.0, NONE]]])

    assert expected_costs(curves)[-1] == 1.0


def test_without_others_nothing_is_gained_and_without_a_curve_nothing_is_expected() -> None:
    found = expected_costs(np.array([[2.0, NONE], [NONE, NONE]]))

    assert found[0] == 2.0
    assert np.isnan(found[1])
