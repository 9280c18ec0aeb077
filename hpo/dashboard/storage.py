"""A store as optuna-dashboard should show it: with what our tables know of its trials beside what Optuna's do."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from hpo.dashboard.facts import add_facts, attempts_of
from hpo.dashboard.finals import Winners
from hpo.dashboard.notes import StudyNotes, note_of_trial
from hpo.queue.best import best_trials
from hpo.queue.front import objectives_of
from hpo.queue.idle import idle_trials, waiting_trials
from hpo.store.schema import versions_of
from hpo.store.tables import trials
from hpo.store.url import StoreUrl


@dataclass(frozen=True)
class _Shown:
    """The part of a large study: the trials with these ids, and those with ids above `before`; of so many at first."""

    before: int
    best: frozenset[int]
    number: int


class ShownStorage(RDBStorage):
    """Optuna's storage, with some differences in the trials that it reads.

    In Optuna's tables a trial is RUNNING from its first attempt to its end. One that no worker trains, because it is
    paused at a rung or idle, is shown as waiting. What waits has a note that says for what. And a trial that had
    several attempts is shown as begun so long before its end as these took together: the time between them would count
    as training otherwise. Each trial has attributes and files beside those of the store, see `add_facts`, and each
    study a note that says what it searches.

    Of a large study, which would take a browser, and this process, minutes and gigabytes, the newest and the best
    trials are shown, and a note of the study says so.

    Attributes:
        newest: the number of those that are shown of a large study.
        best: the number of the best trials before these.
        notes: of studies.
    """

    newest = 1500
    best = 500

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._shown: dict[int, _Shown] = {}
        self.notes = StudyNotes()
        self._winners = Winners()
        self._versions: tuple[str, list[str]] | None = None

    # optuna-dashboard asks for them at each page. Optuna's storage imports all steps of alembic each time, which takes
    # a twentieth of a second and memory that is never given back.
    def get_current_version(self) -> str:
        return versions_of(self.engine, StoreUrl(self.engine.url)).optuna or ""

    def get_head_version(self) -> str:
        return self._of_package[0]

    def get_all_versions(self) -> list[str]:
        return self._of_package[1]

    @property
    def _of_package(self) -> tuple[str, list[str]]:
        if self._versions is None:
            self._versions = super().get_head_version(), super().get_all_versions()
        return self._versions

    # Pages, plots and the CSV file, which Optuna's cache reads, have their trials from here.
    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if trial_id_greater_than == -1 and (shown := self._shown_of(study_id)) is not None:
            included_trial_ids, trial_id_greater_than = set(shown.best), shown.before
        found = super()._get_trials(study_id, None, included_trial_ids, trial_id_greater_than)
        self._correct(study_id, found)
        return [trial for trial in found if states is None or trial.state in states]

    def _shown_of(self, study_id: int) -> _Shown | None:
        """What is shown of a large study; None for one of which all trials are.

        A page asks for what comes after the trials that it has, by their count. So the first ones stay the same for as
        long as this storage lives.
        """
        of_study = trials.c.study_id == study_id
        with self.engine.connect() as connection:
            shown = self._shown.get(study_id)
            if shown is not None and connection.scalar(
                select(trials.c.trial_id).where(of_study, trials.c.trial_id == shown.before)
            ):
                return shown
            self._shown.pop(study_id, None)  # SQLite gives the number of a deleted study to the next one
            number = connection.scalar(select(func.count()).where(of_study)) or 0
            if number <= self.newest + self.best:
                return None
            newest_first = select(trials.c.trial_id).where(of_study).order_by(trials.c.trial_id.desc())
            before = connection.scalars(newest_first.offset(self.newest).limit(1)).one()
            found = best_trials(connection, study_id, objectives_of(connection, study_id))
            best = frozenset([row.trial_id for row in found if row.trial_id <= before][: self.best])
        self._shown[study_id] = _Shown(before, best, number)
        return self._shown[study_id]

    # A note belongs to optuna-dashboard's own attributes of a study, by the trial's id. Ours have version 0, since what
    # somebody writes in their place is to be version 1.
    def get_all_studies(self) -> list[FrozenStudy]:
        found = super().get_all_studies()
        with self.engine.connect() as connection:
            rows = connection.execute(waiting_trials()).all()
            notes = self.notes.read(connection, {study._study_id: study.study_name for study in found})
        by_id = {study._study_id: study for study in found}
        for study in found:
            if "dashboard:note_ver" in study.system_attrs:  # somebody's own
                continue
            shown = self._shown_of(study._study_id)
            told = [] if shown is None else [self._told(study.study_name, shown)]
            if note := "\n\n".join([*told, notes.get(study._study_id, "")]).strip():
                study.system_attrs |= {"dashboard:note_ver": 0, "dashboard:note_str:0": note}
        for row in rows:
            its, prefix = by_id.get(row.study_id), f"dashboard:{row.trial_id}:note_"
            if its is not None and f"{prefix}ver" not in its.system_attrs:
                its.system_attrs |= {f"{prefix}ver": 0, f"{prefix}str:0": note_of_trial(row.request, row.state)}
        return found

    def _told(self, name: str, shown: _Shown) -> str:
        return (
            f"Of the first {shown.number:,} trials, the newest {self.newest:,} and the best {len(shown.best):,} before "
            f"them are shown, in tables, plots and the CSV file. `hpo trials {name} --csv` prints all."
        )

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        best = super().get_best_trial(study_id)
        self._correct(study_id, [best])
        return best

    def get_trial(self, trial_id: int) -> FrozenTrial:
        found = super().get_trial(trial_id)
        with self.engine.connect() as connection:
            study_id = connection.scalar(select(trials.c.study_id).where(trials.c.trial_id == trial_id))
        if study_id is not None:
            self._correct(study_id, [found])
        return found

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs  # with those of its files, which are asked for here

    def _correct(self, study_id: int, found: Sequence[FrozenTrial]) -> None:
        if not found:
            return
        with self.engine.connect() as connection:
            idle = {row.trial_id for row in connection.execute(idle_trials(study_id))}
            attempts = attempts_of(connection, study_id, [trial._trial_id for trial in found])
            winner = self._winners.with_confusion(connection, study_id)
        for trial in found:
            its = attempts.get(trial._trial_id)
            add_facts(trial, its, has_confusion=trial.number == winner)
            _make_encodable(trial)
            if trial._trial_id in idle and trial.state == TrialState.RUNNING:
                trial.state = TrialState.WAITING
            if its is not None and its.number > 1 and trial.datetime_complete is not None:
                trial.datetime_start = trial.datetime_complete - timedelta(seconds=its.seconds)


def _make_encodable(trial: FrozenTrial) -> None:
    """Write out halves of UTF-16 pairs, which JSON in the store may hold and no encoding has: a CSV file would fail."""
    trial.user_attrs = {key: _encodable(value) for key, value in trial.user_attrs.items()}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        if value != _encodable(value) and isinstance(distribution, CategoricalDistribution):
            trial.distributions[name] = CategoricalDistribution([_encodable(choice) for choice in distribution.choices])
            trial.params[name] = _encodable(value)


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
