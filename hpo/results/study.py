"""The result of a study as plain records, read with a handful of statements and without Optuna, torch or pandas.

study = hpo.open_study("digits-dnn")
study.best(5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, overload

from sqlalchemy import func, select

from hpo.errors import HpoError, SpecError
from hpo.queue.findings import findings_of
from hpo.queue.overview import StudyOverview
from hpo.queue.progress import find_study, load_progress
from hpo.queue.told import told_of
from hpo.results.attempt import AttemptRecord, read_attempts
from hpo.results.columns import TrialColumns
from hpo.results.comparison import StudyDifferences, StudyFacts, compare, facts_of
from hpo.results.final import FINAL, Final, Member
from hpo.results.frames import Engine, frame_of, read_curves
from hpo.results.kept import KeptCheckpoints, kept_checkpoints
from hpo.results.pareto import Front
from hpo.results.query import Query, Table, chosen_trials, table_of
from hpo.results.ranking import best_of
from hpo.results.status import StudyStatus, Workers, status_of
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records
from hpo.results.trials import Trials, table_of_trials
from hpo.store import Store
from hpo.store.tables import (
    trials,
)
from hpo.study.states import Direction

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from hpo.results.expected import Expectation
    from hpo.search.gain import Gain

SHOWN_IN_A_CELL = 5  # of the best trials
MOST_BY_NUMBER = 5_000  # trials that are read one by one; of more, all of the study are read


@dataclass(frozen=True)
class Page:
    """Some of a study's trials that are asked for.

    Attributes:
        total: of all that are asked for.
    """

    total: int
    trials: Sequence[TrialRecord]


@dataclass(frozen=True)
class Weighted:
    """A trial whose model is used alone, or in an ensemble with a weight in the average of the outputs."""

    record: TrialRecord
    study: str
    weight: int = 1


class Study:
    """A study in a store, read-only. Each call reads the store anew.

    Attributes:
        objectives: with their metrics, the first one leading.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store
        self._study_id, self.objectives = find_study(store, name)

    def __repr__(self) -> str:
        return f"<Study {self.name!r}>"

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: its state, and the best trials."""
        from hpo.notebook import block, line

        several = self.objectives.metrics if self.objectives.are_several else ()
        try:
            status, best = self.status(), self.best_of(Query(), None if several else SHOWN_IN_A_CELL, has_curves=False)
        except HpoError as error:  # such as the store's, which is not there any more
            return block(line(self.name, is_title=True), line(error))
        trials = [line("the best trials"), table_of_trials(best, several)] if best else [line("no trial has a value")]
        return block(status._repr_html_(), *trials)

    @property
    def direction(self) -> Direction:
        """maximize or minimize; of several objectives, that of the first one."""
        return self.objectives.first

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Of each objective."""
        return self.objectives.directions

    def best(self, k: int | None = 1, *, where: str | None = None, by: str | Sequence[str] | None = None) -> Trials:
        """The k best complete trials, the best first; fewer when there are not so many.

        While no trial is complete, the best of the others that have not failed, by the best value that each has
        reached; their `remark` is such as 'paused after 19 of 27 epochs'. Of several objectives, the Pareto-optimal
        trials, by the first objective; `study.best(None)` is the whole front.

        Args:
            k: None for all.
            where: only of the trials for which an expression holds, such as "optimizer == 'adam' and seconds < 60".
            by: the k best for each value of these columns, such as "optimizer"; the group with the best trial first.
                "expected" ranks complete trials by what they are expected to reach, see `expected`; those records have
                their `expected`, `expected_low` and `expected_high`.

        Raises:
            SpecError: the expression cannot be read, or there is no such column.
        """
        return self.best_of(Query.of(where, by=by), k)

    def best_of(self, query: Query, k: int | None = 1, *, has_curves: bool = True) -> Trials:
        """`best` of the trials that are asked for; in the order that is asked for, where there is one."""
        with self._store.read() as connection:
            chosen = best_of(connection, self._study_id, self.objectives, query, limit=k)
            by_id = read_records(connection, self._study_id, chosen, objectives=self.objectives, has_curves=has_curves)
        found = Trials(by_id[trial_id] for trial_id in chosen)
        return self._with_expected(found) if query.by_expected else found

    def expected(self) -> dict[int, Expectation]:
        """By number, what complete trials would reach on average, that which is the most likely to be the best first.

        The best of many noisy values is better than it would be a second time. How noisy they are is seen from folds or
        repeats, or else from the scatter of each curve; nothing is returned where there are neither folds nor repeats
        nor five epochs, and of several objectives. docs/noise.md.
        """
        if self.objectives.are_several:
            return {}
        from hpo.results.expected import expectations  # which imports SciPy

        with self._store.read() as connection:
            found = expectations(connection, self._study_id, self.objectives.first)
            wanted = select(trials.c.trial_id, trials.c.number).where(trials.c.study_id == self._study_id)
            numbers = {row.trial_id: row.number for row in connection.execute(wanted)}
        return {numbers[trial_id]: one for trial_id, one in found.items()}

    def gain(self) -> Gain | None:
        """What as much device time again would bring; None of fewer than 16 trials, and of several objectives."""
        if self.objectives.are_several:
            return None
        from hpo.results.expected import gain_of  # which imports SciPy

        with self._store.read() as connection:
            return gain_of(connection, self._study_id, self.objectives.first)

    def _with_expected(self, records: Sequence[TrialRecord]) -> Trials:
        found = self.expected()
        return Trials(
            replace(one, expected=its.value, expected_low=its.low, expected_high=its.high)
            if (its := found.get(one.number)) is not None
            else one
            for one in records
        )

    def front(self) -> Front:
        """The trials that no other one beats in all objectives, those behind them, and the hypervolume.

        Raises:
            SpecError: the study has one objective, of which `best` gives the best trial.
        """
        if not self.objectives.are_several:
            raise SpecError(f"study '{self.name}' has one objective, and so a best trial: 'hpo best {self.name}'")
        return Front.of(self.name, self.objectives, self.trials(has_curves=False))

    def trials(
        self, *, where: str | None = None, sort: str | Sequence[str] | None = None, has_curves: bool = True
    ) -> Trials:
        """All trials, by number.

        Args:
            where: only those for which an expression holds, such as "optimizer == 'adam' and seconds < 60".
            sort: by these columns instead, such as "optimizer,-value": -value is from the largest to the smallest.
            has_curves: with their curves and their provenance; without, thousands of trials are read in a fraction of
                the time.

        Raises:
            SpecError: the expression cannot be read, or there is no such column.
        """
        return self.trials_of(Query.of(where, sort), has_curves=has_curves)

    def trials_of(self, query: Query, *, has_curves: bool = True) -> Trials:
        """The trials that are asked for."""
        with self._store.read() as connection:
            chosen = None
            if query.is_narrow:
                chosen = chosen_trials(TrialColumns(connection, self._study_id, self.direction), query)
            only = chosen if chosen is not None and len(chosen) <= MOST_BY_NUMBER else None
            found = read_records(connection, self._study_id, only, objectives=self.objectives, has_curves=has_curves)
        if chosen is not None:
            return Trials(found[trial_id] for trial_id in chosen)
        return Trials(sorted(found.values(), key=lambda record: record.number))

    def page_of(self, query: Query, *, offset: int = 0, limit: int) -> Page:
        """So many of the trials that are asked for, from a place on, without their curves."""
        with self._store.read() as connection:
            if query.is_narrow:
                found: Sequence[int] = chosen_trials(TrialColumns(connection, self._study_id, self.direction), query)
                total, chosen = len(found), found[offset : offset + limit]
            else:
                mine = trials.c.study_id == self._study_id
                total = connection.scalar(select(func.count()).where(mine)) or 0
                wanted = select(trials.c.trial_id).where(mine).order_by(trials.c.number).offset(offset).limit(limit)
                chosen = connection.scalars(wanted).all()
            records = read_records(connection, self._study_id, chosen, objectives=self.objectives, has_curves=False)
        return Page(total, [records[trial_id] for trial_id in chosen])

    def trial(self, number: int) -> TrialRecord | None:
        """One trial by its number; None when there is none of that number."""
        with self._store.read() as connection:
            wanted = (trials.c.study_id == self._study_id) & (trials.c.number == number)
            chosen = connection.scalars(select(trials.c.trial_id).where(wanted)).all()
            found = read_records(connection, self._study_id, chosen, objectives=self.objectives)
        return next(iter(found.values()), None)

    def attempts(self, number: int) -> list[AttemptRecord]:
        """The attempts to train a trial, the first one first; none when there is no trial of that number."""
        with self._store.read() as connection:
            return read_attempts(connection, self._study_id, number)

    def final(self) -> Final | None:
        """What the last `hpo finalize` found; None before one."""
        with self._store.read() as connection:
            found = findings_of(connection, self._study_id, FINAL)
        return Final.from_json(found[-1].content) if found else None

    def kept(self) -> list[Weighted]:
        """The trials of the final model: one, or those of an ensemble; none before `hpo finalize`."""
        final = self.final()
        return [] if final is None else self.members(final.kept.members)

    def members(self, members: Sequence[Member]) -> list[Weighted]:
        """The trials of an ensemble, as far as they are still there."""
        studies = {name: Study(self._store, name) for name in {member.study for member in members}}
        found = [(studies[member.study].trial(member.trial), member) for member in members]
        return [Weighted(trial, member.study, member.weight) for trial, member in found if trial is not None]

    @overload
    def frame(
        self,
        *,
        where: str | None = ...,
        sort: str | Sequence[str] | None = ...,
        columns: str | Sequence[str] | None = ...,
        engine: Literal["pandas"] = ...,
    ) -> pd.DataFrame: ...

    @overload
    def frame(
        self,
        *,
        where: str | None = ...,
        sort: str | Sequence[str] | None = ...,
        columns: str | Sequence[str] | None = ...,
        engine: Literal["polars"],
    ) -> pl.DataFrame: ...

    def frame(
        self,
        *,
        where: str | None = None,
        sort: str | Sequence[str] | None = None,
        columns: str | Sequence[str] | None = None,
        engine: Engine = "pandas",
    ) -> pd.DataFrame | pl.DataFrame:
        """A row for each trial: number, state, value, epochs, seconds, `params_*`, attempts, cause, device, ...

        Args:
            where: only for those for which an expression holds, such as "optimizer == 'adam' and seconds < 60".
            sort: by these columns, such as "optimizer,-value"; else by number.
            columns: these, such as "number,value,lr,val_loss"; metrics are those of a trial's best epoch.
            engine: pandas, or polars (which `pip install 'hpo-service[polars]'` installs).

        Raises:
            SpecError: the expression cannot be read, there is no such column, or the engine is not there.
        """
        return frame_of(self.table_of(Query.of(where, sort, columns=columns)), engine)

    def table_of(self, query: Query, *, is_of_best: bool = False, best: int | None = None) -> Table:
        """The columns that are asked for, of the trials that are asked for, or of the best of them, without records.

        Args:
            is_of_best: of the best ones: so many as `best` says, or a whole front.
        """
        with self._store.read() as connection:
            source = TrialColumns(connection, self._study_id, self.direction)
            if not is_of_best and best is None:
                return table_of(source, query, chosen_trials(source, query))
            return table_of(source, query, best_of(connection, self._study_id, self.objectives, query, limit=best))

    @overload
    def curves(
        self,
        *,
        where: str | None = ...,
        metrics: str | Sequence[str] | None = ...,
        engine: Literal["pandas"] = ...,
    ) -> pd.DataFrame: ...

    @overload
    def curves(
        self, *, where: str | None = ..., metrics: str | Sequence[str] | None = ..., engine: Literal["polars"]
    ) -> pl.DataFrame: ...

    def curves(
        self, *, where: str | None = None, metrics: str | Sequence[str] | None = None, engine: Engine = "pandas"
    ) -> pd.DataFrame | pl.DataFrame:
        """A row for each metric of each epoch of each trial: number, epoch (or step), metric, value.

        Args:
            where: only of the trials for which an expression holds.
            metrics: only these, such as "val_loss,train_loss".
            engine: pandas or polars.

        Raises:
            SpecError: the expression cannot be read, there is no such metric, or the engine is not there.
        """
        with self._store.read() as connection:
            source = TrialColumns(connection, self._study_id, self.direction)
            chosen = None if where is None else chosen_trials(source, Query.of(where))
            found = read_curves(connection, self._study_id, chosen, metrics=metrics)
        return frame_of(found, engine)

    def kept_checkpoints(self) -> KeptCheckpoints:
        """How many of its ended trials keep their checkpoints, and what these take on this machine."""
        return kept_checkpoints(self._store, self._study_id)

    def diff(self, other: Study) -> StudyDifferences:
        """What differs between this study and another one, which may be in another store.

        It compares their study files as they were resolved, search spaces, data, code, and what came out.
        """
        return compare(self._facts(), other._facts())

    def _facts(self) -> StudyFacts:
        best = self.best_of(Query(), None if self.objectives.are_several else 1, has_curves=False)
        return facts_of(self._store, self._study_id, self.name, objectives=self.objectives, best=best)

    def status(self) -> StudyStatus:
        """Its state, progress, budget, best trial and workers."""
        progress = load_progress(self._store, self._study_id)
        several = self.objectives.are_several
        best = self.best_of(Query(), None if several else 1, has_curves=not several)
        with self._store.read() as connection:
            workers = Workers.read(connection, self._store)
            told = told_of(connection, self._study_id).get(self._study_id)
        found = StudyOverview(self._study_id, self.name, self.objectives, progress)
        if several:
            status = status_of(found, None, workers, on_front=len(best))
        else:  # as a list of studies has it, which does not read the provenance
            status = status_of(found, replace(best[0], provenance=None) if best else None, workers)
        return replace(status, notifications=told)
