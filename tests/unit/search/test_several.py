"""A search for several objectives: rungs that rank by non-domination, and what samplers see and propose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.errors import SpecError
from hpo.search.rungs import Rungs, Verdict
from hpo.search.several import FURTHER, as_complete, points_of
from hpo.search.simulate import Event, simulate
from hpo.space import Float, Parameter, SearchSpace
from hpo.study.objectives import Objectives
from hpo.study.states import Direction

BOTH = Objectives((Direction.MAXIMIZE, Direction.MINIMIZE), ("accuracy", "parameters"), (0.0, 1.0))
DIRECTIONS = [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
SPACE = SearchSpace(
    tuple(Parameter(name, Float(0.0, 1.0), default=0.5, has_default=True, owner="model") for name in ("size", "lr"))
)


def curve(params: Mapping[str, Any], trial: int) -> tuple[list[tuple[float, float]], float]:
    """What is larger learns more, at lr 0.4."""
    top = math.sqrt(params["size"]) * (1 - 2 * abs(params["lr"] - 0.4))
    return [(max(0.0, top) * (1 - 0.6**epoch), params["size"]) for epoch in range(1, 28)], 1.0


def search(seconds: float = 27 * 20, **changes: Any) -> list[Event]:
    given: dict[str, Any] = {"epochs": 27, "direction": ["maximize", "minimize"], "device_seconds": seconds} | changes
    return list(simulate(SPACE, given.pop("curve", curve), **given))


def reached(events: list[Event]) -> float:
    """The hypervolume of all that was seen."""
    found = BOTH.hypervolume([event.values for event in events])
    assert found is not None
    return found


# ---- rungs


def at_first_rung(points: list[tuple[float, float]], **options: Any) -> Rungs:
    rungs = Rungs(eta=3, first=3, objectives=BOTH, **options)
    for number, point in enumerate(points):
        rungs.take(number, {3: point})
    return rungs


def test_the_front_passes_and_what_is_dominated_waits() -> None:
    rungs = at_first_rung([(0.9, 0.9), (0.5, 0.1), (0.4, 0.2), (0.8, 0.95), (0.3, 0.3), (0.2, 0.99)])

    passing = [number for number in range(6) if rungs.verdict(number, 3) == Verdict.CONTINUE]

    assert passing == [0, 1]
    assert {rungs.verdict(number, 3) for number in (2, 3, 4, 5)} == {Verdict.PAUSE}
    assert rungs.promotable(dict.fromkeys(range(6), 3)) == [0, 1]


def test_in_the_mode_stop_what_is_dominated_is_pruned_at_once() -> None:
    rungs = at_first_rung([(0.9, 0.9), (0.5, 0.1), (0.4, 0.2), (0.8, 0.95), (0.3, 0.3), (0.2, 0.99)], promotes=False)

    assert [number for number in range(6) if rungs.verdict(number, 3) == Verdict.PRUNE] == [2, 3, 4, 5]


def test_a_trial_is_ranked_by_the_values_of_its_best_epoch_by_the_first_objective() -> None:
    rungs = Rungs(eta=2, first=3, objectives=BOTH)
    rungs.take(0, {1: (0.9, 0.5), 2: (0.1, 0.0), 3: (0.2, 0.0)})  # 0.9 at 0.5
    rungs.take(1, {3: (0.8, 0.6)})

    assert rungs.verdict(0, 3) == Verdict.CONTINUE
    assert rungs.verdict(1, 3) == Verdict.PAUSE


def test_a_later_trial_changes_the_places_of_those_before() -> None:
    rungs = at_first_rung([(0.5, 0.5), (0.4, 0.6), (0.3, 0.7)])
    assert rungs.promotable({0: 3, 1: 3, 2: 3}) == [0]

    rungs.take(3, {3: (0.6, 0.4)})

    assert rungs.promotable({0: 3, 1: 3, 2: 3, 3: 3}) == [3]


def test_no_more_than_the_share_of_a_rung_goes_on_however_its_front_changes() -> None:
    rungs = at_first_rung([(0.5, 0.5), (0.4, 0.6), (0.3, 0.7)])
    rungs.take(0, {3: (0.5, 0.5), 4: (0.6, 0.5)})  # it has gone on

    rungs.take(3, {3: (0.6, 0.4)})
    assert rungs.verdict(3, 3) == Verdict.PAUSE
    assert rungs.promotable({1: 3, 2: 3, 3: 3}) == []

    for number in (4, 5):
        rungs.take(number, {3: (0.2, 0.8)})
    assert rungs.promotable(dict.fromkeys(range(1, 6), 3)) == [3]
    assert rungs.promotable({1: 3}, is_last=True) == []


# ---- what samplers see


def trial(state: TrialState, points: dict[int, tuple[float, float]], **more: Any) -> FrozenTrial:
    further = {FURTHER: {epoch: point[1:] for epoch, point in points.items()}}
    return create_trial(
        state=state,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values={epoch: point[0] for epoch, point in points.items()},
        system_attrs=further | more.pop("attributes", {}),
        **more,
    )


def test_a_trial_that_waits_counts_with_the_values_that_it_should_end_with() -> None:
    whole = [
        trial(TrialState.COMPLETE, {1: (0.3, s), 2: (0.5, s), 3: (0.8, s)}, values=[0.8, s]) for s in (0.1, 0.2, 0.3)
    ]
    waiting = trial(TrialState.PRUNED, {1: (0.3, 0.7)}, values=[0.3, 0.7])

    *_, seen = as_complete([*whole, waiting], DIRECTIONS)

    assert seen.state == TrialState.COMPLETE
    assert seen.values == pytest.approx([0.8, 0.7])
    assert waiting.state == TrialState.PRUNED  # the trial itself stays
    assert points_of(waiting, 2) == {1: (0.3, 0.7)}


def test_a_trial_without_values_is_the_worst_and_one_that_has_just_begun_stays_running() -> None:
    ended = trial(TrialState.COMPLETE, {1: (0.3, 0.9)}, values=[0.3, 0.9])
    other = trial(TrialState.COMPLETE, {1: (0.6, 0.2)}, values=[0.6, 0.2])

    _, _, diverged, running = as_complete(
        [ended, other, trial(TrialState.PRUNED, {}), trial(TrialState.RUNNING, {})], DIRECTIONS
    )

    assert (diverged.state, diverged.values) == (TrialState.COMPLETE, [0.3, 0.9])
    assert running.state == TrialState.RUNNING


# ---- searches


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random", "qmc"])
@pytest.mark.parametrize("pruner", ["asha", {"name": "asha", "mode": "stop"}, "none"])
def test_every_sampler_takes_two_objectives_with_every_pruner_that_does(sampler: str, pruner: Any) -> None:
    events = search(27 * 8, sampler=sampler, pruner=pruner, slots=3)

    assert len({event.trial for event in events}) >= 8
    assert all(len(event.values) == 2 and event.value == event.values[0] for event in events)
    assert events == search(27 * 8, sampler=sampler, pruner=pruner, slots=3)  # the same seed gives the same search


def test_pruners_that_compare_one_objective_are_refused() -> None:
    with pytest.raises(SpecError, match="pruner: median compares one objective: with several, write asha or none"):
        search(pruner="median")


def test_what_runs_out_of_memory_or_diverges_is_learned_with_two_objectives() -> None:
    def failing(params: Mapping[str, Any], number: int) -> tuple[list[tuple[float, float]], float]:
        values, seconds = curve(params, number)
        if params["size"] > 0.6:
            return [], seconds
        return ([(math.nan, 0.1)] if params["lr"] > 0.8 else values), seconds

    events = search(27 * 10, curve=failing)

    assert len(events) > 100
    assert all(event.params["size"] <= 0.6 for event in events)


def test_pruning_reaches_the_hypervolume_of_optunas_tpe_without_it_in_half_of_the_device_time() -> None:
    ours = theirs = 0.0
    for seed in range(5):
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(
            lambda one: curve({name: one.suggest_float(name, 0, 1) for name in ("size", "lr")}, 0)[0][-1], n_trials=40
        )
        theirs += BOTH.hypervolume([one.values for one in study.trials]) or 0.0
        ours += reached(search(27 * 20, seed=seed))

    assert ours >= theirs
