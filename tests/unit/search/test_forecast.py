"""What is left of a search: by the lengths of trials that have ended, by rungs, and as it was in recorded searches."""

from __future__ import annotations

import gzip
import json
import random
import statistics
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from hpo.search.forecast import Begun, Ends, Halving, Places, Rest, SearchSoFar, Stage, rest_of_search
from hpo.search.rungs import Rungs, Verdict
from hpo.study.objectives import Objectives
from hpo.study.states import Direction

# Written by `python benchmarks/time_left.py --record`.
RECORDED = json.loads(gzip.decompress((Path(__file__).parents[2] / "data" / "searches.json.gz").read_bytes()))
SHARES = (0.25, 0.5, 0.75)


def ended(*lengths: int) -> list[Begun]:
    return [Begun(number, epochs, Stage.ENDED) for number, epochs in enumerate(lengths)]


def running(*lengths: int, first: int = 0) -> list[Begun]:
    return [Begun(number, epochs, Stage.OPEN) for number, epochs in enumerate(lengths, start=first)]


# ---- the lengths of trials


def test_later_trials_tell_more_of_those_to_come() -> None:
    assert Ends(ended(6, 6, 6), most=10).mean == pytest.approx(6)
    assert 2 < Ends(ended(10, 2), most=10).mean < 6 < Ends(ended(2, 10), most=10).mean < 10


def test_running_trials_count_as_longer_than_they_are() -> None:
    long = Ends([*ended(2, 10), *running(9, 9, first=2)], most=10).mean
    short = Ends([*ended(2, 10), *running(1, 1, first=2)], most=10).mean

    assert 6 < short < long < 10


def test_what_is_usual_for_a_pruner_counts_until_there_are_trials() -> None:
    """Usually, a fifth goes on after the first epoch; of these trials, all do."""
    few, many = (Ends(ended(*[10] * count), most=10, shares={1: 0.2}).mean for count in (0, 100))

    assert few == pytest.approx(1 + 9 * 0.2)
    assert 9 < many < 10


def test_without_an_ended_trial_each_is_expected_to_train_to_its_end() -> None:
    assert rest_of_search(SearchSoFar([], trials=3, epochs=10, slots=1)) == Rest(30, 30, 30, 30)
    assert rest_of_search(SearchSoFar(running(3, 7), trials=2, epochs=10, slots=2)) == Rest(10, 7, 7, 7)


def test_the_last_trials_leave_slots_free() -> None:
    """Three trials on two slots take as long as four."""
    assert rest_of_search(SearchSoFar([], trials=3, epochs=10, slots=2)) == Rest(30, 20, 20, 20)
    assert rest_of_search(SearchSoFar(ended(10, 10), trials=3, epochs=10, slots=8)) == Rest(10, 10, 10, 10)


def test_a_search_that_has_all_its_trials_has_nothing_left() -> None:
    assert rest_of_search(SearchSoFar(ended(4, 10), trials=2, epochs=10, slots=2)) == Rest(0, 0, 0, 0)
    assert rest_of_search(SearchSoFar(ended(4, 10, 10), trials=2, epochs=10, slots=2)) == Rest(0, 0, 0, 0)


def test_a_running_trial_goes_on_as_those_that_came_as_far() -> None:
    """Of four trials, two ended after 2 epochs, and those that came further all trained to the end."""
    lengths = ended(2, 2, 10, 10)

    assert rest_of_search(SearchSoFar([*lengths, *running(3, first=4)], trials=5, epochs=10, slots=1)) == Rest(
        7, 7, 7, 7
    )


@pytest.mark.parametrize("share", SHARES)
def test_a_quarter_of_the_trials_predicts_a_search_that_stops_half_of_them(share: float) -> None:
    """Every second trial is stopped after 3 of 27 epochs: those that have ended first are the stopped ones."""
    real = [3, 27] * 40
    begun = real[: int(share * len(real))]
    # The last eight of them still run, at most at their second epoch.
    trials = [*ended(*begun[:-8]), *running(*(min(length, 2) for length in begun[-8:]), first=len(begun) - 8)]

    rest = rest_of_search(SearchSoFar(trials, trials=len(real), epochs=27, slots=8))

    left = sum(real) - sum(trial.epochs for trial in trials)
    assert left / 1.3 < rest.epochs < left * 1.3


def test_the_first_trials_of_a_pruner_that_does_not_judge_them_say_nothing_about_later_ones() -> None:
    lengths = ended(12, 12, 12, 12, 12, 2, 2, 12, 2)

    assert rest_of_search(SearchSoFar(lengths, 109, epochs=12, slots=1, unjudged=5)).epochs == pytest.approx(
        450, rel=0.15
    )


def test_many_trials_are_expected_in_proportion_to_some() -> None:
    lengths = ended(*([2, 10] * 50))

    rest = rest_of_search(SearchSoFar(lengths, trials=1_000_100, epochs=10, slots=4))

    assert rest.epochs == pytest.approx(6_000_000, rel=0.1)
    assert rest.seconds == pytest.approx(1_500_000, rel=0.1)


def test_a_trial_goes_on_at_its_own_pace() -> None:
    """Trial 2 takes 3 seconds an epoch, whatever the others take."""
    paces = {0: 1.0, 1: 1.0, 2: 3.0}

    so_far = SearchSoFar([*ended(10, 10), *running(4, first=2)], 3, epochs=10, slots=1, paces=paces)

    assert rest_of_search(so_far) == Rest(6, 18, 18, 18)


def test_new_trials_take_as_long_as_others_and_the_range_says_how_much_these_differ() -> None:
    """Half of the trials take a second, and half of them a minute."""
    lengths = ended(*[1] * 10)
    paces = {number: 1.0 if number % 2 else 60.0 for number in range(10)}

    few = rest_of_search(SearchSoFar(lengths, 12, epochs=1, slots=1, paces=paces))
    many = rest_of_search(SearchSoFar(lengths, 210, epochs=1, slots=1, paces=paces))

    assert few.least <= 61 < 120 <= few.most
    assert many.most < 1.3 * many.least
    assert many.seconds == pytest.approx(200 * 30.5, rel=0.15)


# ---- rungs that promote


@pytest.mark.parametrize(("trials", "eta", "least", "epochs"), [(40, 3, 3, 27), (40, 3, 4, 12), (64, 2, 3, 16)])
@pytest.mark.parametrize("share", SHARES)
def test_rungs_that_promote_train_the_epochs_that_are_expected(
    trials: int, eta: int, least: int, epochs: int, share: float
) -> None:
    ratios = []
    for seed in range(7):
        moments = search(random.Random(seed).sample(range(1000), trials), eta=eta, least=least, epochs=epochs)
        total = sum(trial.epochs for trial in moments[-1].begun)
        so_far = moments[int(share * total)]
        ratios.append(rest_of_search(so_far).epochs / (total - sum(trial.epochs for trial in so_far.begun)))

    assert 1 / 1.3 < statistics.median(ratios) < 1.3
    assert 1 / 2 < min(ratios) < max(ratios) < 2


def search(values: list[int], *, eta: int, least: int, epochs: int) -> list[SearchSoFar]:
    """A search on one slot, where a trial's value does not change, after each of its epochs."""
    rungs = Rungs(eta=eta, first=least, objectives=Objectives((Direction.MAXIMIZE,)))
    curves: dict[int, dict[int, float]] = {}
    paused: dict[int, int] = {}
    pruned: set[int] = set()
    waiting = list(range(len(values)))
    moments = [SearchSoFar([], len(values), epochs, 1, rungs.halving(epochs))]

    def stage(number: int, current: int) -> Stage:
        if number == current:
            return Stage.OPEN
        return Stage.AT_RUNG if number in paused else Stage.BEHIND if number in pruned else Stage.ENDED

    while True:
        promotable = rungs.promotable(paused, is_last=not waiting)
        if promotable:
            number = promotable[0]
            reached = paused.pop(number)
        elif waiting:
            number, reached = waiting.pop(0), 0
            curves[number] = {}
        else:
            return moments
        for epoch in range(reached + 1, epochs + 1):
            curves[number][epoch] = values[number]
            rungs.take(number, {epoch: (value,) for epoch, value in curves[number].items()})
            verdict = rungs.verdict(number, epoch) if epoch < epochs else Verdict.CONTINUE
            if verdict == Verdict.PAUSE:
                paused[number] = epoch
            elif verdict == Verdict.PRUNE:
                pruned.add(number)
            current = number if verdict == Verdict.CONTINUE and epoch < epochs else -1
            begun = [Begun(n, max(curve), stage(n, current)) for n, curve in curves.items() if curve]
            moments.append(SearchSoFar(begun, len(values), epochs, 1, rungs.halving(epochs)))
            if verdict != Verdict.CONTINUE:
                break


def test_trials_that_get_better_take_better_places() -> None:
    chosen = random.Random(0)
    better, worse = Places(list(reversed(range(40)))), Places(list(range(40)))

    assert statistics.mean(better.draw(100, chosen) for _ in range(200)) < 25
    assert statistics.mean(worse.draw(100, chosen) for _ in range(200)) > 75
    assert 40 < statistics.mean(Places([]).draw(100, chosen) for _ in range(200)) < 60


# ---- recorded searches


def test_the_rest_of_recorded_searches_is_mostly_expected_within_a_factor_of_one_and_a_half() -> None:
    """Under each pruner and with early stopping, after 25, 50 and 75 % of the time."""
    ratios = [rest_of_search(recorded(search)).epochs / search["left"] for search in RECORDED]

    factors = [max(ratio, 1 / ratio) for ratio in ratios]
    assert statistics.median(factors) < 1.25
    assert sum(factor <= 1.5 for factor in factors) >= 0.85 * len(factors)
    assert max(factors) < 2.5


def recorded(search: dict[str, Any]) -> SearchSoFar:
    halving = search["halving"]
    return SearchSoFar(
        [Begun(trial["number"], trial["epochs"], Stage(trial["stage"])) for trial in search["begun"]],
        trials=search["trials"],
        epochs=search["epochs"],
        slots=search["slots"],
        halving=halving and Halving(halving["eta"], {int(rung): order for rung, order in halving["order"].items()}),
        unjudged=search["unjudged"],
        shares={int(epoch): share for epoch, share in search["shares"].items()},
    )


def test_a_search_in_steps_is_forecast_as_one_of_as_many_epochs_as_it_has_validations() -> None:
    """Rungs at 250 and 750 steps are reached with the third and the eighth validation, of 100 steps each."""
    epochs = SearchSoFar(ended(3, 8, 20), 12, 20, 2, Halving(3, {3: [2, 1, 0], 8: [2, 1]}))
    steps = SearchSoFar(ended(300, 800, 2000), 12, 2000, 2, Halving(3, {250: [2, 1, 0], 750: [2, 1]}), interval=100)

    found = rest_of_search(epochs)

    assert rest_of_search(steps) == Rest(*(100 * value for value in astuple(found)))
    assert found.epochs > 0
