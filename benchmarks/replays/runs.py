"""Searches of recorded grids: what each would have chosen, at any time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from hpo.search.simulate import Event
from replays.clock import Budget
from replays.grid import Grid, grid_of
from replays.searchers import searcher_of


class Choice(NamedTuple):
    """What a search would choose from some time on.

    Attributes:
        at: complete trainings of the mean duration that would have taken as much device time.
        regret: of its configuration, the difference to the best of the grid, as a fraction.
        tested: the test accuracy of its model.
    """

    at: float
    regret: float
    tested: float


@dataclass(frozen=True)
class Plan:
    """One search. `trainings` is its budget, in complete trainings."""

    task: str
    searcher: str
    slots: int
    seed: int
    trainings: float


@dataclass(frozen=True)
class Run:
    """A search that was made, with its successive choices."""

    plan: Plan
    choices: tuple[Choice, ...]

    def at(self, trainings: float) -> Choice:
        """The choice at that time; before the first epoch, one that knows nothing."""
        made = [choice for choice in self.choices if choice.at <= trainings]
        return made[-1] if made else Choice(0.0, 1.0, 0.0)


def run(plan: Plan) -> Run:
    """Search the grid."""
    grid = grid_of(plan.task)
    budget = Budget(grid.epochs, plan.slots, plan.trainings * grid.training_seconds, plan.seed)
    events = searcher_of(plan.searcher)(grid.space, grid.curve(plan.seed), budget)
    return Run(plan, tuple(choices(grid, events, plan.seed)))


def choices(grid: Grid, events: Iterable[Event], seed: int) -> Iterator[Choice]:
    """The trial with the best epoch so far, and its model after that epoch, as `hpo best` gives it."""
    best = -1.0
    for event in events:
        if event.value > best:
            best = event.value
            tested = grid.tested(event.params, event.epoch, trial=event.trial, seed=seed)
            yield Choice(event.at / grid.training_seconds, grid.best - grid.truth(event.params), tested)


def read(path: Path) -> dict[Plan, Run]:
    """The searches in a file of `append`."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        plain = json.loads(line)
        plan = Plan(**plain["plan"])
        found[plan] = Run(plan, tuple(Choice(*choice) for choice in plain["choices"]))
    return found


def append(path: Path, done: Run) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(done)) + "\n")
