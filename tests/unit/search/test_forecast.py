"""The expected epochs of a search: by rungs, and by the lengths of trials that have ended and that still run."""

from __future__ import annotations

import random

import pytest

from hpo.search.forecast import expected_epochs, mean_length
from hpo.search.rungs import Rungs, Verdict
from hpo.study.states import Direction


def test_without_an_ended_trial_each_is_expected_to_train_to_its_end() -> None:
    assert mean_length([], most=10) == 10
    assert mean_length([(3, False), (7, False)], most=10) == 10


def test_trials_that_have_all_ended_have_their_mean_length() -> None:
    assert mean_length([(2, True), (4, True), (10, True), (10, True)], most=10) == pytest.approx(6.5)


def test_running_trials_count_as_longer_than_they_are() -> None:
    ended = [(2, True), (10, True)]

    assert mean_length([*ended, (9, False), (9, False)], most=10) == pytest.approx(8.0)
    assert mean_length([*ended, (1, False), (1, False)], most=10) == pytest.approx(6.0)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_quarter_of_the_trials_predicts_the_epochs_of_a_search_that_stops_half_of_them(share: float) -> None:
    """Every second trial is stopped after 3 of 27 epochs: those that have ended first are the stopped ones."""
    chosen = random.Random(1)
    real = [3 if chosen.random() < 0.5 else 27 for _ in range(80)]
    begun = real[: int(share * len(real))]
    # The last eight of them still run, at most at their second epoch.
    lengths = [(length, True) for length in begun[:-8]] + [(min(length, 2), False) for length in begun[-8:]]

    predicted = expected_epochs(lengths, trials=len(real), epochs=27)

    assert sum(real) / 1.3 < predicted < sum(real) * 1.3


@pytest.mark.parametrize(
    ("trials", "eta", "least", "epochs"), [(30, 3, 1, 27), (40, 3, 3, 27), (64, 2, 1, 32), (20, 4, 1, 10)]
)
@pytest.mark.parametrize("seed", range(3))
def test_rungs_that_promote_train_the_epochs_that_they_predict(
    trials: int, eta: int, least: int, epochs: int, seed: int
) -> None:
    values = random.Random(seed).sample(range(1000), trials)
    rungs = Rungs(eta=eta, first=least, direction=Direction.MAXIMIZE)
    predicted = rungs.expected_epochs(trials, epochs)

    trained = search(rungs, values, epochs)

    assert trained / 1.5 < predicted < trained * 1.5


def search(rungs: Rungs, values: list[int], epochs: int) -> int:
    """The epochs that a search on one slot trains, where a trial's value does not change."""
    curves: dict[int, dict[int, float]] = {}
    paused: dict[int, int] = {}
    waiting = list(range(len(values)))
    while True:
        promotable = rungs.promotable(paused, is_last=not waiting)
        if promotable:
            number = promotable[0]
            reached = paused.pop(number)
        elif waiting:
            number, reached = waiting.pop(0), 0
            curves[number] = {}
        else:
            return sum(max(curve) for curve in curves.values())
        for epoch in range(reached + 1, epochs + 1):
            curves[number][epoch] = values[number]
            rungs.take(number, curves[number])
            verdict = rungs.verdict(number, epoch) if epoch < epochs else Verdict.CONTINUE
            if verdict == Verdict.PAUSE:
                paused[number] = epoch
            if verdict != Verdict.CONTINUE:
                break
