"""The result of a study as plain records, read with a handful of statements and without Optuna, torch or pandas.

study = hpo.open_study("digits-dnn")
study.best(5)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, overload

from sqlalchemy import Connection, func, select

from hpo.errors import HpoError, SpecError
from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each
from hpo.queue.counts import TrialCounts
from hpo.queue.findings import findings_of
from hpo.queue.overview import StudyOverview, overview
from hpo.queue.progress import Progress, find_study, load_progress
from hpo.queue.told import Told, told_of
from hpo.results.attempt import AttemptRecord, read_attempts
from hpo.results.columns import TrialColumns
from hpo.results.comparison import StudyDifferences, StudyFacts, compare, facts_of
from hpo.results.final import FINAL, Final, Member
from hpo.results.frames import Engine, frame_of, read_curves
from hpo.results.kept import KeptCheckpoints, kept_checkpoints
from hpo.results.pareto import Front
from hpo.results.query import Query, Table, chosen_trials, table_of
from hpo.results.ranking import best_of
from hpo.results.standstill import SlotsInUse, standstill
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records, records_where
from hpo.results.trials import Trials, table_of_trials
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_attempts,
    hpo_workers,
    trials,
)
from hpo.study.limits import UNLIMITED
from hpo.study.states import Direction, StudyState

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from hpo.results.expected import Expectation
    from hpo.search.gain import Gain

SHOWN_IN_A_CELL = 5  # of the best trials
MOST_BY_NUMBER = 5_000  # trials that are read one by one; of more, all of the study are read


@dataclass(frozen=True)
class WorkerRecord:
    """A worker whose last heartbeat is at most two leases ago."""

    name: str
    slots: int
    running: int
    seconds_since_beat: float


@dataclass(frozen=True)
class StudyStatus:
    """A study's state, progress and workers.

    Attributes:
        best: the best trial; None without one, and for a study of several objectives.
        on_front: of several objectives, how many trials no other one beats in all of them.
        state: as requested, or `done` when it has all its trials or has reached a limit.
        counts: trials by `TrialState`, without the foreign ones.
        foreign: trials that another program has added to a study of ours; they spend nothing of its budget.
        waiting_for: what keeps it from going on, and what to do about it; None while it goes on, and when it is over.
        notifications: that people got, or are to get, of it; None where there were none.
        budget: for each limit, its value (`target`) and what is spent of it; trials without one have no `target`.
    """

    study: str
    state: StudyState
    reason: str | None
    counts: Mapping[str, int]
    budget: Mapping[str, Mapping[str, float]]
    best: TrialRecord | None
    workers: Sequence[WorkerRecord]
    waiting_for: str | None = None
    foreign: int = 0
    on_front: int | None = None
    notifications: Told | None = None

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["best"] = None if self.best is None else self.best.to_json()
        return plain

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> StudyStatus:
        """From what `to_json` gives."""
        best = None if plain["best"] is None else TrialRecord.from_json(plain["best"])
        workers = [WorkerRecord(**worker) for worker in plain["workers"]]
        told = plain.get("notifications")  # an older server says nothing of them
        changed = {"state": StudyState(plain["state"]), "best": best, "workers": workers}
        return StudyStatus(**{**plain, **changed, "notifications": None if told is None else Told(**told)})

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it."""
        from hpo.notebook import block, facts, line

        states = ", ".join(f"{number:,} {state}" for state, number in self.counts.items() if number)
        budget = [
            (name, f"{its.get('spent', 0.0):.4g}" + (f" of {its['target']:.4g}" if "target" in its else ""))
            for name, its in self.budget.items()
        ]
        best = self.best and f"{self.best.value:.4g} by trial {self.best.number}"
        return block(
            line(f"{self.study}: {self.state}", is_title=True),
            facts(
                [
                    ("reason", self.reason),
                    ("waits", self.waiting_for),
                    ("trials so far", states),
                    *budget,
                    ("best", best),
                    ("on the front", self.on_front),
                    ("workers", ", ".join(f"{one.name} ({one.running} of {one.slots})" for one in self.workers)),
                ]
            ),
        )


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
            workers = _Workers.read(connection, self._store)
            told = told_of(connection, self._study_id).get(self._study_id)
        found = StudyOverview(self._study_id, self.name, self.objectives, progress)
        if several:
            status = _status(found, None, workers, on_front=len(best))
        else:  # as a list of studies has it, which does not read the provenance
            status = _status(found, replace(best[0], provenance=None) if best else None, workers)
        return replace(status, notifications=told)


def list_studies(store: Store) -> list[StudyStatus]:
    """The status of every study, the oldest first; of its best trial without the curve."""
    with store.read() as connection:
        found = overview(connection)
        objectives = {study.study_id: study.objectives for study in found}
        best = best_of_each(connection, {key: its.first for key, its in objectives.items() if not its.are_several})
        on_front = {
            study_id: len(best_of(connection, study_id, its, Query(), limit=None))
            for study_id, its in objectives.items()
            if its.are_several
        }
        records: dict[int, TrialRecord] = {}
        chosen = list(best.values())
        for start in range(0, len(chosen), STUDIES_A_STATEMENT):
            wanted = trials.c.trial_id.in_(chosen[start : start + STUDIES_A_STATEMENT])
            records |= records_where(connection, wanted, objectives, has_curves=False)
        workers = _Workers.read(connection, store)
    return [
        _status(study, records.get(best.get(study.study_id, -1)), workers, on_front=on_front.get(study.study_id))
        for study in found
    ]


def _status(
    study: StudyOverview, best: TrialRecord | None, workers: _Workers, *, on_front: int | None = None
) -> StudyStatus:
    found = study.progress
    counts = found.counts
    is_done = found.state == StudyState.RUNNING and counts.target > 0 and found.is_over
    return StudyStatus(
        study=study.name,
        state=StudyState.DONE if is_done else found.state,
        reason=found.reason or found.limit,
        counts=counts.by_state,
        budget={"trials": _trials(counts), **_budget(found)},
        best=best,
        workers=workers.of(study.study_id),
        waiting_for=standstill(study.study_id, study.name, found, workers.slots),
        foreign=counts.foreign,
        on_front=on_front,
    )


@dataclass(frozen=True)
class _Workers:
    """The workers that are alive, and how many trials each trains of each study."""

    alive: Sequence[Any]
    running: Mapping[tuple[int, int], int]  # by (study_id, worker_id)

    @classmethod
    def read(cls, connection: Connection, store: Store) -> _Workers:
        """Of all studies."""
        alive = connection.execute(
            select(hpo_workers, (db_now() - hpo_workers.c.beat).label("silence")).where(
                hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - 2 * store.timing.lease
            )
        ).all()
        running = (
            select(trials.c.study_id, hpo_attempts.c.worker_id, func.count())
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(hpo_attempts.c.ended.is_(None))
            .group_by(trials.c.study_id, hpo_attempts.c.worker_id)
        )
        return cls(alive, {(study, worker): number for study, worker, number in connection.execute(running)})

    @property
    def slots(self) -> SlotsInUse:
        """Of all of them."""
        alive, busy = {row.worker_id for row in self.alive}, dict[int, int]()
        for (study_id, worker_id), number in self.running.items():
            if worker_id in alive:
                busy[study_id] = busy.get(study_id, 0) + number
        return SlotsInUse(len(alive), sum(row.slots for row in self.alive), busy)

    def of(self, study_id: int) -> list[WorkerRecord]:
        return [
            WorkerRecord(
                f"{row.host}:{row.pid}",
                row.slots,
                self.running.get((study_id, row.worker_id), 0),
                round(row.silence, 1),
            )
            for row in self.alive
        ]


def _trials(counts: TrialCounts) -> dict[str, float]:
    limit = {} if counts.target == UNLIMITED else {"target": float(counts.target)}
    return {**limit, "spent": float(counts.claimed)}


def _budget(found: Progress) -> dict[str, dict[str, float]]:
    """For each limit of the study besides trials: its value, and what is spent of it."""
    if found.spent is None:
        return {}
    spent: dict[str, float | None] = {
        "hours": round(found.spent.hours, 4),
        "gpu_hours": round(found.spent.gpu_hours, 4),
        "target": found.spent.best,
        "patience": found.spent.since_best,
    }
    asked = {name: limit for name, limit in found.limits.items() if limit is not None}
    return {
        name: {"target": limit} | ({"spent": amount} if (amount := spent[name]) is not None else {})
        for name, limit in asked.items()
    }
