"""What else a search should do: avoid what fails, find a front of two objectives, and propose the same again."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import optuna

from hpo.search.simulate import Event
from replays.clock import Budget, Curve, searched
from replays.grid import Grid, grid_of
from replays.grids import RECIPES
from replays.runs import Plan, Run, choices
from replays.searchers import ARGUMENTS, BASIS, ours, searcher_of
from replays.tables import bootstrapped, median, until

PROPOSALS = slice(20, 60)  # whose infeasible share is counted
LONG = 1e6  # trainings: more than are made
REPEATED = 5  # searches, which another process repeats
MARKS = 60  # at which hypervolumes are compared
BOTH = ", two objectives"
FRONT = f"optuna{BOTH}"
EARLIER = 20.0  # trainings of each search of a related grid that another one starts from
OTHER_SEEDS = 1000  # from which on no search of the tables has its seed


class _Heard:
    """A curve that remembers for which points it was asked, in their order.

    Args:
        most: weights of a model that fits into memory.
    """

    def __init__(self, grid: Grid, seed: int, *, most: float = math.inf) -> None:
        self._grid, self._curve, self._most = grid, grid.curve(seed), most
        self.points: list[dict[str, Any]] = []

    def __call__(self, params: dict[str, Any], trial: int) -> tuple[Sequence[float], float]:
        self.points.append(params)
        values, seconds = self._curve(params, trial)
        return (values if self.fits(params) else []), seconds

    def fits(self, params: Mapping[str, Any]) -> bool:
        return self._grid.parameters(params) <= self._most


def infeasible_share(task: str, searcher: str, *, slots: int, seed: int) -> float:
    """Of proposals 21 to 60, where the larger half of the models does not fit into memory."""
    grid = grid_of(task)
    curve = _Heard(grid, seed, most=grid.median_parameters())
    budget = Budget(grid.epochs, slots, LONG * grid.training_seconds, seed)
    for _ in searcher_of(searcher)(grid.space, curve, budget):
        if len(curve.points) >= PROPOSALS.stop:
            break
    return float(np.mean([not curve.fits(point) for point in curve.points[PROPOSALS]]))


def proposals(task: str, searcher: str, *, slots: int, seed: int, trainings: float) -> list[dict[str, Any]]:
    """The points of a search, in their order."""
    grid = grid_of(task)
    curve = _Heard(grid, seed)
    budget = Budget(grid.epochs, slots, trainings * grid.training_seconds, seed)
    for _ in searcher_of(searcher)(grid.space, curve, budget):
        pass
    return curve.points


def same_proposals(task: str, searcher: str, *, slots: int, seeds: Sequence[int], trainings: float) -> int:
    """In how many searches another process proposes the same."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        pairs = [
            (
                other.submit(proposals, task, searcher, slots=slots, seed=seed, trainings=trainings),
                proposals(task, searcher, slots=slots, seed=seed, trainings=trainings),
            )
            for seed in seeds
        ]
        return sum(there.result() == here for there, here in pairs)


class _TwoObjectives:
    """Optuna's TPE with accuracy and the number of weights, which cannot prune."""

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid = grid
        self._study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed)
        )
        self._trials: dict[int, tuple[optuna.Trial, dict[str, Any]]] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        trial = self._study.ask()
        params = self._grid.space.suggest(trial)
        self._trials[trial.number] = (trial, params)
        return trial.number, params

    def report(self, trial: int, epoch: int, value: float) -> bool:
        if epoch < self._grid.epochs:
            return True
        asked, params = self._trials[trial]
        self._study.tell(asked, [value, self._grid.parameters(params)])
        return False

    def fail(self, trial: int) -> None:
        raise AssertionError("every point of a grid has a curve")


def after_related(task: str, searcher: str, *, slots: int, seed: int, trainings: float) -> Run:
    """A search that starts from two of the related grid, each by today's default."""
    grid, related = grid_of(task), grid_of(RECIPES[task].related)
    earlier = []
    for other in (seed, seed + OTHER_SEEDS):
        budget = Budget(related.epochs, slots, EARLIER * related.training_seconds, other)
        earlier.append(list(ours(BASIS, related.space, related.curve(other), budget)))
    budget = Budget(grid.epochs, slots, trainings * grid.training_seconds, seed)
    events = ours(searcher, grid.space, grid.curve(seed), budget, start_from=earlier)
    return Run(Plan(task, searcher, slots, seed, trainings), tuple(choices(grid, events, seed)))


def hypervolumes(task: str, searcher: str, *, slots: int, seed: int, trainings: float, marks: int) -> list[float]:
    """The share of the grid's own hypervolume after each of `marks` equal parts of the time.

    The objectives are the validation accuracy above the grid's median, and the number of weights on a logarithmic
    scale, below the grid's most.
    """
    grid = grid_of(task)
    budget = Budget(grid.epochs, slots, trainings * grid.training_seconds, seed)
    curve: Curve = grid.curve(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if searcher == FRONT:
            events = list(searched(_TwoObjectives(grid, seed), curve, budget))
        elif searcher.endswith(BOTH):
            both = {"direction": ("maximize", "minimize")}
            events = list(ours(searcher.removesuffix(BOTH), grid.space, grid.two_objectives(seed), budget, **both))
        else:
            events = list(searcher_of(searcher)(grid.space, curve, budget))
    whole = _hypervolume(grid.objectives())
    found = []
    for mark in range(1, marks + 1):
        until = budget.device_seconds * mark / marks
        found.append(_hypervolume(_models(grid, (event for event in events if event.at <= until))) / whole)
    return found


def _models(grid: Grid, events: Iterable[Event]) -> list[tuple[float, float]]:
    """The objectives of each trial's best model."""
    best: dict[int, Event] = {}
    for event in events:
        if event.trial not in best or event.value > best[event.trial].value:
            best[event.trial] = event
    return [grid.objectives_of(event.params, event.epoch) for event in best.values()]


def _hypervolume(points: Iterable[tuple[float, float]]) -> float:
    """The area below the points, both of whose objectives are to be large, and above 0."""
    area, height = 0.0, 0.0
    for right, up in sorted(((x, y) for x, y in points if x > 0 and y > 0), reverse=True):
        area += right * max(0.0, up - height)
        height = max(height, up)
    return area


def tables(
    grids: Sequence[Grid], searchers: Sequence[str], *, seeds: Sequence[int], slots: int, trainings: float
) -> Iterator[str]:
    """The tables, each with a column for each grid; what this version of the search cannot do is left out."""
    heads = " | ".join(grid.name for grid in grids)
    rule = "|---|" + "---|" * len(grids)
    yield f"Of proposals 21 to 60, the share that fails where the larger half of the models does, {slots} slots:\n"
    yield f"| | {heads} |\n{rule}"
    for searcher in searchers:
        cells = []
        for grid in grids:
            failed = [100 * infeasible_share(grid.name, searcher, slots=slots, seed=seed) for seed in seeds]
            cells.append(f"{bootstrapped(failed, median).text(0)} %")
        yield f"| `{searcher}` | " + " | ".join(cells) + " |"
    yield ""
    again = seeds[:REPEATED]
    yield f"Searches of {len(again)} whose proposals are the same in another process, {slots} slots:\n"
    yield f"| | {heads} |\n{rule}"
    for searcher in searchers:
        if " + " in searcher:
            counts = [
                same_proposals(grid.name, searcher, slots=slots, seeds=again, trainings=trainings / 3) for grid in grids
            ]
            yield f"| `{searcher}` | " + " | ".join(map(str, counts)) + " |"
    yield ""
    yield from _front_table(grids, searchers, seeds=seeds, slots=slots, trainings=trainings)
    if "start_from" in ARGUMENTS:
        yield from _earlier_table(grids, searchers, seeds=seeds, slots=slots, trainings=trainings)


def _front_table(
    grids: Sequence[Grid], searchers: Sequence[str], *, seeds: Sequence[int], slots: int, trainings: float
) -> Iterator[str]:
    """Those of one objective only find a front by the way."""
    our = [name for name in searchers if " + " in name]
    several = [name + BOTH for name in our] if "values" in {field.name for field in dataclasses.fields(Event)} else []
    yield (
        f"Accuracy and number of weights, {slots} slots: the share of the grid's hypervolume after {trainings:.0f} "
        f"trainings, and the part of that time until the hypervolume of `{FRONT}` at its end:\n"
    )
    yield f"| | {' | '.join(grid.name for grid in grids)} |\n|---|{'---|' * len(grids)}"
    theirs: dict[str, float] = {}
    for searcher in (FRONT, *several, *(name for name in our if name == BASIS)):
        cells = []
        for grid in grids:
            shares = np.array(
                [
                    hypervolumes(grid.name, searcher, slots=slots, seed=seed, trainings=trainings, marks=MARKS)
                    for seed in seeds
                ]
            )
            reached = theirs.setdefault(grid.name, float(np.median(shares[:, -1])))
            cells.append(f"{bootstrapped(shares[:, -1], median).text(2)}, {_part(shares, reached)}")
        yield f"| `{searcher}` | " + " | ".join(cells) + " |"
    yield ""


def _part(shares: Any, reached: float) -> str:
    """The part of the time after which the median share is so large."""
    found = np.median(shares, axis=0) >= reached
    return f"{(found.argmax() + 1) / len(found):.2f}" if found.any() else "not reached"


def _earlier_table(
    grids: Sequence[Grid], searchers: Sequence[str], *, seeds: Sequence[int], slots: int, trainings: float
) -> Iterator[str]:
    grids = [grid for grid in grids if RECIPES[grid.name].related]
    yield f"Trainings until random's 200, {slots} slots, starting from two searches of the related grid:\n"
    yield f"| | {' | '.join(grid.name for grid in grids)} |\n|---|{'---|' * len(grids)}"
    for searcher in (name for name in searchers if name.partition(" + ")[0] in ("tpe", "gp", "auto")):
        cells = []
        for grid in grids:
            runs = [after_related(grid.name, searcher, slots=slots, seed=seed, trainings=trainings) for seed in seeds]
            cells.append(until(runs, grid.random_regret(200)).text(1, most=trainings))
        yield f"| `{searcher}` | " + " | ".join(cells) + " |"
    yield ""
