"""The result of a study as plain records, read with a handful of statements and without Optuna, torch or pandas.

study = hpo.open_study("digits-dnn")
study.best(5)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each, best_trials, directions_of
from hpo.queue.counts import TrialCounts
from hpo.queue.findings import findings_of
from hpo.queue.overview import overview
from hpo.queue.progress import Progress, find_study, load_progress
from hpo.results.attempt import AttemptRecord, read_attempts
from hpo.results.final import FINAL, Final
from hpo.results.pareto import pareto_front
from hpo.results.trial import TrialRecord, read_records, records_where
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
        state: as requested, or `done` when it has all its trials or has reached a limit.
        counts: trials by `TrialState`, without the foreign ones.
        foreign: trials that another program has added to a study of ours; they spend nothing of its budget.
        waiting_for: what keeps it from going on, and what to do about it; None while it goes on, and when it is over.
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

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["best"] = None if self.best is None else self.best.to_json()
        return plain


class Study:
    """A study in a store, read-only. Each call reads the store anew.

    Attributes:
        directions: of each objective; of our own studies, one.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store
        self._study_id, self._direction = find_study(store, name)
        with store.read() as connection:
            self.directions = directions_of(connection, self._study_id)

    @property
    def direction(self) -> Direction:
        """maximize or minimize."""
        return self._direction

    def best(self, k: int = 1) -> list[TrialRecord]:
        """The k best complete trials, the best first; fewer when there are not so many.

        While no trial is complete, the best of the others that have not failed, by the best value that each has
        reached; their `remark` is such as 'paused after 19 of 27 epochs'. Of several objectives, which studies of
        other programs may have, the Pareto-optimal trials, by the first objective.
        """
        if len(self.directions) > 1:
            return pareto_front(self.trials(has_curves=False), self.directions)[:k]
        with self._store.read() as connection:
            chosen = [row.trial_id for row in best_trials(connection, self._study_id, self._direction, limit=k)]
            by_id = read_records(connection, self._study_id, chosen, direction=self._direction)
        return [by_id[trial_id] for trial_id in chosen]

    def trials(self, *, has_curves: bool = True) -> list[TrialRecord]:
        """All trials, by number.

        Args:
            has_curves: with their curves and their provenance; without, thousands of trials are read in a fraction of
                the time.
        """
        with self._store.read() as connection:
            found = read_records(connection, self._study_id, None, direction=self._direction, has_curves=has_curves)
        return sorted(found.values(), key=lambda record: record.number)

    def trial(self, number: int) -> TrialRecord | None:
        """One trial by its number; None when there is none of that number."""
        with self._store.read() as connection:
            wanted = (trials.c.study_id == self._study_id) & (trials.c.number == number)
            chosen = connection.scalars(select(trials.c.trial_id).where(wanted)).all()
            found = read_records(connection, self._study_id, chosen, direction=self._direction)
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

    @property
    def kept_in(self) -> str | None:
        """The name of the study whose trials are the final model; None before `hpo finalize`."""
        final = self.final()
        return None if final is None else final.kept.study

    def kept(self) -> list[TrialRecord]:
        """The trials of the final model: one, or those of an ensemble; none before `hpo finalize`."""
        final = self.final()
        if final is None:
            return []
        found = Study(self._store, final.kept.study)
        return [trial for number in final.kept.members if (trial := found.trial(number)) is not None]

    def frame(self) -> pd.DataFrame:
        """A row for each trial: number, state, value, epochs, seconds, `params_*`, attempts, cause, device, ..."""
        import pandas as pd

        return pd.DataFrame([record.row() for record in self.trials(has_curves=False)])

    def status(self) -> StudyStatus:
        """Its state, progress, budget, best trial and workers."""
        progress = load_progress(self._store, self._study_id)
        best = self.best(1) if len(self.directions) == 1 else []
        with self._store.read() as connection:
            workers = _Workers.read(connection, self._store, self._study_id)
        return _status(self.name, progress, best[0] if best else None, workers.of(self._study_id))


def list_studies(store: Store) -> list[StudyStatus]:
    """The status of every study, the oldest first; of its best trial without the curve."""
    with store.read() as connection:
        found = overview(connection)
        one_objective = {study.study_id: study.directions[0] for study in found if len(study.directions) == 1}
        best = best_of_each(connection, one_objective)
        records: dict[int, TrialRecord] = {}
        chosen = list(best.values())
        for start in range(0, len(chosen), STUDIES_A_STATEMENT):
            wanted = trials.c.trial_id.in_(chosen[start : start + STUDIES_A_STATEMENT])
            records |= records_where(connection, wanted, one_objective, has_curves=False)
        workers = _Workers.read(connection, store)
    return [
        _status(study.name, study.progress, records.get(best.get(study.study_id, -1)), workers.of(study.study_id))
        for study in found
    ]


def _status(name: str, found: Progress, best: TrialRecord | None, workers: Sequence[WorkerRecord]) -> StudyStatus:
    counts = found.counts
    is_done = found.state == StudyState.RUNNING and counts.target > 0 and found.is_over
    return StudyStatus(
        study=name,
        state=StudyState.DONE if is_done else found.state,
        reason=found.reason or found.limit,
        counts=counts.by_state,
        budget={"trials": _trials(counts), **_budget(found)},
        best=best,
        workers=workers,
        waiting_for=found.waiting_for(name, has_worker=bool(workers)) if found.created is not None else None,
        foreign=counts.foreign,
    )


@dataclass(frozen=True)
class _Workers:
    """The workers that are alive, and how many trials each trains of each study."""

    alive: Sequence[Any]
    running: Mapping[tuple[int, int], int]  # by (study_id, worker_id)

    @classmethod
    def read(cls, connection: Connection, store: Store, study_id: int | None = None) -> _Workers:
        """Of all studies, or of one."""
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
        if study_id is not None:
            running = running.where(trials.c.study_id == study_id)
        return cls(alive, {(study, worker): number for study, worker, number in connection.execute(running)})

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
