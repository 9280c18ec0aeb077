"""What a search takes over from earlier ones: which trials fit, their ranks, and what samplers make of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hpo.errors import SpecError
from hpo.search.prior import FADED, FinishedStudy, FinishedTrial, fading, taken_over
from hpo.search.simulate import Event, simulate
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.study.earlier import Earlier
from hpo.study.states import Direction

SPACE = SearchSpace(
    (
        Parameter("lr", Float(1e-4, 1e-1, log=True), default=1e-3, has_default=True),
        Parameter("optimizer", Choice("adam", "sgd"), default="adam", has_default=True),
        Parameter("momentum", Float(0.0, 0.99), default=0.9, has_default=True, when={"optimizer": ("sgd",)}),
        Parameter("depth", Int(1, 4), default=2, has_default=True),
    )
)


def earlier_study(*trials: FinishedTrial, constants: Mapping[str, Any] | None = None) -> FinishedStudy:
    return FinishedStudy("old", Direction.MAXIMIZE, trials, constants or {})


def trial(value: float | None, curve: Mapping[int, float] | None = None, **params: Any) -> FinishedTrial:
    point = {"lr": 1e-2, "optimizer": "adam", "depth": 2, **params}
    return FinishedTrial(point, curve or {}, value)


# ---- which trials fit


def test_the_trials_that_fit_are_ranked_and_the_others_told_by_why() -> None:
    study = earlier_study(
        trial(0.8),
        trial(0.9, lr=2e-2),
        trial(0.95, lr=0.5),
        trial(0.95, lr=0.7),
        trial(0.95, depth=2.5),
        trial(0.95, dropout=0.1),
        trial(0.7, optimizer="sgd", momentum=0.5),
        trial(0.7, optimizer="rmsprop"),
    )

    found = taken_over([study], SPACE, {"dropout": 0.2})

    assert [one.params["lr"] for one in found.trials] == [2e-2, 1e-2, 1e-2]
    assert [one.rank for one in found.trials] == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    [line] = found.words
    assert line.startswith(
        "start_from old: 3 of its 8 finished trials fit; the others do not (2: 'lr': 0.5 lies outside"
    )
    assert "1: 'depth': 2.5 is not an integer" in line
    assert "1: 'dropout' is 0.1 there, and 0.2 in every trial here" in line
    assert "1: 'optimizer': 'rmsprop' is not one of" in line


def test_a_parameter_that_is_missing_there_has_the_value_that_it_had_or_its_default() -> None:
    study = earlier_study(FinishedTrial({"lr": 1e-2}, {}, 0.5), constants={"depth": 4})

    found = taken_over([study], SPACE)

    assert found.trials[0].params == {"lr": 1e-2, "optimizer": "adam", "depth": 4}
    assert "with optimizer='adam', depth=4 where it is not searched there" in found.words[0]


def test_what_the_new_study_does_not_know_or_has_inactive_does_not_fit() -> None:
    strange = earlier_study(trial(0.5, layers=3))
    inactive = earlier_study(trial(0.5, momentum=0.5))

    with pytest.raises(SpecError, match="0 of its 1 finished trial fit; the others do not"):
        taken_over([strange], SPACE)
    with pytest.raises(SpecError, match="'momentum' is searched here only when optimizer is 'sgd'"):
        taken_over([inactive], SPACE)


def test_all_studies_that_fit_nowhere_are_told_at_once() -> None:
    with pytest.raises(SpecError) as raised:
        taken_over([earlier_study(trial(0.5, lr=9.0)), earlier_study(), earlier_study(trial(0.5))], SPACE)

    assert len(str(raised.value).splitlines()) == 2
    assert "it has no finished trial" in str(raised.value)


def test_a_pruned_trial_is_ranked_by_what_it_is_expected_to_end_with() -> None:
    """It was behind at the third epoch, and those that went on gained 0.3 from there."""
    curves = {10 - n: [0.5 - 0.01 * n + 0.1 * epoch for epoch in range(6)] for n in range(4)}
    complete = [trial(curve[-1], dict(enumerate(curve, 1)), lr=lr * 1e-3) for lr, curve in curves.items()]
    pruned = trial(None, {1: 0.495, 2: 0.595, 3: 0.695}, lr=0.05)

    found = taken_over([earlier_study(*complete, pruned)], SPACE)

    assert [one.params["lr"] for one in found.trials].index(0.05) == 1


def test_the_best_points_are_of_all_studies_and_different() -> None:
    first = earlier_study(trial(0.9, lr=0.01), trial(0.8, lr=0.02), trial(0.7, lr=0.03))
    second = earlier_study(trial(900.0, lr=0.01), trial(800.0, lr=0.05))

    points = taken_over([first, second], SPACE).best_points()

    assert [point["lr"] for point in points] == [0.01, 0.02, 0.05]


def test_what_was_taken_over_is_the_same_after_the_store() -> None:
    found = taken_over([earlier_study(trial(0.9), trial(0.8, optimizer="sgd", momentum=0.1))], SPACE)

    assert Earlier.from_json(json.loads(json.dumps(found.to_json()))) == found


# ---- what samplers make of them

HILLS = SearchSpace(tuple(Parameter(name, Float(0.0, 1.0)) for name in "wxyz"))
SHIFT = 0.05


def hill(shift: float, scale: float = 1.0) -> Any:
    """A task: the best point is at 0.2 + shift in all parameters; its values are on a scale of its own."""

    def curve(params: dict[str, Any], number: int) -> tuple[list[float], float]:
        top = 1 - sum((value - 0.2 - shift) ** 2 for value in params.values())
        return [scale * (top - 0.5 * math.exp(-epoch / 6)) for epoch in range(1, 28)], 1.0

    return curve


def search(curve: Any, sampler: str, seed: int = 0, trainings: int = 8, **more: Any) -> list[Event]:
    given: dict[str, Any] = {"epochs": 27, "slots": 4, "first_trial": "sampled", "device_seconds": 27.0 * trainings}
    return list(simulate(HILLS, curve, sampler=sampler, seed=seed, **given | more))


def points(events: list[Event]) -> list[dict[str, Any]]:
    return [dict(params) for _, params in sorted({event.trial: event.params for event in events}.items())]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_search_of_a_related_task_is_ahead_and_the_same_each_time(sampler: str) -> None:
    def left(events: list[Event]) -> float:
        return 50.0 - max(event.value for event in events)

    alone, started = [], []
    for seed in range(3):
        earlier = search(hill(0.0), sampler, seed + 100, trainings=15)
        alone.append(left(search(hill(SHIFT, 50), sampler, seed)))
        events = search(hill(SHIFT, 50), sampler, seed, start_from=[earlier])
        started.append(left(events))

    assert np.median(started) < 0.5 * np.median(alone)
    assert events == search(hill(SHIFT, 50), sampler, 2, start_from=[earlier])


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_the_points_of_a_search_come_first_and_then_the_best_earlier_ones(sampler: str) -> None:
    earlier = search(hill(0.0), "random", seed=7)
    best = max(earlier, key=lambda event: event.value).params

    found = points(search(hill(SHIFT), sampler, points=[{"x": 0.25}], start_from=[earlier]))

    assert found[0]["x"] == 0.25
    assert found[1] == best
    assert len({json.dumps(point, sort_keys=True) for point in found}) == len(found)


def test_earlier_trials_fade() -> None:
    assert (fading(0), fading(FADED // 2), fading(FADED), fading(10 * FADED)) == (1.0, 0.5, 0.0, 0.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_conditional_spaces_start_from_others(sampler: str) -> None:
    def curve(params: dict[str, Any], number: int) -> tuple[list[float], float]:
        top = 1 - abs(math.log10(params["lr"]) + 2) - abs(params.get("momentum", 0.0) - 0.5)
        return [top] * 9, 1.0

    earlier = list(simulate(SPACE, curve, epochs=9, device_seconds=90))

    found = points(list(simulate(SPACE, curve, epochs=9, sampler=sampler, device_seconds=150, start_from=[earlier])))

    assert len(found) > 10
    assert all(SPACE.contains(point) for point in found)


def test_a_simulation_refuses_points_outside_and_searches_that_fit_nowhere() -> None:
    with pytest.raises(SpecError, match="points: 'x': 3 lies outside"):
        search(hill(0.0), "random", points=[{"x": 3}])
    with pytest.raises(SpecError, match="'lr' is searched there only"):
        search(hill(0.0), "tpe", start_from=[[Event(1.0, 0, 1, 0.5, {"lr": 0.1})]])
    with pytest.raises(SpecError, match="first_trial: a simulated search has no model with a portfolio"):
        search(hill(0.0), "tpe", first_trial="portfolio")
