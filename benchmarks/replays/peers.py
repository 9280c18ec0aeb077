"""Searchers of other tools, where they are installed: `pip install syne-tune dehb smac`.

Their spaces have no conditions and no steps: they search all parameters of a grid, a number by its place among its
values, and a trial takes those that are active.
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpo.search.grid import grid_points
from hpo.space import Choice, SearchSpace
from replays.clock import Budget, Peer


class _Values:
    """The values of each parameter, of which the tools search the places."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        points = list(grid_points(space))
        self.of = {name: list(dict.fromkeys(point[name] for point in points if name in point)) for name in space}

    def is_ordered(self, name: str) -> bool:
        return not isinstance(self._space[name].range, Choice)

    def params(self, places: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for parameter in self._space.values():
            if parameter.is_active(found):
                found[parameter.name] = self.of[parameter.name][int(places[parameter.name])]
        return found

    def for_config_space(self, seed: int) -> Any:
        import ConfigSpace

        space = ConfigSpace.ConfigurationSpace(seed=seed)
        for name, values in self.of.items():
            if self.is_ordered(name):
                space.add(ConfigSpace.UniformIntegerHyperparameter(name, 0, len(values) - 1))
            else:
                space.add(ConfigSpace.CategoricalHyperparameter(name, list(range(len(values)))))
        return space


class SyneTune:
    """A scheduler of Syne Tune's baselines, which stops trials."""

    def __init__(self, space: SearchSpace, budget: Budget, *, baseline: str) -> None:
        from syne_tune import config_space
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._values = _Values(space)
        searched = {
            name: config_space.randint(0, len(values) - 1)
            if self._values.is_ordered(name)
            else config_space.choice(list(range(len(values))))
            for name, values in self._values.of.items()
        }
        np.random.seed(budget.seed)
        self._scheduler = getattr(baselines, baseline)(
            searched,
            metric="value",
            time_attr="epoch",
            max_t=budget.epochs,
            do_minimize=False,
            random_seed=budget.seed,
        )
        self._epochs, self._make, self._trials = budget.epochs, Trial, dict[int, Any]()

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        places = self._scheduler.suggest().config
        number = len(self._trials)
        self._trials[number] = self._make(number, places, datetime.datetime(2000, 1, 1))
        self._scheduler.on_trial_add(self._trials[number])
        return number, self._values.params(places)

    def report(self, trial: int, epoch: int, value: float) -> bool:
        asked, result = self._trials[trial], {"value": value, "epoch": epoch}
        decision = self._scheduler.on_trial_result(asked, result)
        if epoch == self._epochs:
            self._scheduler.on_trial_complete(asked, result)
        return bool(decision == "CONTINUE")

    def fail(self, trial: int) -> None:
        self._scheduler.on_trial_error(self._trials[trial])


class Dehb:
    """DEHB; each of its trainings begins anew, as in its paper."""

    def __init__(self, space: SearchSpace, budget: Budget) -> None:
        from dehb import DEHB
        from loguru import logger

        logger.disable("dehb")
        self._values, self._epochs = _Values(space), budget.epochs
        self._folder = tempfile.TemporaryDirectory()
        self._dehb = DEHB(
            f=None,
            cs=self._values.for_config_space(budget.seed),
            dimensions=len(space),
            min_fidelity=1,
            max_fidelity=budget.epochs,
            eta=3,
            seed=budget.seed,
            n_workers=1,
            output_path=self._folder.name,
            save_freq=None,
        )
        self._jobs: list[Any] = []

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        self._jobs.append(self._dehb.ask())
        return len(self._jobs) - 1, self._values.params(self._jobs[-1]["config"])

    def report(self, trial: int, epoch: int, value: float) -> bool:
        job = self._jobs[trial]
        if epoch < min(round(job["fidelity"]), self._epochs):
            return True
        self._dehb.tell(job, {"fitness": -value, "cost": 1.0})
        return False

    def fail(self, trial: int) -> None:
        self._dehb.tell(self._jobs[trial], {"fitness": 1.0, "cost": 1.0})


class Smac:
    """SMAC's facade for hyperparameters, a random forest; complete trainings only."""

    def __init__(self, space: SearchSpace, budget: Budget) -> None:
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario

        self._values, self._epochs = _Values(space), budget.epochs
        configurations = self._values.for_config_space(budget.seed)
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            configurations,
            n_trials=1000,
            deterministic=True,
            seed=budget.seed,
            output_directory=Path(self._folder.name),
        )
        design = Facade.get_initial_design(scenario, n_configs=8)
        self._facade = Facade(
            scenario, lambda config, seed=0: 0.0, initial_design=design, overwrite=True, logging_level=logging.ERROR
        )
        self._asked: list[Any] = []

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        self._asked.append(self._facade.ask())
        return len(self._asked) - 1, self._values.params(self._asked[-1].config)

    def report(self, trial: int, epoch: int, value: float) -> bool:
        if epoch < self._epochs:
            return True
        self._tell(trial, -value)
        return False

    def fail(self, trial: int) -> None:
        self._tell(trial, 1.0)

    def _tell(self, trial: int, cost: float) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self._facade.tell(self._asked[trial], TrialValue(cost=cost))


# The package to import, and the peer, by its name in the tables.
PEERS: Mapping[str, tuple[str, Callable[[SearchSpace, Budget], Peer]]] = {
    "syne-tune asha": ("syne_tune", partial(SyneTune, baseline="ASHA")),
    "syne-tune bohb": ("syne_tune", partial(SyneTune, baseline="BOHB")),
    "dehb": ("dehb", Dehb),
    "smac": ("smac", Smac),
}
