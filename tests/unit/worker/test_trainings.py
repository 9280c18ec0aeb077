"""When a trial that is trained several times is hopeless, and how its trainings differ."""

from __future__ import annotations

import pytest

from hpo.study.job import Call, TrialJob
from hpo.study.states import Direction
from hpo.worker.trainings import is_hopeless, standard_error

BEST = [0.90, 0.94, 0.86]  # standard deviation 0.04


@pytest.mark.parametrize(
    ("results", "answer"),
    [
        ([0.83], False),  # 0.07 below the same fold: less than twice 0.04
        ([0.81], True),
        ([0.86, 0.89], False),
        ([0.86, 0.85], True),  # 0.065 below on average: more than twice 0.04 / sqrt(2)
        ([0.99], False),
    ],
)
def test_a_trial_is_hopeless_that_is_worse_than_the_best_by_two_standard_errors(
    results: list[float], answer: bool
) -> None:
    assert is_hopeless(results, BEST, Direction.MAXIMIZE) == answer
    assert is_hopeless([-value for value in results], [-value for value in BEST], Direction.MINIMIZE) == answer


def test_nothing_is_hopeless_while_nothing_is_known() -> None:
    assert not is_hopeless([0.1], [], Direction.MAXIMIZE)
    assert not is_hopeless([0.1], [0.9], Direction.MAXIMIZE)


def test_the_standard_error_is_that_of_the_mean() -> None:
    assert standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx(1.2909944 / 2)
    assert standard_error([1.0]) is None


def test_repeats_differ_in_their_seeds_and_folds_in_their_data() -> None:
    job = TrialJob(
        trial=0, study="s", project="/p", model=Call("m:M"), data=Call("d:D"), metric="val_loss", epochs=2, seed=7,
        trainings=3, directory="/a/00000", root="/a/00000", resume=["/a/00000/last.ckpt"],
    )  # fmt: skip

    first, second, third = (job.of_training(number) for number in (1, 2, 3))

    assert first == job
    assert len({job.seed, second.seed, third.seed}) == 3
    assert second.directory == second.root == "/a/00000/training-2"
    assert third.resume == ["/a/00000/training-3/last.ckpt"]
    folds = TrialJob(**{**vars(job), "folds": 3})
    assert [folds.of_training(number).seed for number in (1, 2, 3)] == [7, 7, 7]
    assert folds.of_training(2).training == 2
