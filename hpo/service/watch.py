"""What happens in a study, as events: each trial and each attempt once, in the order of the store's clock."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, or_, select

from hpo.queue.best import ranked_trials
from hpo.queue.front import complete_points, front_points
from hpo.queue.leases import expire_leases
from hpo.queue.progress import Progress, progress_of
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records
from hpo.store import Store
from hpo.store.tables import hpo_attempts, trials
from hpo.study.objectives import Costs, Objectives, dominates
from hpo.study.states import OPTUNA_ENDED, AttemptEnd, OptunaState, StudyState, TrialState

_HANDED_BACK = (AttemptEnd.AT_RUNG, AttemptEnd.PAUSED, AttemptEnd.PREEMPTED)  # the trial does not end with it


class EventKind(StrEnum):
    """What happened."""

    TRIAL_ENQUEUED = "trial enqueued"
    """A trial was enqueued, and waits for a worker."""
    TRIAL_STARTED = "trial started"
    """The trial's first attempt began."""
    TRIAL_RESUMED = "trial resumed"
    """A further attempt began: after a pause, a promotion, a crash."""
    TRIAL_PAUSED = "trial paused"
    """The trial is paused at a rung."""
    TRIAL_IDLE = "trial idle"
    """An attempt ended, not the trial: it was handed back, was lost, or is tried again."""
    TRIAL_ENDED = "trial ended"
    """The trial is complete, pruned or failed."""
    BEST_CHANGED = "best changed"
    """The trial, which has just ended, is better than all before; of several objectives, it enlarges the front."""
    STATE_CHANGED = "state changed"
    """The study was paused, resumed, stopped or killed, or has ended."""
    STUDY_ENDED = "study ended"
    """The study is over, and none of its trials is trained: the last event."""


@dataclass(frozen=True)
class StudyEvent:
    """One thing that happened.

    Attributes:
        trial: whose event it is, as the store has it at this look; None for an event of the study.
        state: of the study, for an event of the study.
        reason: for that state, in words.
    """

    kind: EventKind
    trial: TrialRecord | None = None
    state: StudyState | None = None
    reason: str | None = None

    @property
    def number(self) -> int | None:
        """The trial's number; None for an event of the study."""
        return None if self.trial is None else self.trial.number


@dataclass(frozen=True)
class _Seen:
    """A known trial: how many attempts have begun, and how many of them have ended."""

    begun: int = 0
    ended: int = 0


class Watch:
    """The events of one study from the moment on at which this is made.

    Args:
        from_start: also those of before.
    """

    def __init__(self, store: Store, study_id: int, objectives: Objectives, *, from_start: bool = False) -> None:
        self._store = store
        self._study_id = study_id
        self._objectives = objectives
        self._known = 0  # trials are numbered without gaps
        self._open: dict[int, _Seen] = {}  # by number, the trials that have not ended
        self._front: list[Costs] = []  # of the best trial, or of those that no other one beats in all objectives
        self._state = StudyState.RUNNING
        with store.read() as connection:
            progress = progress_of(connection, study_id)
            self._created = progress.created
            if not from_start:
                self._state = _state_of(progress)
                self._front = self._best_so_far(connection)
                for row, attempts in self._changed(connection):
                    self._note(row, attempts)

    def events(self, poll_seconds: float) -> Iterator[StudyEvent]:
        """The events, until the study is over."""
        while True:
            events, is_over = self.look()
            yield from events
            if is_over:
                return
            time.sleep(poll_seconds)

    def look(self) -> tuple[list[StudyEvent], bool]:
        """The events since the last poll, and whether the study is over."""
        with self._store.read() as connection:  # one snapshot, so that no trial of an ended study is missed
            progress = progress_of(connection, self._study_id)
            if progress.created != self._created:  # SQLite gives the number of a deleted study to the next one
                progress = Progress.of_deleted()
            events = [] if progress.is_deleted else self._take(connection)
        state, reason = _state_of(progress), progress.reason or progress.limit
        if state != self._state:
            self._state = state
            events.append(StudyEvent(EventKind.STATE_CHANGED, state=state, reason=reason))
        is_over = progress.is_over and progress.counts.running == 0
        if is_over:
            events.append(StudyEvent(EventKind.STUDY_ENDED, state=state, reason=reason))
        elif progress.is_over:
            expire_leases(self._store, study_id=self._study_id)  # perhaps no worker is left that would
        return events, is_over

    def _take(self, connection: Connection) -> list[StudyEvent]:
        """Bring what is known up to date; the events that led to it."""
        happened: list[tuple[float, int, int, EventKind]] = []
        ids: dict[int, int] = {}
        for row, attempts in self._changed(connection):
            told = list(_happened(row, attempts, self._open.get(row.number)))
            happened += [(moment, row.number, place, kind) for place, (moment, kind) in enumerate(told)]
            if told:
                ids[row.number] = row.trial_id
            self._note(row, attempts)
        records = (
            read_records(connection, self._study_id, list(ids.values()), objectives=self._objectives) if ids else {}
        )
        events = []
        for _, number, _, kind in sorted(happened):
            record = records[ids[number]]
            events.append(StudyEvent(kind, record))
            if kind == EventKind.TRIAL_ENDED and self._is_best(record):
                events.append(StudyEvent(EventKind.BEST_CHANGED, record))
        return events

    def _changed(self, connection: Connection) -> list[tuple[Any, list[Any]]]:
        """The trials that are new or had not ended, by number, and their attempts in order."""
        wanted = (trials.c.study_id == self._study_id) & or_(
            trials.c.number >= self._known, trials.c.number.in_(list(self._open))
        )
        attempts: dict[int, list[Any]] = defaultdict(list)
        for attempt in connection.execute(
            select(hpo_attempts)
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(wanted)
            .order_by(hpo_attempts.c.number)
        ):
            attempts[attempt.trial_id].append(attempt)
        rows = connection.execute(select(trials).where(wanted).order_by(trials.c.number)).all()
        return [(row, attempts[row.trial_id]) for row in rows]

    def _note(self, row: Any, attempts: list[Any]) -> None:
        self._known = max(self._known, row.number + 1)
        self._open.pop(row.number, None)
        if row.state not in OPTUNA_ENDED:
            begun = len(attempts) or int(row.state == OptunaState.RUNNING)  # another program's has no attempts
            self._open[row.number] = _Seen(begun, sum(attempt.ended is not None for attempt in attempts))

    def _best_so_far(self, connection: Connection) -> list[Costs]:
        objectives = self._objectives
        if objectives.are_several:
            complete = complete_points(connection, self._study_id, objectives)
            return [objectives.costs(point.values) for point in front_points(complete, objectives)]
        rows = connection.execute(ranked_trials(self._study_id, objectives.first, limit=1))
        return [objectives.costs([row.value]) for row in rows]

    def _is_best(self, record: TrialRecord) -> bool:
        if record.state != TrialState.COMPLETE or len(record.values) != len(self._objectives.directions):
            return False
        costs = self._objectives.costs(record.values)
        if any(other == costs or dominates(other, costs) for other in self._front):
            return False
        self._front = [other for other in self._front if not dominates(costs, other)] + [costs]
        return True


def _happened(row: Any, attempts: list[Any], seen: _Seen | None) -> Iterator[tuple[float, EventKind]]:
    """What happened to a trial since it was seen: when, in seconds since 1970, and what."""
    is_over = row.state in OPTUNA_ENDED
    if seen is None and row.state == OptunaState.WAITING:
        yield time.time(), EventKind.TRIAL_ENQUEUED
    seen = seen or _Seen()
    if not attempts and seen.begun == 0 and row.datetime_start is not None:  # another program's
        yield _moment(row.datetime_start), EventKind.TRIAL_STARTED
    for place, attempt in enumerate(attempts, start=1):
        if place > seen.begun:
            yield attempt.started, EventKind.TRIAL_STARTED if place == 1 else EventKind.TRIAL_RESUMED
        is_last_word = place == len(attempts) and is_over and attempt.kind not in _HANDED_BACK
        if attempt.ended is not None and place > seen.ended and not is_last_word:
            is_paused = attempt.kind == AttemptEnd.AT_RUNG
            yield attempt.ended, EventKind.TRIAL_PAUSED if is_paused else EventKind.TRIAL_IDLE
    if is_over:
        yield _moment(row.datetime_complete), EventKind.TRIAL_ENDED


def _moment(naive: datetime | None) -> float:
    return time.time() if naive is None else naive.replace(tzinfo=UTC).timestamp()


def _state_of(progress: Progress) -> StudyState:
    is_done = progress.state == StudyState.RUNNING and progress.counts.target > 0 and progress.is_over
    return StudyState.DONE if is_done else progress.state
