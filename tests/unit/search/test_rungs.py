"""Rungs: the trials that pass, those that are paused, and those that are promoted, checked by counting."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.search.rungs import PLACES_BEHIND, Rungs, Verdict
from hpo.study.objectives import Objectives
from hpo.study.states import Direction

EPOCHS = 27


def points(curve: dict[int, float]) -> dict[int, tuple[float]]:
    """The curve of one objective."""
    return {epoch: (value,) for epoch, value in curve.items()}


def at_first_rung(values: list[float], *, direction: Direction = Direction.MAXIMIZE) -> Rungs:
    """Trials 0, 1, ... that have come to epoch 3 with these values."""
    rungs = Rungs(eta=3, first=3, objectives=Objectives((direction,)))
    for number, value in enumerate(values):
        rungs.take(number, points({1: value, 2: value, 3: value}))
    return rungs


def goes_on(rungs: Rungs, number: int, epoch: int) -> bool:
    return rungs.verdict(number, epoch) == Verdict.CONTINUE


@pytest.mark.parametrize(("direction", "expected"), [(Direction.MAXIMIZE, [5]), (Direction.MINIMIZE, [0])])
def test_the_best_third_passes(direction: Direction, expected: list[int]) -> None:
    rungs = at_first_rung([0.1, 0.2, 0.3, 0.4, 0.5], direction=direction)
    rungs.take(5, points({3: 0.6}))
    going = [number for number in range(6) if goes_on(rungs, number, 3)]
    assert len(going) == 2
    assert expected[0] in going


def test_the_first_two_are_paused_until_a_third_comes() -> None:
    rungs = at_first_rung([0.5])
    assert not goes_on(rungs, 0, 3)
    rungs.take(1, points({3: 0.4}))
    assert rungs.promotable({0: 3, 1: 3}) == []
    rungs.take(2, points({3: 0.3}))
    assert rungs.promotable({0: 3, 1: 3, 2: 3}) == [0]


def test_between_rungs_every_trial_continues() -> None:
    rungs = at_first_rung([0.9, 0.9, 0.9, 0.1])
    assert goes_on(rungs, 3, 2)
    assert goes_on(rungs, 3, 4)
    assert not goes_on(rungs, 3, 3)


def test_there_is_no_rung_late_in_a_trial() -> None:
    rungs = Rungs(eta=3, first=3, objectives=Objectives((Direction.MAXIMIZE,)), last=10)
    for number in range(4):
        rungs.take(number, points({epoch: -number for epoch in range(1, 28)}))

    assert [[goes_on(rungs, number, epoch) for number in (0, 3)] for epoch in (3, 9, 27)] == [
        [True, False], [True, False], [True, True]
    ]  # fmt: skip
    assert sorted(rungs.halving(81).order) == [3, 9]


def test_a_trial_counts_with_its_best_epoch_up_to_the_rung() -> None:
    rungs = Rungs(eta=2, first=2, objectives=Objectives((Direction.MAXIMIZE,)))
    rungs.take(0, points({1: 0.9, 2: 0.1}))
    rungs.take(1, points({1: 0.5, 2: 0.6, 3: 1.0}))
    assert goes_on(rungs, 0, 2)
    assert not goes_on(rungs, 1, 2)


def test_ties_do_not_let_more_trials_pass() -> None:
    rungs = at_first_rung([1.0] * 9)

    assert [number for number in range(9) if goes_on(rungs, number, 3)] == [0, 1, 2]
    assert rungs.promotable(dict.fromkeys(range(9), 3)) == [0, 1, 2]


def test_a_trial_far_behind_the_promoted_ones_is_pruned() -> None:
    places = [number / 100 for number in range(99)]
    rungs = at_first_rung(places)
    waiting = [number for number in range(99) if rungs.verdict(number, 3) == Verdict.PAUSE]

    assert sum(goes_on(rungs, number, 3) for number in range(99)) == 33
    assert waiting == list(range(66 - PLACES_BEHIND, 66))
    assert goes_on(rungs, 0, 2)  # between rungs nobody is judged


def test_the_highest_rung_comes_first_and_the_best_of_each() -> None:
    rungs = Rungs(eta=2, first=1, objectives=Objectives((Direction.MAXIMIZE,)))
    for number, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]):
        rungs.take(number, points({1: value}))
    for number in (7, 6):
        rungs.take(number, points({1: 0.0, 2: number / 10}))
    assert rungs.promotable({7: 2, 6: 2, **dict.fromkeys(range(6), 1)}) == [7, 5, 4]


def test_at_the_end_the_best_of_a_rung_is_promoted_however_few_there_are() -> None:
    rungs = at_first_rung([0.2, 0.5])
    assert rungs.promotable({0: 3, 1: 3}) == []
    assert rungs.promotable({0: 3, 1: 3}, is_last=True) == [1]


@given(seed=st.integers(0, 10_000), trials=st.integers(1, 100), slots=st.integers(1, 64), eta=st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_every_study_ends_with_its_trials_and_a_trained_one(seed: int, trials: int, slots: int, eta: int) -> None:
    """Simulated: slots take what is promotable, else a new trial, until nothing is left to do."""
    draw = random.Random(seed)
    final = [draw.random() for _ in range(trials)]
    rungs = Rungs(eta=eta, first=1, objectives=Objectives((Direction.MAXIMIZE,)))
    epochs = dict.fromkeys(range(trials), 0)
    waiting: dict[int, int] = {}
    running: list[int] = []
    done: set[int] = set()
    started = 0
    while True:
        while len(running) < slots:
            if ready := rungs.promotable(waiting):
                waiting.pop(ready[0])
                running.append(ready[0])
            elif started < trials:
                running.append(started)
                started += 1
            else:
                break
        if not running:
            ready = rungs.promotable(waiting, is_last=True)
            if not ready:
                break
            waiting.pop(ready[0])
            running.append(ready[0])
        number = running.pop(draw.randrange(len(running)))
        while True:
            epochs[number] += 1
            rungs.take(number, points({epochs[number]: final[number] * epochs[number] / EPOCHS}))
            if epochs[number] == EPOCHS:
                done.add(number)
                break
            if not goes_on(rungs, number, epochs[number]):
                waiting[number] = epochs[number]
                break
    assert started == trials
    assert done
    assert done | set(waiting) == set(range(trials))
    assert final.index(max(final)) in done
    if trials >= eta**3:
        assert sum(epochs.values()) < 0.8 * trials * EPOCHS


def test_a_trial_that_violates_a_constraint_is_behind_those_that_satisfy_it() -> None:
    rungs = Rungs(eta=3, first=3, objectives=Objectives((Direction.MAXIMIZE,)))
    for number, (value, violation) in enumerate(((0.9, 0.2), (0.8, 0.1), (0.5, 0.0), (0.6, -1.0))):
        rungs.take(number, {3: (value,)}, violation=violation)

    assert rungs.verdict(3, 3) == Verdict.CONTINUE
    assert [rungs.verdict(number, 3) for number in (0, 1, 2)] == [Verdict.PAUSE] * 3
    for number in range(4, 9):
        rungs.take(number, {3: (0.1,)}, violation=0.3)
    assert rungs.promotable(dict.fromkeys((0, 1, 2, 3), 3)) == [3, 2, 1]


def test_a_short_trial_reaches_a_rung_after_the_same_share_of_its_epochs_as_the_longest() -> None:
    rungs = Rungs(eta=3, first=3, objectives=Objectives((Direction.MAXIMIZE,)), last=15)
    for number in range(2):
        rungs.take(number, {epoch: (0.5,) for epoch in range(1, 4)})

    rungs.take(2, {1: (0.4,)}, length=1 / 3)  # of 10 epochs, where the longest has 30
    rungs.take(3, {1: (0.9,)}, length=1 / 3)

    assert rungs.verdict(2, 1) == Verdict.PAUSE
    assert rungs.verdict(3, 1) == Verdict.CONTINUE
    rungs.take(3, {epoch: (0.9,) for epoch in range(1, 4)}, length=1 / 3)
    assert rungs.verdict(3, 2) == Verdict.CONTINUE
    assert rungs.verdict(3, 3) == Verdict.PAUSE  # the second rung, alone
