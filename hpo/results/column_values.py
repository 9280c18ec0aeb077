"""The values of a study's trials, a column a statement, by the store's id; `hpo.results.columns` names the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Select, Subquery, and_, func, select

from hpo.results.trial_records import LEADING, finite, violations_of
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    hpo_workers,
    trial_intermediate_values,
    trial_user_attributes,
    trial_values,
    trials,
)
from hpo.study.constraints import total
from hpo.study.length import Unit
from hpo.study.states import Direction, OptunaState, TrialState


class TrialValues:
    """The values of all trials of one study, read when they are first asked for, within a transaction of the caller.

    A property without a docstring has the values that `TrialRecord` has under its name, and leaves out missing ones.

    Attributes:
        trial_ids: by number.
    """

    def __init__(self, connection: Connection, study_id: int, direction: Direction) -> None:
        self._connection = connection
        self._study_id = study_id
        self._direction = direction
        rows = self._rows(select(trials.c.trial_id, trials.c.number, trials.c.state).order_by(trials.c.number))
        self._numbers: dict[int, int] = {trial_id: number for trial_id, number, _ in rows}
        self._states: dict[int, str] = {trial_id: state for trial_id, _, state in rows}
        self.trial_ids = list(self._numbers)

    @property
    def number(self) -> Mapping[int, int]:
        return self._numbers

    @cached_property
    def state(self) -> Mapping[int, str]:
        begun = [trial_id for trial_id, state in self._states.items() if state == OptunaState.RUNNING]
        is_trained = dict.fromkeys(begun, True)  # also where another program trains it
        if begun:
            is_running = trials.c.state == OptunaState.RUNNING
            attempts = select(hpo_attempts.c.trial_id, hpo_attempts.c.ended).order_by(hpo_attempts.c.number)
            for row in self.of_study(attempts.where(is_running), hpo_attempts.c.trial_id):
                is_trained[row.trial_id] = row.ended is None
        return {
            trial_id: TrialState.of(
                state,
                is_trained=is_trained.get(trial_id, False),
                request=self._ours[trial_id].request if trial_id in is_trained and trial_id in self._ours else None,
            )
            for trial_id, state in self._states.items()
        }

    @cached_property
    def value(self) -> Mapping[int, float | None]:
        first = trial_values.c.objective == 0
        values = select(trial_values.c.trial_id, trial_values.c.value).where(first)
        stored = self.of_study(values, trial_values.c.trial_id)
        ended = {row.trial_id: finite(row.value) for row in stored if self._states[row.trial_id] not in LEADING}
        return ended | {trial_id: value for trial_id, (value, _) in self._leading.items()}

    @cached_property
    def best_epoch(self) -> Mapping[int, int]:
        ended = {
            trial_id: row.best_epoch for trial_id, row in self._ours.items() if self._states[trial_id] not in LEADING
        }
        return ended | {trial_id: epoch for trial_id, (_, epoch) in self._leading.items()}

    @cached_property
    def epochs(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for column in (trial_intermediate_values.c.step, hpo_epochs.c.epoch):  # the latter counts where there are both
            of_trial = column.table.c.trial_id
            largest = select(of_trial, func.max(column).label("largest")).group_by(of_trial)
            if len(found) < len(self.trial_ids):
                found |= {row.trial_id: row.largest for row in self.of_study(largest, of_trial)}
        return dict.fromkeys(self.trial_ids, 0) | found

    @cached_property
    def max_epochs(self) -> Mapping[int, int]:
        found = {}
        for trial_id, text in self.configs.items():
            config = json.loads(text)
            if isinstance(length := config.get(Unit.of(config).plural), int):
                found[trial_id] = length
        return found

    @cached_property
    def attempts(self) -> Mapping[int, int]:
        of_trial = hpo_attempts.c.trial_id
        counted = select(of_trial, func.count().label("attempts")).group_by(of_trial)
        found = {row.trial_id: row.attempts for row in self.of_study(counted, of_trial)}
        return dict.fromkeys(self.trial_ids, 0) | found

    @cached_property
    def _last_attempts(self) -> Mapping[int, tuple[str | None, str]]:
        """(device, worker) of each trial's last attempt."""
        attempts = select(
            hpo_attempts.c.trial_id, hpo_attempts.c.device, hpo_workers.c.host, hpo_workers.c.pid
        ).join_from(hpo_attempts, hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        rows = self.of_study(attempts.order_by(hpo_attempts.c.number), hpo_attempts.c.trial_id)
        return {row.trial_id: (row.device, f"{row.host}:{row.pid}") for row in rows}

    @property
    def device(self) -> Mapping[int, str | None]:
        return {trial_id: device for trial_id, (device, _) in self._last_attempts.items()}

    @property
    def worker(self) -> Mapping[int, str]:
        return {trial_id: worker for trial_id, (_, worker) in self._last_attempts.items()}

    @property
    def seconds(self) -> Mapping[int, float | None]:
        return {trial_id: row.seconds for trial_id, row in self._ours.items()}

    @property
    def cause(self) -> Mapping[int, str | None]:
        return {trial_id: row.cause for trial_id, row in self._ours.items()}

    @property
    def checkpoint(self) -> Mapping[int, str | None]:
        return {trial_id: row.checkpoint for trial_id, row in self._ours.items()}

    @property
    def error(self) -> Mapping[int, str | None]:
        own = select(hpo_trials.c.trial_id, hpo_trials.c.error).where(hpo_trials.c.error.is_not(None))
        return {row.trial_id: row.error for row in self.of_study(own, hpo_trials.c.trial_id)}

    @property
    def started(self) -> Mapping[int, Any]:
        return {row.trial_id: row.datetime_start for row in self._times}

    @property
    def ended(self) -> Mapping[int, Any]:
        return {row.trial_id: row.datetime_complete for row in self._times}

    @cached_property
    def feasible(self) -> Mapping[int, bool]:
        judged = violations_of(self._connection, select(trials.c.trial_id).where(trials.c.study_id == self._study_id))
        return {trial_id: total(judged.get(trial_id, {})) == 0 for trial_id in self.trial_ids}

    @cached_property
    def _expectations(self) -> Mapping[int, Any]:
        from hpo.results.expected import expectations  # which imports SciPy

        return expectations(self._connection, self._study_id, self._direction)

    @property
    def expected(self) -> Mapping[int, float]:
        return {trial_id: one.value for trial_id, one in self._expectations.items()}

    @property
    def expected_low(self) -> Mapping[int, float]:
        return {trial_id: one.low for trial_id, one in self._expectations.items()}

    @property
    def expected_high(self) -> Mapping[int, float]:
        return {trial_id: one.high for trial_id, one in self._expectations.items()}

    @cached_property
    def _times(self) -> Sequence[Any]:
        return self._rows(select(trials.c.trial_id, trials.c.datetime_start, trials.c.datetime_complete))

    @cached_property
    def _ours(self) -> Mapping[int, Any]:
        """The rows of what a worker has written of each trial, without long texts."""
        own = select(
            hpo_trials.c.trial_id,
            hpo_trials.c.request,
            hpo_trials.c.best_epoch,
            hpo_trials.c.seconds,
            hpo_trials.c.cause,
            hpo_trials.c.checkpoint,
        )
        return {row.trial_id: row for row in self.of_study(own, hpo_trials.c.trial_id)}

    @cached_property
    def configs(self) -> Mapping[int, str]:
        own = select(hpo_trials.c.trial_id, hpo_trials.c.config).where(hpo_trials.c.config.is_not(None))
        return {row.trial_id: row.config for row in self.of_study(own, hpo_trials.c.trial_id)}

    @cached_property
    def _leading(self) -> Mapping[int, tuple[float, int]]:
        """(value, epoch) of the best epoch of the trials that are running or pruned."""
        if not any(state in LEADING for state in set(self._states.values())):
            return {}
        best = self._best_of_curves()
        rows = self._connection.execute(select(best).where(best.c.place == 1))
        return {row.trial_id: (row.intermediate_value, row.step) for row in rows}

    def _best_of_curves(self) -> Subquery:
        """Rows of (trial_id, step, intermediate_value, place): their finite values, the best one first."""
        curve = trial_intermediate_values.c
        order = (self._direction.order(curve.intermediate_value), curve.step)
        place = func.row_number().over(partition_by=curve.trial_id, order_by=order).label("place")
        rows = _of_trials(select(curve.trial_id, curve.step, curve.intermediate_value, place), curve.trial_id)
        mine = trials.c.study_id == self._study_id
        return rows.where(mine, trials.c.state.in_(LEADING), curve.intermediate_value.is_not(None)).subquery()

    @cached_property
    def metrics(self) -> Mapping[int, Mapping[str, Any]]:
        """Of each trial's best epoch."""
        epochs = select(hpo_epochs.c.trial_id, hpo_epochs.c.metrics)
        at_best = and_(hpo_trials.c.trial_id == hpo_epochs.c.trial_id, hpo_trials.c.best_epoch == hpo_epochs.c.epoch)
        ended = _of_trials(epochs, hpo_epochs.c.trial_id).join(hpo_trials, at_best)
        rows = self._rows(ended.where(trials.c.state.not_in(LEADING)))
        if self._leading:
            best = self._best_of_curves()
            at_best = and_(best.c.trial_id == hpo_epochs.c.trial_id, best.c.step == hpo_epochs.c.epoch)
            rows = [*rows, *self._connection.execute(epochs.join(best, at_best).where(best.c.place == 1))]
        return {row.trial_id: json.loads(row.metrics) for row in rows}

    def attributes(self, names: Sequence[str]) -> Mapping[int, Mapping[str, Any]]:
        table = trial_user_attributes.c
        own = select(table.trial_id, table.key, table.value_json).where(table.key.in_(names))
        found: dict[int, dict[str, Any]] = {}
        for row in self.of_study(own, table.trial_id):
            found.setdefault(row.trial_id, {})[row.key] = json.loads(row.value_json)
        return found

    def of_study(self, statement: Select[Any], trial_id: Any) -> Sequence[Any]:
        """The rows of a statement that are of this study's trials.

        Args:
            trial_id: the column that names their trials.
        """
        return self._rows(_of_trials(statement, trial_id))

    def _rows(self, statement: Select[Any]) -> Sequence[Any]:
        return self._connection.execute(statement.where(trials.c.study_id == self._study_id)).all()


def _of_trials(statement: Select[Any], trial_id: Any) -> Select[Any]:
    return statement.join(trials, trials.c.trial_id == trial_id)
