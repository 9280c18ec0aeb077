"""The sampler `gp`: what it learns from, and what it proposes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from hpo.errors import SpecError
from hpo.search import bayesian, gaussian_process
from hpo.search.algorithms import STARTUP
from hpo.search.simulate import Event, simulate
from hpo.space import Choice, Float, Int, Parameter, SearchSpace

SPACE = SearchSpace(tuple(Parameter(name, Float(0.0, 1.0)) for name in "xyz"))


def quality(params: dict[str, float]) -> float:
    return 1.0 - (params["x"] - 0.3) ** 2 - (params["y"] - 0.7) ** 2 - 0.3 * (params["z"] - 0.5) ** 2


def rising(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
    return [quality(params) - 0.5 * math.exp(-epoch / 6) for epoch in range(1, 28)], 1.0


def search(curve: Any = rising, space: SearchSpace = SPACE, **changes: Any) -> list[Event]:
    given: dict[str, Any] = {"epochs": 27, "device_seconds": 27.0 * 15, "sampler": "gp", "first_trial": "sampled"}
    return list(simulate(space, curve, **given | changes))


def points(events: list[Event]) -> list[dict[str, Any]]:
    """Of each trial, in the order of their numbers."""
    return [dict(params) for _, params in sorted({event.trial: event.params for event in events}.items())]


@pytest.mark.parametrize(("slots", "trainings"), [(1, 12), (4, 12), (16, 25)])
def test_it_is_closer_to_the_best_than_random_search_with_the_same_rungs(slots: int, trainings: int) -> None:
    def left(sampler: str) -> float:
        found = [search(sampler=sampler, slots=slots, seed=s, device_seconds=27.0 * trainings) for s in range(5)]
        return float(np.median([1 - max(event.value for event in events) for events in found]))

    assert left("gp") < 0.8 * left("random")


def test_it_learns_from_trials_that_wait_at_a_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []

    def counted(*given: Any) -> gaussian_process.Scales:
        fits.append(given)
        return gaussian_process.fit(*given)

    monkeypatch.setattr(bayesian, "fit", counted)

    proposals = len(points(search()))

    assert len(fits) > 0.85 * (proposals - STARTUP)


def test_proposals_to_many_slots_differ() -> None:
    first = points(search(slots=16, seed=2))[16:32]

    apart = [math.dist(a.values(), b.values()) for a, b in itertools.combinations(first, 2)]
    assert min(apart) > 0.005


def test_a_small_space_is_tried_point_by_point_before_any_is_repeated() -> None:
    space = SearchSpace((Parameter("a", Choice("x", "y", "z")), Parameter("b", Int(1, 4))))
    curve = lambda params, trial: ([{"x": 0.1, "y": 0.5, "z": 0.9}[params["a"]] + params["b"] / 100], 1.0)  # noqa: E731

    tried = points(search(curve, space, epochs=1, pruner="none", device_seconds=12.0))

    assert len({tuple(point.items()) for point in tried}) == len(tried) == 12


def test_what_runs_out_of_memory_is_avoided() -> None:
    tried: list[float] = []

    def limited(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        tried.append(params["x"])
        return ([], 1.0) if params["x"] > 0.5 else ([params["x"] - (params["y"] - 0.5) ** 2], 1.0)

    events = search(limited, epochs=1, pruner="none", device_seconds=60.0)

    assert sum(x > 0.5 for x in tried[20:60]) <= 10
    assert max(event.value for event in events) > 0.45


def test_a_conditional_space_is_searched_in_its_branches() -> None:
    space = SearchSpace(
        (
            Parameter("optimizer", Choice("adam", "sgd")),
            Parameter("lr", Float(1e-5, 1e-1, log=True)),
            Parameter("momentum", Float(0.0, 0.99), when={"optimizer": ("sgd",)}),
        )
    )

    def curve(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        log_lr = math.log10(params["lr"]) + (1.7 if "momentum" in params else 3)
        return [-(log_lr**2) - (2 * (params["momentum"] - 0.9) ** 2 - 0.3 if "momentum" in params else 0)], 1.0

    events = search(curve, space, epochs=1, pruner="none", device_seconds=50.0)

    assert max(events, key=lambda event: event.value).params["optimizer"] == "sgd"
    assert max(event.value for event in events) > 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_startup": 3}, "gp has no option 'n_startup', did you mean 'n_startup_trials'"),
        ({"n_startup_trials": -1}, "n_startup_trials -1 should be a whole number, 0 or more"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        search(sampler={"name": "gp", **options})
