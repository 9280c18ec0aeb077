"""What samplers learn of constraints: in a space of which half is infeasible, few proposals are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hpo.search.feasible import Feasibility
from hpo.search.points import Points
from hpo.search.simulate import Event, simulate
from hpo.space import Choice, Float, Int, Parameter, SearchSpace

NETS = SearchSpace(
    (
        Parameter("depth", Int(1, 6), owner="model"),
        Parameter("width", Int(8, 512, log=True), owner="model"),
        Parameter("lr", Float(1e-4, 1e-1, log=True), owner="model"),
        Parameter("dropout", Float(0.0, 0.5), owner="model"),
        Parameter("optimizer", Choice("adam", "sgd"), owner="model"),
        Parameter("momentum", Float(0.0, 0.99), owner="model", when={"optimizer": ("sgd",)}),
    )
)
PLANE = SearchSpace((Parameter("x", Float(0.0, 1.0), owner="model"), Parameter("y", Float(0.0, 1.0), owner="model")))
MEDIAN_SIZE = 12_000  # of these networks, half are larger


def size_of(params: Mapping[str, Any]) -> float:
    return float(params["depth"] * params["width"] ** 2)


def too_large(params: Mapping[str, Any]) -> dict[str, float]:
    return {"parameters": size_of(params) / MEDIAN_SIZE - 1}


def net(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
    """Larger networks are better: the best feasible ones are next to the infeasible ones."""
    top = (
        0.7 + 0.01 * math.log(size_of(params)) - 0.02 * (math.log10(params["lr"]) + 2.5) ** 2 - 0.1 * params["dropout"]
    )
    return [top - 0.3 * math.exp(-epoch / 3) for epoch in range(1, 10)], 1.0


def plane(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
    top = 1 - (params["x"] - 0.4) ** 2 - (params["y"] - 0.6) ** 2
    return [top - math.exp(-epoch / 3) for epoch in range(1, 10)], 1.0


def beyond_a_line(params: Mapping[str, Any]) -> dict[str, float]:
    return {"sum": params["x"] + params["y"] - 1}


def in_the_middle(params: Mapping[str, Any]) -> dict[str, float]:
    return {"x": 0.25 - abs(params["x"] - 0.5)}


def infeasible(space: SearchSpace, curve: Any, constraints: Any, **changes: Any) -> list[bool]:
    """Whether each of the first 60 proposals is."""
    found: list[bool] = []

    def watched(params: dict[str, Any]) -> dict[str, float]:
        amounts: dict[str, float] = constraints(params)
        found.append(max(amounts.values()) > 0)
        return amounts

    events = simulate(space, curve, epochs=9, device_seconds=2000.0, constraints=watched, **changes)
    for _ in itertools.takewhile(lambda event: len(found) < 60, events):
        pass
    return found[:60]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize(
    ("space", "curve", "constraints"),
    [(NETS, net, too_large), (PLANE, plane, beyond_a_line), (PLANE, plane, in_the_middle)],
)
def test_a_quarter_at_most_of_the_proposals_is_infeasible_where_half_of_the_space_is(
    space: SearchSpace, curve: Any, constraints: Any, slots: int, sampler: str
) -> None:
    def share(name: str) -> float:
        found = [infeasible(space, curve, constraints, sampler=name, slots=slots, seed=seed) for seed in range(4)]
        return float(np.mean([seen[20:] for seen in found]))

    assert share(sampler) <= 0.25
    assert share("random") > 0.4


def test_what_is_refused_is_not_trained_and_costs_nothing() -> None:
    refused: list[bool] = []

    def constraints(params: dict[str, Any]) -> dict[str, float]:
        refused.append(params["x"] > 0.5)
        return {"x": params["x"] - 0.5}

    events = list(
        simulate(PLANE, plane, epochs=9, sampler="random", pruner="none", device_seconds=90.0, constraints=constraints)
    )

    assert max(event.at for event in events) == 90.0
    assert len({event.trial for event in events}) == 10
    assert all(event.params["x"] <= 0.5 for event in events)
    assert refused.count(True) >= 3


def test_a_space_without_a_feasible_point_ends_the_search() -> None:
    events: list[Event] = list(
        simulate(PLANE, plane, epochs=9, sampler="random", device_seconds=1e9, constraints=lambda params: {"x": 1.0})
    )

    assert events == []


def test_the_same_proposals_are_made_again() -> None:
    one, other = (infeasible(NETS, net, too_large, sampler="tpe", slots=4, seed=7) for _ in range(2))

    assert one == other


def trial_of(x: float, *, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    amount = {"constraints:x": x - 0.5}
    value = 0.0 if state == TrialState.COMPLETE else None
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={"x": x, "y": 0.5},
        distributions=dict.fromkeys(("x", "y"), optuna.distributions.FloatDistribution(0.0, 1.0)),
        system_attrs=amount,
    )


def test_points_near_infeasible_trials_are_not_likely_to_be_feasible() -> None:
    found = Feasibility(Points(PLANE), [trial_of(place / 20) for place in range(21)])

    near, far = found.probabilities([{"x": 0.9, "y": 0.1}, {"x": 0.1, "y": 0.9}])

    assert near < 0.2
    assert far > 0.8


def test_running_and_failed_trials_say_nothing() -> None:
    states = (TrialState.RUNNING, TrialState.FAIL)
    trials = [trial_of(0.1), *(trial_of(0.9, state=state) for state in states)]

    assert not Feasibility(Points(PLANE), trials).has_both
