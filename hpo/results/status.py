"""How studies stand: their state, progress, budget, best trial and workers; of one, and of all of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each
from hpo.queue.counts import TrialCounts
from hpo.queue.overview import StudyOverview, overview
from hpo.queue.progress import Progress
from hpo.queue.told import Told
from hpo.results.query import Query
from hpo.results.ranking import best_of
from hpo.results.standstill import SlotsInUse, standstill
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import records_where
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_workers, trials
from hpo.study.limits import UNLIMITED
from hpo.study.states import StudyState


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
        workers = Workers.read(connection, store)
    return [
        status_of(study, records.get(best.get(study.study_id, -1)), workers, on_front=on_front.get(study.study_id))
        for study in found
    ]


def status_of(
    study: StudyOverview, best: TrialRecord | None, workers: Workers, *, on_front: int | None = None
) -> StudyStatus:
    """From what was read of a study.

    Args:
        workers: of all studies.
        on_front: of several objectives, how many trials are on the front.
    """
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
class Workers:
    """The workers that are alive, and how many trials each trains of each study."""

    alive: Sequence[Any]
    running: Mapping[tuple[int, int], int]  # by (study_id, worker_id)

    @classmethod
    def read(cls, connection: Connection, store: Store) -> Workers:
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
        """The workers, each with the trials that it trains of this study."""
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
