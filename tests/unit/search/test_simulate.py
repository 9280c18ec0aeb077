"""A search that is simulated: its budget, its slots, its rungs, and what samplers learn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.search.simulate import Event, simulate
from hpo.space import Choice, Float, Int, Parameter, SearchSpace

SPACE = SearchSpace(
    (Parameter("x", Float(0.0, 1.0), owner="model"), Parameter("kind", Choice("a", "b"), owner="model"))
)


def curve(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
    top = 1 - (params["x"] - 0.3) ** 2 - 0.1 * (params["kind"] == "a")
    return [top - 0.5 * math.exp(-epoch / 6) for epoch in range(1, 28)], 1 + trial % 3


def search(**changes: Any) -> list[Event]:
    arguments: dict[str, Any] = {"epochs": 27, "device_seconds": 500.0, "sampler": "tpe", "pruner": "asha"} | changes
    return list(simulate(arguments.pop("space", SPACE), arguments.pop("curve", curve), **arguments))


@pytest.mark.parametrize("slots", [1, 4])
def test_the_budget_is_device_time_and_slots_train_at_the_same_time(slots: int) -> None:
    events = search(slots=slots, pruner="none")

    assert [event.at for event in events] == sorted(event.at for event in events)
    spent = sum(1 + event.trial % 3 for event in events)
    assert 500 - 3 * slots <= events[-1].at <= 500
    assert spent == pytest.approx(500, abs=3 * slots)
    first = {event.trial for event in itertools.takewhile(lambda event: event.at <= 3 * slots, events)}
    assert first == set(range(slots))


def test_the_same_arguments_give_the_same_events_and_another_seed_gives_others() -> None:
    assert search(slots=4, seed=3) == search(slots=4, seed=3) != search(slots=4, seed=4)


def test_a_space_may_be_given_as_json() -> None:
    assert search(space=SPACE.to_json()) == search()


def test_auto_comes_back_to_what_a_few_early_trials_have_made_look_bad() -> None:
    def misleading(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        is_narrow = params["kind"] == "a" and abs(params["x"] - 0.9) < 0.08  # where alone 'a' is the better one
        return [1.0 if is_narrow else 0.5 - params["x"] - 0.4 * (params["kind"] == "a")] * 27, 1

    ended_well = []
    for seed in range(5):
        events = search(curve=misleading, sampler="auto", device_seconds=1200.0, seed=seed)
        kinds = {event.trial: event.params["kind"] for event in events if event.trial >= 30}
        assert sum(kind == "a" for kind in kinds.values()) > 0.1 * len(kinds)
        ended_well.append(max(event.value for event in events) == 1.0)

    assert sum(ended_well) >= 4


SMALL = SearchSpace(
    (
        Parameter("kind", Choice("a", "b", [1, 2]), owner="model"),
        Parameter("layers", Int(1, 4), owner="model"),
        Parameter("rate", Float(0.0, 0.5, step=0.25), owner="model", when={"kind": ("a",)}),
    )
)  # of 4 * (3 + 1 + 1) points


@pytest.mark.parametrize("sampler", ["auto", "tpe", "gp", "random", "qmc", "nsga2"])
def test_each_point_is_tried_once_and_then_the_search_ends(sampler: str) -> None:
    def flat(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        return [1.0 - 0.1 * params["layers"]] * 3, 1.0

    events = search(space=SMALL, curve=flat, epochs=3, sampler=sampler, slots=3, device_seconds=90.0)

    points = [str(dict(event.params)) for event in events if event.epoch == 1]
    assert len(points) == len(set(points)) == 20
    assert events[-1].at < 90.0


def test_rungs_pause_and_promote() -> None:
    events = search(device_seconds=2000.0)

    by_trial = {number: [event for event in events if event.trial == number] for number in {e.trial for e in events}}
    lengths = [len(found) for found in by_trial.values()]
    assert lengths.count(3) > len(lengths) / 3  # the first rung
    assert 27 in lengths
    assert all([event.epoch for event in found] == list(range(1, len(found) + 1)) for found in by_trial.values())
    pauses = [number for number, found in by_trial.items() if _pauses(found, events)]
    assert pauses


def _pauses(found: list[Event], events: list[Event]) -> bool:
    """Whether another trial has trained between two epochs of a trial of a search with one slot."""
    places = [events.index(event) for event in found]
    return any(later - earlier > 1 for earlier, later in itertools.pairwise(places))


def test_what_runs_out_of_memory_takes_time_and_is_avoided() -> None:
    def limited(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        failed.append(params["x"] > 0.5)
        return ([], 1.0) if failed[-1] else ([params["x"]], 1.0)

    failed: list[bool] = []
    events = search(curve=limited, epochs=1, pruner="none", device_seconds=60.0)

    assert len(failed) in (60, 61)
    assert len(events) == failed[:60].count(False)
    assert failed[30:].count(True) < 15


def test_a_trial_ends_with_a_value_that_is_not_finite() -> None:
    events = search(curve=lambda params, trial: ([0.5, math.nan, 0.7], 1.0), epochs=3, device_seconds=10.0)

    assert [event.epoch for event in events] == [1, 2] * 5
    assert math.isnan(events[1].value)


def test_a_grid_ends_when_it_is_exhausted() -> None:
    space = SearchSpace((Parameter("kind", Choice("a", "b", "c")),))

    events = search(space=space, curve=lambda params, trial: ([1.0], 1.0), epochs=1, sampler="grid", slots=2)

    assert [event.params["kind"] for event in events] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 0}, "slots 0, epochs 27 and device_seconds 500.0 should be positive"),
        ({"device_seconds": 0.0}, "should be positive"),
        ({"sampler": "tpee"}, "sampler: 'tpee' is not known, did you mean 'tpe'"),
        ({"curve": lambda params, trial: ([1.0], 0.0)}, "an epoch of trial 0 takes 0.0 seconds"),
    ],
)
def test_invalid_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        search(**changes)


@pytest.mark.parametrize("sampler", ["auto", "tpe", "gp"])
def test_searched_lengths_are_judged_by_their_share_so_that_short_trainings_are_not_preferred(sampler: str) -> None:
    """Longer is better here; short trainings would pass no rung, and be complete before the others are judged."""
    space = SearchSpace((*SPACE.values(), Parameter("epochs", Int(5, 60, log=True), owner="trainer")))

    def longer_is_better(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        own = params["epochs"]
        top = 1 - (params["x"] - 0.3) ** 2 - 0.1 * (params["kind"] == "a") - 0.6 / math.sqrt(own)
        return [top - 0.5 * math.exp(-4 * epoch / own) for epoch in range(1, own + 1)], 1.0

    lengths, best = [], []
    for seed in range(3):
        events = search(
            space=space, curve=longer_is_better, epochs=60, sampler=sampler, slots=4, device_seconds=1200.0, seed=seed
        )
        lengths += [event.params["epochs"] for event in events if event.epoch == 1 and event.trial >= 15]
        best.append(max(events, key=lambda event: event.value).params["epochs"])

    assert sum(lengths) / len(lengths) > 27  # at random 22
    assert max(best) > 40
