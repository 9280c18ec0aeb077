"""A store as optuna-dashboard should show it: what waits is no running trial, and seconds are those of all attempts."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import timedelta

from optuna.storages import RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from hpo.queue.idle import idle_trials, waiting_trials
from hpo.store.tables import hpo_attempts, trials
from hpo.study.states import OptunaState, Request


class ShownStorage(RDBStorage):
    """Optuna's storage, with three differences in the trials that it reads.

    In Optuna's tables a trial is RUNNING from its first attempt to its end. One that no worker trains, because it is
    paused at a rung or idle, is shown as waiting. What waits has a note that says for what. And a trial that had
    several attempts is shown as begun so long before its end as these took together: the time between them would count
    as training otherwise.
    """

    # Pages, plots and the CSV file, which Optuna's cache reads, have their trials from here.
    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        found = super()._get_trials(study_id, None, included_trial_ids, trial_id_greater_than)
        self._correct(study_id, found)
        return [trial for trial in found if states is None or trial.state in states]

    # A note belongs to optuna-dashboard's own attributes of a study, by the trial's id.
    def get_all_studies(self) -> list[FrozenStudy]:
        found = super().get_all_studies()
        with self.engine.connect() as connection:
            rows = connection.execute(waiting_trials()).all()
        by_id = {study._study_id: study for study in found}
        for row in rows:
            study, prefix = by_id.get(row.study_id), f"dashboard:{row.trial_id}:note_"
            if study is not None and f"{prefix}ver" not in study.system_attrs:
                study.system_attrs |= {f"{prefix}ver": 1, f"{prefix}str:0": _why(row.request, row.state)}
        return found

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        best = super().get_best_trial(study_id)
        self._correct(study_id, [best])
        return best

    def _correct(self, study_id: int, found: Sequence[FrozenTrial]) -> None:
        attempted = (
            select(hpo_attempts.c.trial_id, func.sum(hpo_attempts.c.seconds).label("seconds"))
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(trials.c.study_id == study_id)
            .group_by(hpo_attempts.c.trial_id)
            .having(func.count() > 1)
        )
        with self.engine.connect() as connection:
            idle = {row.trial_id for row in connection.execute(idle_trials(study_id))}
            seconds = {row.trial_id: row.seconds for row in connection.execute(attempted)}
        for trial in found:
            if trial._trial_id in idle and trial.state == TrialState.RUNNING:
                trial.state = TrialState.WAITING
            trained = seconds.get(trial._trial_id)
            if trained is not None and trial.datetime_complete is not None:
                trial.datetime_start = trial.datetime_complete - timedelta(seconds=trained)


def _why(request: str | None, state: str) -> str:
    """Why a trial waits, in a sentence."""
    if state == OptunaState.WAITING:
        return "Enqueued: it waits for a worker."
    if request == Request.AWAIT_PROMOTION:
        return "Paused at a rung: it goes on if it is among the best there."
    if request == Request.PAUSE:
        return "Paused by request: `hpo resume STUDY TRIAL` lets it go on."
    return "No worker trains it at the moment: the next free one goes on with it."
