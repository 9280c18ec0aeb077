"""The study's trials in memory, so that Optuna's samplers and pruners need not read the store.

They are kept in Optuna's own InMemoryStorage. `sync` reads the changes of other workers; this worker's samples and
reports are recorded here first and written to the store in one transaction by `hpo.queue.report`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from hpo.search import trial_rows
from hpo.search.algorithms import SamplerFactory
from hpo.search.forecast import Begun, Stage
from hpo.search.grid import continuous_in, few_points, point_key, untried_point
from hpo.search.lessons import Lessons, Policy, is_refused
from hpo.search.points import Points
from hpo.search.rungs import Rungs, Verdict
from hpo.search.several import FURTHER, points_of
from hpo.space import SearchSpace
from hpo.store import Store
from hpo.study.constraints import as_attributes, of_attributes, total
from hpo.study.objectives import Objectives
from hpo.study.states import OptunaState, Request

optuna.logging.set_verbosity(optuna.logging.WARNING)


class History:
    """One study's trials, for one worker.

    Args:
        store: None of a search that is simulated, without other workers.
        samplers: returns the sampler for a trial's number.
        diverged, failed: how the sampler sees trials that failed, which are FAIL in the store: hpo.search.lessons.
        rungs: of a study that promotes trials; then the pruner prunes nothing.
        length: the parameter that is the length of a trial, where it is searched, and the largest one.

    A trial that is paused at a rung is RUNNING in the store and PRUNED in memory: samplers learn from its last value.
    """

    def __init__(
        self,
        store: Store | None,
        study_id: int,
        *,
        name: str,
        objectives: Objectives,
        samplers: SamplerFactory,
        pruner: optuna.pruners.BasePruner,
        diverged: Policy = "worst",
        failed: Policy = "infeasible",
        rungs: Rungs | None = None,
        length: tuple[str, int] | None = None,
    ) -> None:
        self.rungs = rungs
        self._length = length
        self._lessons = Lessons(diverged=diverged, failed=failed, objectives=len(objectives.directions))
        self._store = store
        self._study_id = study_id
        self._samplers = samplers
        self._memory = InMemoryStorage()
        self._objectives = objectives
        directions = [optuna.study.StudyDirection[direction.optuna] for direction in objectives.directions]
        self._study = optuna.create_study(storage=self._memory, study_name=name, directions=directions, pruner=pruner)
        self.is_sparing = False  # a claim reads no more than it must: in a large fleet, many trials change at a time
        self._all_points: set[frozenset[tuple[str, Any]]] | None = None  # of a small space, once it was asked for
        self._known = 0  # trials are numbered without gaps, so this is also the next number
        self._others: dict[int, int] = {}  # unfinished trials of other workers: store's id -> number
        self._paused: set[int] = set()  # those of them that are paused at a rung, as of the last sync
        self._refused: set[int] = set()  # numbers of the trials that were refused before they trained
        self._ours: set[int] = set()  # numbers of the trials that this worker trains: memory is ahead of the store

    def sync(self, connection: Connection | None = None, *, only_new: bool = False) -> None:
        """Read the changes of other workers.

        Args:
            connection: of a transaction of the caller; by default, its own.
            only_new: learn only that trials have begun since. What they try is learned with the next full read.
        """
        if self._store is None:
            return
        with self._store.read() if connection is None else nullcontext(connection) as reader:
            changed, paused = (self._new(reader), set[int]()) if only_new else self._changed(reader)
        for trial_id, frozen in changed:
            number = frozen.number
            if number in self._ours:
                continue
            if number >= self._known:
                self._add(frozen)
                self._known = number + 1
            else:
                self._update(number, frozen)
            if self.rungs is not None:
                points = points_of(frozen, len(self._objectives.directions))
                self.rungs.take(number, points, violation=_violation(frozen), length=self._length_of(number))
            if frozen.state.is_finished() and trial_id not in paused:
                self._others.pop(trial_id, None)
            else:
                self._others[trial_id] = number
        self._paused = (self._paused - {trial_id for trial_id, _ in changed}) | paused

    def adopt(self, number: int, *, is_new: bool = False) -> None:
        """From now on this worker trains the trial.

        Args:
            is_new: its claim has just created it, so there is nothing to read of it.
        """
        if is_new and number == self._known:
            self._memory.create_new_trial(self._study._study_id)
            self._known += 1
        else:
            self.sync(only_new=is_new and self.is_sparing)
        self._ours.add(number)
        self._others = {trial_id: other for trial_id, other in self._others.items() if other != number}
        self._reopen(number)
        if self._memory.get_trial(number).state == TrialState.WAITING:
            self._memory.set_trial_state_values(number, TrialState.RUNNING)

    def release(self, trial_id: int, number: int, *, is_paused: bool = False) -> None:
        """The trial is no longer ours and has not ended: another attempt will continue it.

        Args:
            is_paused: at a rung.
        """
        self._ours.discard(number)
        self._others[trial_id] = number
        if is_paused:
            self._paused.add(trial_id)
            self._memory.set_trial_state_values(number, TrialState.PRUNED, _last(self._points(number)))

    def _length_of(self, number: int) -> float:
        """Of a trial, as a share of the longest."""
        if self._length is None:
            return 1.0
        name, longest = self._length
        return float(self._memory._get_trial(number).params.get(name, longest)) / longest

    def begun(self) -> list[Begun]:
        """The trials that have begun, by number."""
        paused = {self._others[trial_id] for trial_id in self._paused & self._others.keys()}
        trials = (self._memory._get_trial(number) for number in range(self._known))
        return [
            Begun(trial.number, max(trial.intermediate_values, default=0), self._stage(trial, paused))
            for trial in trials
            if trial.state != TrialState.WAITING and trial.number not in self._refused
        ]

    def _stage(self, trial: FrozenTrial, paused: Collection[int]) -> Stage:
        if not trial.state.is_finished():
            return Stage.OPEN
        if trial.number in paused:
            return Stage.AT_RUNG
        # one without a curve is one that diverged, see `_as_learned`
        is_pruned = trial.state == TrialState.PRUNED and bool(trial.intermediate_values)
        return Stage.BEHIND if is_pruned and self.rungs is not None and self.rungs.promotes else Stage.ENDED

    @property
    def paused(self) -> int:
        """How many trials are paused at a rung."""
        return len(self._paused & self._others.keys())

    def promotable(self, *, is_last: bool = False) -> list[int]:
        """The numbers of the trials that may be promoted from their rung, in order of preference.

        Args:
            is_last: no trial is running, and no new one will follow.
        """
        if self.rungs is None:
            return []
        paused = {
            number: max(trial.intermediate_values)
            for trial_id, number in self._others.items()
            if trial_id in self._paused and (trial := self._memory._get_trial(number)).intermediate_values
        }
        return self.rungs.promotable(paused, is_last=is_last)

    def suggest(self, number: int, space: SearchSpace, *, point: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sample the trial's active parameters.

        Args:
            point: values to take instead of sampling, such as the defaults.
        """
        if point is not None and "fixed_params" not in self._memory.get_trial(number).system_attrs:
            self._memory.set_trial_system_attr(number, "fixed_params", space.stored(point))
        self._study.sampler = self._samplers(number)
        # As in Study.ask: samplers read this list, which Optuna caches for one trial.
        self._study._thread_local.cached_all_trials = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = space.suggest(optuna.trial.Trial(self._study, number))
            if self._is_given(number) or continuous_in(space):
                return found
            tried = self._tried(number)
            if space.stored(found) not in tried:
                return found
            new = untried_point(space, tried, space.stored(found), feasible=self._likely_feasible(space), seed=number)
            if new is None:
                return found
            own = self._memory._get_trial(number)
            own.params, own.distributions = {}, {}
            self._memory.set_trial_system_attr(number, "fixed_params", space.stored(new))
            return space.suggest(optuna.trial.Trial(self._study, number))

    def _likely_feasible(self, space: SearchSpace) -> Callable[[Sequence[Mapping[str, Any]]], NDArray[np.bool_]]:
        trials = [self._memory._get_trial(number) for number in range(self._known)]
        if any(_violation(trial) > 0 for trial in trials):
            from hpo.search.feasible import LIKELY, Feasibility  # which takes a while to import

            model = Feasibility(Points(space), trials)
            if model.has_both:
                return lambda points: model.probabilities(points) >= LIKELY
        return lambda points: np.ones(len(points), bool)

    def untried(self, space: SearchSpace) -> tuple[int, int] | None:
        """How many points of the space no trial has tried, and how many it has.

        None where they are many, and where nothing is searched.
        """
        if self._all_points is None:
            self._all_points = {point_key(space.stored(point)) for point in few_points(space) or ()}
        if not self._all_points:
            return None
        return len(self._all_points - {point_key(params) for params in self._tried()}), len(self._all_points)

    def _is_given(self, number: int) -> bool:
        """Whether values of the trial were given, as by an enqueued point: it may repeat another."""
        return "fixed_params" in self._memory.get_trial(number).system_attrs

    def _tried(self, but: int | None = None) -> list[dict[str, Any]]:
        """The points of all trials but this one."""
        return [self._memory._get_trial(number).params for number in range(self._known) if number != but]

    def params_to_store(self, number: int) -> dict[str, tuple[float, str]]:
        """By name, the trial's values and distributions as Optuna's tables hold them."""
        frozen = self._memory.get_trial(number)
        return {
            name: (
                frozen.distributions[name].to_internal_repr(value),
                distribution_to_json(frozen.distributions[name]),
            )
            for name, value in frozen.params.items()
        }

    def attributes_to_store(self, number: int) -> dict[str, Any]:
        """The sampler's notes on its proposal, such as a generation, which all workers' samplers need.

        Without TPE's copy of the proposal, since the parameters are stored in the same transaction.
        """
        attributes = self._memory.get_trial(number).system_attrs
        return {key: item for key, item in attributes.items() if not key.startswith(("fixed_params", "tpe:", FURTHER))}

    def constrain(self, number: int, violations: Mapping[str, float]) -> None:
        """Record by how much the trial violates each constraint."""
        for key, amount in as_attributes(violations).items():
            self._memory.set_trial_system_attr(number, key, amount)

    def violations(self, number: int) -> dict[str, float]:
        """By how much the trial violates each constraint, as far as that is known."""
        return of_attributes(self._memory._get_trial(number).system_attrs)

    def report(
        self, number: int, epoch: int, value: float, *further: float, violations: Mapping[str, float] | None = None
    ) -> tuple[Verdict, dict[str, Any]]:
        """Record the objectives after an epoch; the pruner's verdict, and its notes for other workers.

        Args:
            violations: by how much the trial violates each constraint.
        """
        self.constrain(number, violations or {})
        before = self._memory.get_trial(number).system_attrs
        self._memory.set_trial_intermediate_value(number, epoch, value)
        if further:
            known = before.get(FURTHER, {})
            self._memory.set_trial_system_attr(number, FURTHER, {**known, epoch: further})  # type: ignore[dict-item]
        if self.rungs is not None:
            violation, length = total(violations or {}), self._length_of(number)
            self.rungs.take(number, self._points(number), violation=violation, length=length)
            return self.rungs.verdict(number, epoch), {}
        if self._objectives.are_several:  # only rungs compare them
            return Verdict.CONTINUE, {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            is_hopeless = bool(self._study.pruner.prune(self._study, self._memory.get_trial(number)))
        after = self._memory.get_trial(number).system_attrs
        return Verdict.PRUNE if is_hopeless else Verdict.CONTINUE, {
            key: item for key, item in after.items() if before.get(key) != item
        }

    def curve(self, number: int) -> dict[int, float]:
        """The leading objective after each epoch, by epoch."""
        return dict(self._memory.get_trial(number).intermediate_values)

    def curves(self) -> list[dict[int, float]]:
        """The leading objective of each trial that has not failed, by epoch."""
        found = (self._memory._get_trial(number) for number in range(self._known))
        return [trial.intermediate_values for trial in found if trial.state != TrialState.FAIL]

    def further(self, number: int, epoch: int) -> tuple[float, ...]:
        """The other objectives after an epoch; none of a study of one objective."""
        return self._points(number)[epoch][1:] if self._objectives.are_several else ()

    def _points(self, number: int) -> dict[int, tuple[float, ...]]:
        return points_of(self._memory._get_trial(number), len(self._objectives.directions))

    def end(self, number: int, state: TrialState, values: Sequence[float] = (), *, cause: str | None = None) -> None:
        """Record the end of the trial.

        Args:
            values: of each objective, where it has them.
        """
        if state == TrialState.FAIL:
            state, values = self._learned(self._memory._get_trial(number), cause)
        found = list(values) or None
        self._samplers(number).after_trial(self._study, self._memory.get_trial(number), state, found)
        self._memory.set_trial_state_values(number, state, found)
        self._ours.discard(number)

    def _learned(self, frozen: FrozenTrial, cause: str | None) -> tuple[TrialState, Sequence[float]]:
        if is_refused(cause):
            self._refused.add(frozen.number)
        return self._lessons.take(frozen, cause)

    def _add(self, frozen: FrozenTrial) -> None:
        """Add a trial, which nothing else refers to, to memory; Optuna would copy it, down to the last number."""
        frozen._trial_id = self._memory.create_new_trial(self._study._study_id)
        self._memory._set_trial(frozen._trial_id, frozen)
        self._memory._update_cache(frozen._trial_id, self._study._study_id)

    def _update(self, number: int, frozen: FrozenTrial) -> None:
        """Bring a trial that was unfinished in memory up to date."""
        self._reopen(number)
        known = self._memory._get_trial(number)  # not a copy: they are many
        if known.state == TrialState.WAITING and frozen.state != TrialState.WAITING:
            self._memory.set_trial_state_values(number, TrialState.RUNNING)
        for name, value in frozen.params.items():
            if name not in known.params:
                distribution = frozen.distributions[name]
                self._memory.set_trial_param(number, name, distribution.to_internal_repr(value), distribution)
        # The curve may get shorter: reports of an attempt that had lost its lease were not written.
        self._memory._get_trial(number).intermediate_values = dict(frozen.intermediate_values)
        for key, item in frozen.system_attrs.items():
            self._memory.set_trial_system_attr(number, key, item)
        if frozen.state.is_finished():
            self._memory.set_trial_state_values(number, frozen.state, frozen.values)

    def _reopen(self, number: int) -> None:
        """Set the trial running again: it may have been promoted from its rung."""
        own = self._memory._get_trial(number)
        if own.state.is_finished():
            own.state, own.values = TrialState.RUNNING, None

    def _new(self, connection: Connection) -> list[tuple[int, FrozenTrial]]:
        """(store's id, trial) of those that are unknown, as if they had only begun."""
        rows = trial_rows.changed(connection, self._study_id, known=self._known)
        return [(row.trial_id, trial_rows.begun(row)) for row in rows]

    def _changed(self, connection: Connection) -> tuple[list[tuple[int, FrozenTrial]], set[int]]:
        """(store's id, trial) of those that are new or were unfinished, by number; ids of those paused at a rung."""
        rows = trial_rows.changed(
            connection,
            self._study_id,
            known=self._known,
            unfinished=self._others.keys() - self._paused,
            paused=self._paused,
        )
        rows = [row for row in rows if not self._is_known(row)]
        # Mostly these are running trials of other workers, of which only the curve is new.
        new = [row for row in rows if not self._has_params(row.number)]
        old = [row for row in rows if self._has_params(row.number)]
        found, paused = [], set()
        further = self._objectives.further
        for row, frozen in chain(
            trial_rows.frozen(connection, old, with_params=False, further=further),
            trial_rows.frozen(connection, new, with_params=True, further=further),
        ):
            if row.before_change is not None:  # nothing of it is to be learned: its data or its code was other
                frozen.state, frozen.values, frozen.intermediate_values = TrialState.FAIL, None, {}
                frozen.system_attrs = {}
            elif frozen.state == TrialState.FAIL:
                frozen.state, values = self._learned(frozen, row.cause)
                frozen.values = list(values) or None
            if (
                row.request == Request.AWAIT_PROMOTION
                and frozen.state == TrialState.RUNNING
                and frozen.intermediate_values
            ):
                frozen.state = TrialState.PRUNED
                frozen.values = _last(points_of(frozen, len(self._objectives.directions)))
                paused.add(row.trial_id)
            found.append((row.trial_id, frozen))
        return found, paused

    def _has_params(self, number: int) -> bool:
        return number < self._known and bool(self._memory._get_trial(number).params)

    def _is_known(self, row: Any) -> bool:
        """Whether the trial is still running, without a further epoch: at most polls, this is true of most trials."""
        if (
            row.state != OptunaState.RUNNING
            or row.request == Request.AWAIT_PROMOTION
            or not self._has_params(row.number)
        ):
            return False
        known = self._memory._get_trial(row.number)
        return known.state == TrialState.RUNNING and row.reached == max(known.intermediate_values, default=None)


def _violation(trial: FrozenTrial) -> float:
    return total(of_attributes(trial.system_attrs))


def _last(points: Mapping[int, tuple[float, ...]]) -> list[float]:
    return list(points[max(points)])
