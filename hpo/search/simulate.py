"""A search without store, processes or training: what workers would propose, pause, promote and prune."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from hpo.errors import SpecError
from hpo.ipc.messages import OUT_OF_MEMORY
from hpo.search.algorithms import make_pruner, sampler_factory, searched_length
from hpo.search.grid import fixed_point
from hpo.search.halving import make_rungs
from hpo.search.history import History
from hpo.search.prior import FinishedStudy, FinishedTrial, taken_over
from hpo.search.rungs import Verdict
from hpo.space import SearchSpace
from hpo.study.constraints import REFUSALS_THAT_STOP, total
from hpo.study.contradictions import contradictions
from hpo.study.earlier import Earlier
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, Direction

Curve = Callable[[dict[str, Any], int], tuple[Sequence[float] | Sequence[Sequence[float]], float]]
Constraints = Callable[[dict[str, Any]], Mapping[str, float]]
LENGTH = "epochs"


@dataclass(frozen=True)
class Event:
    """A trial has trained an epoch.

    Attributes:
        at: device-seconds since the beginning: seconds times slots.
        value: the objective; of several, the first one.
        values: of all objectives.
    """

    at: float
    trial: int
    epoch: int
    value: float
    params: Mapping[str, Any]
    values: tuple[float, ...] = ()


def simulate(
    space: SearchSpace | Sequence[Mapping[str, Any]],
    curve: Curve,
    *,
    epochs: int,
    direction: Direction | str | Sequence[Direction | str] = Direction.MAXIMIZE,
    sampler: str | Mapping[str, Any] = "auto",
    pruner: str | Mapping[str, Any] = "asha",
    slots: int = 1,
    device_seconds: float,
    seed: int = 0,
    first_trial: str = "defaults",
    points: Sequence[Mapping[str, Any]] = (),
    start_from: Sequence[Iterable[Event]] | None = None,
    constraints: Constraints | None = None,
) -> Iterator[Event]:
    """Search a space in which an epoch costs nothing but counted seconds.

    A slot that is free promotes a trial that may be promoted, and else begins a new one, as a worker does. The same
    arguments give the same events.

    Args:
        space: or its JSON, see `SearchSpace.to_json`. A parameter `epochs` is the length of a trial.
        curve: of a trial's parameters and number, the objective after each epoch, of which there may be fewer than
            `epochs`, and the seconds of an epoch. A value that is not finite ends the trial as diverged; without any
            value, it runs out of memory after these seconds. Of several objectives, an epoch has a value of each.
        epochs: of a complete trial, or of the longest.
        direction: maximize or minimize; of several objectives, one each.
        sampler, pruner: as in a study file.
        device_seconds: the budget; the epoch that exceeds it is not seen.
        first_trial: `defaults` or `sampled`.
        points: that are tried first, each once; they may leave parameters to the sampler.
        start_from: earlier searches, each as its events: their best points are tried after `points`, and tpe and gp
            learn from their trials, see docs/earlier-studies.md. Their values need not be of the same task.
        constraints: of a trial's parameters, by how much they violate each constraint, above 0 being not allowed. Such
            a trial is refused before it trains, and costs nothing.

    Raises:
        SpecError: an argument is invalid, or no trial of an earlier search fits the space.
    """
    if first_trial == "portfolio":
        raise SpecError("first_trial: a simulated search has no model with a portfolio: give the points as points=")
    if slots < 1 or epochs < 1 or not device_seconds > 0:
        raise SpecError(f"slots {slots}, epochs {epochs} and device_seconds {device_seconds} should be positive")
    directions = [direction] if isinstance(direction, str) else list(direction)
    spec = StudySpec.model_validate(
        {
            "study": "simulated",
            "model": "simulated:Model",
            "data": "simulated:Data",
            "objective": [{"metric": f"value {of}", "direction": one} for of, one in enumerate(directions, start=1)],
            "epochs": epochs,
            "sampler": sampler,
            "pruner": pruner,
            "first_trial": first_trial,
            "seed": seed,
            "points": list(points),
        }
    )
    if contradicting := contradictions(spec):
        raise SpecError("; ".join(f"{'.'.join(map(str, path))}: {text}" for path, text in contradicting))
    found = space if isinstance(space, SearchSpace) else SearchSpace.from_json(space)
    found = SearchSpace(tuple(replace(one, owner="trainer") if one.name == LENGTH else one for one in found.values()))
    for point in points:
        if problems := found.problems(point, partial=True):
            raise SpecError(f"points: {problems[0]}")
    earlier = None
    if start_from:
        if spec.objectives.are_several:
            raise SpecError("start_from: is for one objective")
        direction = spec.objective.direction
        earlier = taken_over([_finished(at, events, direction) for at, events in enumerate(start_from)], found)
    return _Simulation(spec, found, curve, slots=slots, constraints=constraints, earlier=earlier).events(device_seconds)


def _finished(place: int, events: Iterable[Event], direction: Direction) -> FinishedStudy:
    params: dict[int, Mapping[str, Any]] = {}
    curves: dict[int, dict[int, float]] = {}
    for event in events:
        params[event.trial] = event.params
        if math.isfinite(event.value):
            curves.setdefault(event.trial, {})[event.epoch] = event.value
    last = max((epoch for curve in curves.values() for epoch in curve), default=0)
    trials = [
        FinishedTrial(params[number], curve, min(curve.values(), key=direction.cost) if last in curve else None)
        for number, curve in curves.items()
    ]
    return FinishedStudy(f"search {place}", direction, trials, {})


class _Simulation:
    def __init__(
        self,
        spec: StudySpec,
        space: SearchSpace,
        curve: Curve,
        *,
        slots: int,
        constraints: Constraints | None,
        earlier: Earlier | None,
    ) -> None:
        self._spec = spec
        self._space = space
        self._firsts = [*spec.points, *([] if earlier is None else earlier.best_points())]
        self._curve = curve
        self._constraints = constraints
        self._slots = slots
        length = searched_length(spec, space)
        self._history = History(
            None,
            0,
            name=spec.study,
            objectives=spec.objectives,
            samplers=sampler_factory(spec, space, Path(), earlier),
            pruner=make_pruner(spec, Path()),
            diverged=spec.objective.diverged,
            failed=spec.objective.failed,
            rungs=make_rungs(spec),
            length=None if length is None else (length, spec.max_epochs),
        )
        self._trials: dict[int, _Trial] = {}
        self._order = itertools.count()
        self._ends: list[tuple[float, int, int]] = []  # (seconds, order, trial) of the epochs that are trained

    def events(self, device_seconds: float) -> Iterator[Event]:
        for _ in range(self._slots):
            self._begin(0.0)
        while self._ends:
            now, _, number = heapq.heappop(self._ends)
            if now * self._slots > device_seconds:
                return
            trial = self._trials[number]
            if not len(trial.values):
                self._history.end(number, TrialState.FAIL, cause=OUT_OF_MEMORY)
                self._begin(now)
                continue
            trial.epoch += 1
            values = tuple(map(float, np.atleast_1d(trial.values[trial.epoch - 1])))
            yield Event(now * self._slots, number, trial.epoch, values[0], trial.params, values)
            if self._goes_on(number, trial, values):
                self._train(now, number)
            else:
                self._begin(now)

    def _begin(self, now: float) -> None:
        """Give a free slot a trial; none, where the space has no further points."""
        if promotable := self._history.promotable():
            number = promotable[0]
            self._history.adopt(number)
            self._trials[number].granted = self._trials[number].epoch
            self._train(now, number)
            return
        for _ in range(REFUSALS_THAT_STOP):
            if self._propose(now):
                return

    def _propose(self, now: float) -> bool:
        """Begin a trial, if there is a point left; whether it was not refused."""
        number = len(self._trials)
        has_first = number < len(self._firsts)
        point = self._firsts[number] if has_first else fixed_point(self._spec, self._space, number)
        if point is None and self._spec.sampler.name == "grid":
            return True
        self._history.adopt(number, is_new=True)
        params = self._history.suggest(number, self._space, point=point)
        violations = {} if self._constraints is None else self._constraints(dict(params))
        self._history.constrain(number, violations)
        if total(violations) > 0:
            self._trials[number] = _Trial(params, (), 1.0)
            self._history.end(number, TrialState.FAIL, (), cause=AttemptEnd.REFUSED)
            return False
        values, seconds = self._curve(dict(params), number)
        if not seconds > 0:
            raise SpecError(f"curve: an epoch of trial {number} takes {seconds} seconds, which should be positive")
        self._trials[number] = _Trial(params, values, float(seconds))
        self._train(now, number)
        return True

    def _train(self, now: float, number: int) -> None:
        heapq.heappush(self._ends, (now + self._trials[number].seconds, next(self._order), number))

    def _goes_on(self, number: int, trial: _Trial, values: tuple[float, ...]) -> bool:
        """Record an epoch, and whether the trial trains another one; see `hpo.worker.decision.decide`."""
        history = self._history
        if not all(map(math.isfinite, values)):
            best = self._best(number)
            history.end(number, TrialState.COMPLETE if best else TrialState.FAIL, best, cause=AttemptEnd.DIVERGED)
            return False
        verdict, _ = history.report(number, trial.epoch, *values)
        length = min(int(trial.params.get(LENGTH, self._spec.max_epochs)), len(trial.values))
        if trial.epoch >= length:
            history.end(number, TrialState.COMPLETE, self._best(number))
            return False
        if verdict == Verdict.CONTINUE or trial.epoch <= trial.granted:
            return True
        if verdict == Verdict.PRUNE:
            history.end(number, TrialState.PRUNED, values)
        else:
            history.release(number, number, is_paused=True)
        return False

    def _best(self, number: int) -> tuple[float, ...]:
        """The values of a trial's best epoch by the leading objective; none without an epoch."""
        curve, cost = self._history.curve(number), self._spec.objective.direction.cost
        epoch = min(curve, key=lambda epoch: (cost(curve[epoch]), epoch), default=None)
        return () if epoch is None else (curve[epoch], *self._history.further(number, epoch))


@dataclass
class _Trial:
    params: Mapping[str, Any]
    values: Sequence[float] | Sequence[Sequence[float]]
    seconds: float
    epoch: int = 0
    granted: int = 0
