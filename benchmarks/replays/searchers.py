"""The searchers that `search_quality.py` compares: ours, Optuna's, and other tools' where they are installed."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.errors import HpoError
from hpo.search.simulate import Event, simulate
from hpo.space import SearchSpace
from replays.clock import Budget, Curve, Peer, searched
from replays.peers import PEERS

BASIS = "tpe + asha"  # that the others are compared with: the default before `auto`

Searcher = Callable[[SearchSpace, Curve, Budget], Iterator[Event]]


class Optuna:
    """Optuna's tutorial: report each epoch, end the trial where it should be pruned, return the last value."""

    def __init__(self, space: SearchSpace, budget: Budget, *, sampler: str, pruner: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            direction="maximize",
            sampler=getattr(optuna.samplers, sampler)(seed=budget.seed),
            pruner=getattr(optuna.pruners, pruner)(),
        )
        self._space, self._epochs = space, budget.epochs
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return trial.number, self._space.suggest(trial)

    def report(self, trial: int, epoch: int, value: float) -> bool:
        asked = self._trials[trial]
        asked.report(value, epoch)
        if epoch == self._epochs:
            self._study.tell(asked, value)
            return False
        if asked.should_prune():
            self._study.tell(asked, state=TrialState.PRUNED)
            return False
        return True

    def fail(self, trial: int) -> None:
        self._study.tell(self._trials[trial], state=TrialState.FAIL)


# Optuna's defaults, and its GPSampler, which learns nothing from pruned trials.
OPTUNA: Mapping[str, Callable[[SearchSpace, Budget], Peer]] = {
    "optuna": partial(Optuna, sampler="TPESampler", pruner="MedianPruner"),
    "optuna gp": partial(Optuna, sampler="GPSampler", pruner="NopPruner"),
}
ARGUMENTS = inspect.signature(simulate).parameters.keys()  # what our search can be asked for
USUAL = (BASIS, "gp + asha", "auto + asha", "random + asha", "random", *OPTUNA, *PEERS)


def searcher_of(name: str) -> Searcher:
    """The searcher of a row: `tpe + asha`, any sampler and pruner of ours, or `optuna`, `dehb`, ...

    Raises:
        HpoError: there is none, or it is not installed.
    """
    if name in OPTUNA:
        return _of_peer(OPTUNA[name])
    if name in PEERS:
        package, make = PEERS[name]
        if importlib.util.find_spec(package) is None:
            raise HpoError(f"{name} is not installed")
        return _of_peer(make)
    probe = SearchSpace.from_json([])
    try:
        next(ours(name, probe, lambda *_: ([0.0], 1.0), Budget(epochs=1, slots=1, device_seconds=1.0, seed=0)))
    except HpoError as error:
        raise HpoError(f"'{name}' is no searcher: {error}") from error
    return partial(ours, name)


def ours(name: str, space: SearchSpace, curve: Any, budget: Budget, **more: Any) -> Iterator[Event]:
    """A search as `hpo run` does it, but without the defaults as its first trial, which no other tool has.

    Args:
        name: `SAMPLER + PRUNER`, or `SAMPLER` for none.
        more: arguments of `simulate`.
    """
    sampler, _, pruner = name.partition(" + ")
    return simulate(
        space,
        curve,
        epochs=budget.epochs,
        sampler={"class": sampler} if ":" in sampler else sampler,
        pruner={"class": pruner} if ":" in pruner else pruner or "none",
        slots=budget.slots,
        device_seconds=budget.device_seconds,
        seed=budget.seed,
        first_trial="sampled",
        **more,
    )


def _of_peer(make: Callable[[SearchSpace, Budget], Peer]) -> Searcher:
    def search(space: SearchSpace, curve: Curve, budget: Budget) -> Iterator[Event]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from searched(make(space, budget), curve, budget)

    return search
