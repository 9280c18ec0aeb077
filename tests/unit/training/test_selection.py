"""The models of an ensemble: which are chosen, and whether they are better on samples that have chosen none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from projects.arrays import Arrays, fitted_of

from hpo.training.evaluation.outputs import Outputs
from hpo.training.evaluation.scores import units_of
from hpo.training.evaluation.selection import average, best_of, choose, folds_of, gain_of, resampled, score_of

ROWS = 400
DRAWN = np.random.default_rng(0)
TRUTH = DRAWN.normal(size=(ROWS, 1))


def of_values(*errors: float, block: int = 1) -> list[Outputs]:
    """Outputs of models whose errors are independent, with these standard deviations."""
    layout = fitted_of(Arrays(torch.randn(8, 2), torch.randn(8, 1))).layout
    return [
        Outputs("values", TRUTH, TRUTH + error * DRAWN.normal(size=TRUTH.shape), np.arange(ROWS), ("y",), layout, block)
        for error in errors
    ]


def test_models_whose_errors_differ_are_averaged_and_a_bad_one_is_left_out() -> None:
    every = of_values(1.0, 0.9, 1.1, 10.0)
    score = score_of("rmse", every[0])
    predicted = [outputs.predicted for outputs in every]

    chosen = choose(predicted, TRUTH, score)

    assert chosen[3] < 0.05 * chosen.total()
    assert min(chosen[number] for number in range(3)) > 0.15 * chosen.total()
    assert best_of(predicted, TRUTH, score) == 1
    together = -score(TRUTH, average(predicted, chosen))[0]
    assert together == pytest.approx(1 / np.sqrt(1 + 1 / 0.81 + 1 / 1.21), rel=0.1)  # of the best weights, 1 / variance
    gain = gain_of(every, "rmse", score)
    assert 0.05 < gain["low"] < gain["value"] < gain["high"]


def test_a_better_model_weighs_more() -> None:
    every = of_values(1.0, 0.5)

    chosen = choose([outputs.predicted for outputs in every], TRUTH, score_of("rmse", every[0]))

    assert chosen[1] == pytest.approx(4 * chosen[0], abs=chosen[0])


def test_an_ensemble_is_never_worse_than_the_best_model_on_the_samples_that_choose_it() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, 15)
        predicted = [rng.dirichlet(np.ones(3), 15) for _ in range(6)]
        layout = fitted_of(Arrays(torch.randn(9, 2), torch.arange(9) % 3)).layout
        score = score_of("accuracy", Outputs("classes", truth, predicted[0], np.arange(15), ("a", "b", "c"), layout))

        chosen = choose(predicted, truth, score)

        assert score(truth, average(predicted, chosen)) >= score(truth, predicted[best_of(predicted, truth, score)])


def test_models_that_few_samples_cannot_tell_apart_share_the_weight_over_bootstrap_samples() -> None:
    few = [
        replace(one, truth=one.truth[:12], predicted=one.predicted[:12], sample=one.sample[:12])
        for one in of_values(1.0, 1.0, 1.0, 9.0)
    ]
    score = score_of("rmse", few[0])

    weights = resampled(few, score)

    assert weights == resampled(few, score)
    assert min(weights[number] for number in range(3)) >= 10
    assert weights[3] < 5


def test_of_models_that_are_right_as_often_the_surer_one_is_the_best() -> None:
    truth = np.array([0, 1])
    unsure, sure = np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([[0.9, 0.1], [0.1, 0.9]])
    layout = fitted_of(Arrays(torch.randn(8, 2), torch.arange(8) % 2)).layout
    score = score_of("accuracy", Outputs("classes", truth, unsure, np.arange(2), ("a", "b"), layout))

    assert best_of([unsure, sure], truth, score) == 1
    assert best_of([sure, sure], truth, score) == 0


def test_copies_of_one_model_gain_nothing() -> None:
    [outputs] = of_values(1.0)
    score = score_of("rmse", outputs)

    assert gain_of([outputs] * 3, "rmse", score)["value"] == 0


def test_what_the_luckiest_of_many_useless_models_gains_is_not_taken_for_a_gain() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 60)
    layout = fitted_of(Arrays(torch.randn(8, 2), torch.arange(8) % 2)).layout
    every = [
        Outputs("classes", truth, rng.dirichlet(np.ones(2), 60), np.arange(60), ("a", "b"), layout) for _ in range(30)
    ]
    score = score_of("accuracy", every[0])
    predicted = [outputs.predicted for outputs in every]

    on_the_same = score(truth, average(predicted, choose(predicted, truth, score)))[0]

    assert on_the_same > 0.6
    assert gain_of(every, "accuracy", score)["value"] < on_the_same - 0.5  # over coin flips


@pytest.mark.parametrize("block", [1, 12])
def test_samples_that_depend_on_each_other_stay_in_one_fold(block: int) -> None:
    [outputs] = of_values(1.0, block=block)
    folds = folds_of(units_of(outputs), is_ordered=block > 1)

    assert sorted(np.concatenate(folds).tolist()) == list(range(ROWS))
    assert len(folds) == 5
    assert all(len(set((fold // block).tolist()) & set((folds[0] // block).tolist())) == 0 for fold in folds[1:])
    if block > 1:
        assert all((np.diff(fold) == 1).all() for fold in folds)
