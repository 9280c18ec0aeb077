"""The result of a study as plain records, read with a handful of statements and without Optuna, torch or pandas.

study = hpo.open_study("digits-dnn")
study.best(5)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hpo.queue.best import best_trials, directions_of
from hpo.queue.counts import TrialCounts
from hpo.queue.progress import Progress, find_study, load_progress
from hpo.results.attempt import AttemptRecord, read_attempts
from hpo.results.pareto import pareto_front
from hpo.results.trial import TrialRecord, read_records
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_attempts,
    hpo_workers,
    studies,
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
            has_curves: with their curves; without, thousands of trials are read in a fraction of the time.
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

    def frame(self) -> pd.DataFrame:
        """A row for each trial: number, state, value, epochs, seconds, `params_*`, attempts, cause, device, ..."""
        import pandas as pd

        return pd.DataFrame([record.row() for record in self.trials(has_curves=False)])

    def status(self) -> StudyStatus:
        """Its state, progress, budget, best trial and workers."""
        found = load_progress(self._store, self._study_id)
        counts, workers = found.counts, self._workers()
        best = self.best(1) if len(self.directions) == 1 else []
        is_ours = found.created is not None
        is_done = found.state == StudyState.RUNNING and counts.target > 0 and found.is_over
        return StudyStatus(
            study=self.name,
            state=StudyState.DONE if is_done else found.state,
            reason=found.reason or found.limit,
            counts=counts.by_state,
            budget={"trials": _trials(counts), **_budget(found)},
            best=best[0] if best else None,
            workers=workers,
            waiting_for=found.waiting_for(self.name, has_worker=bool(workers)) if is_ours else None,
            foreign=counts.foreign,
        )

    def _workers(self) -> list[WorkerRecord]:
        with self._store.read() as connection:
            rows = connection.execute(
                select(hpo_workers, (db_now() - hpo_workers.c.beat).label("silence")).where(
                    hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - 2 * self._store.timing.lease
                )
            ).all()
            running: dict[int, int] = defaultdict(int)
            for worker_id in connection.scalars(
                select(hpo_attempts.c.worker_id)
                .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
                .where(trials.c.study_id == self._study_id, hpo_attempts.c.ended.is_(None))
            ):
                running[worker_id] += 1
        return [
            WorkerRecord(f"{row.host}:{row.pid}", row.slots, running[row.worker_id], round(row.silence, 1))
            for row in rows
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


def list_studies(store: Store) -> list[StudyStatus]:
    """The status of every study, the oldest first."""
    with store.read() as connection:
        names = connection.scalars(select(studies.c.study_name).order_by(studies.c.study_id)).all()
    return [Study(store, name).status() for name in names]
