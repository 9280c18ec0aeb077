"""Study progress: counts, limits, requests, best trial, each read with a statement or two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from sqlalchemy import Connection, Select, bindparam, case, exists, func, or_, select, true

from hpo.errors import NotFoundError, nearest
from hpo.queue.budget import SECONDS_OF_HOUR, Spent, settled, spent_of
from hpo.queue.conditions import was_refused
from hpo.queue.counts import Counts, TrialCounts
from hpo.queue.front import objectives_of
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_trials, studies, trials
from hpo.study.objectives import Objectives
from hpo.study.states import OptunaState, Request, StudyState

DELETED = "the study was deleted"
BY_REQUEST = "by request"


def find_study(store: Store, name: str) -> tuple[int, Objectives]:
    """(number in the store, objectives) of a study, also of one that another program created.

    Raises:
        NotFoundError: there is none; names the nearest.
    """
    with store.read() as connection:
        study_id = connection.scalar(select(studies.c.study_id).where(studies.c.study_name == name))
        if study_id is None:
            raise no_such_study(connection, name)
        return study_id, objectives_of(connection, study_id)


def has_study(store: Store, name: str) -> bool:
    """Whether the store has a study of this name, also of another program."""
    with store.read() as connection:
        return connection.scalar(select(studies.c.study_id).where(studies.c.study_name == name)) is not None


def no_such_study(connection: Connection, name: str) -> NotFoundError:
    """The error for a name that the store does not have; names the nearest and all others."""
    known = list(connection.scalars(select(studies.c.study_name).order_by(studies.c.study_id)))
    listed = f" It has {', '.join(known)}." if known else " It has none."
    return NotFoundError(f"the store has no study '{name}'{nearest(name, known) or '.'}{listed}")


@dataclass(frozen=True)
class Progress:
    """A study's progress, and its requested state.

    Attributes:
        state: as requested; `running` for a study that another program created.
        reason: for the state.
        limits: by name, those besides the number of trials; None where there is no limit.
        spent: None where there is no limit.
        limit: the one that is reached, in words.
        spec: the resolved study file as JSON; submitting the study again may change parts of it.
        created: seconds since 1970, UTC; None for a study of another program, and for a deleted one.
        change_accepted: when it last went on with other data or code, in seconds since 1970, UTC.
    """

    state: StudyState
    reason: str | None
    counts: TrialCounts
    priority: float = 1.0
    limits: Mapping[str, float | None] = field(default_factory=dict)
    spent: Spent | None = None
    limit: str | None = None
    spec: str | None = None
    created: float | None = None
    change_accepted: float | None = None

    @staticmethod
    def of_deleted() -> Progress:
        """Of a study that the store no longer has."""
        return Progress(StudyState.STOPPED, DELETED, TrialCounts())

    @property
    def is_deleted(self) -> bool:
        """Whether the store no longer has the study."""
        return self.reason == DELETED and self.created is None

    @property
    def is_over(self) -> bool:
        """All trials have ended, or a limit is reached and no begun trial is left, or the study is to end."""
        is_spent = self.limit is not None and self.counts.begun == 0
        return self.counts.ended >= self.counts.target or is_spent or self.state.is_ending

    def seconds_to_limits(self, devices: float) -> list[float]:
        """Seconds until the limits of hours and of device-hours, of those that it has.

        Args:
            devices: that its trials use together.
        """
        if self.spent is None:
            return []
        found, hours, device_hours = [], self.limits.get("hours"), self.limits.get("gpu_hours")
        if hours is not None:
            found.append(SECONDS_OF_HOUR * (hours - self.spent.hours))
        if device_hours is not None and devices > 0:
            found.append(SECONDS_OF_HOUR * (device_hours - self.spent.gpu_hours) / devices)
        return found

    @property
    def is_ended_by_request(self) -> bool:
        """Whether a person has stopped or killed it."""
        return self.state.is_ending and self.reason == BY_REQUEST

    @property
    def is_held(self) -> bool:
        """Nothing is left to train but trials that a person has paused."""
        counts = self.counts
        is_full = counts.claimed >= counts.target or self.limit is not None
        return self.state == StudyState.RUNNING and is_full and 0 < counts.begun == counts.held

    def waiting_for(self, name: str, *, has_worker: bool = True) -> str | None:
        """What keeps the study from going on, and what to do about it; None while it goes on, and when it is over.

        Args:
            name: of the study.
        """
        counts = self.counts
        if self.is_over:
            return None
        if self.state == StudyState.PAUSED:
            return f"it is paused: 'hpo resume {name}' continues it"
        if self.is_held:
            trials = "trial is" if counts.held == 1 else "trials are"
            return f"{counts.held} {trials} paused by request: 'hpo resume {name} TRIAL' continues one"
        if not has_worker:
            return f"no worker trains it: 'hpo worker {name}' does"
        return None


def load_progress(store: Store, study_id: int) -> Progress:
    """A study's progress; a deleted study is stopped."""
    with store.read() as connection:
        return progress_of(connection, study_id)


def progress_of(connection: Connection, study_id: int, *, hours: float | Literal["measured"] | None = None) -> Progress:
    """A study's progress, within a transaction of the caller.

    Args:
        hours: compute what is spent even without a limit, with these hours or with the measured ones.
    """
    rows = connection.execute(_progress(), {"of_study": study_id}).all()
    if not rows:
        return Progress.of_deleted()
    row = rows[0]
    state = StudyState(row.state or StudyState.RUNNING)
    is_ours = row.created is not None
    counts = TrialCounts.of_states(
        {one.of: one.ours if is_ours else one.number for one in rows},
        foreign=sum((one.number or 0) - (one.ours or 0) for one in rows) if is_ours else 0,
        target=row.trials_target or 0,
        refused=sum(one.refusals or 0 for one in rows),
        idle=row.not_at_rung or 0,
        paused=row.at_rung or 0,
        held=row.held or 0,
    )
    limits = json.loads(row.limits or "{}")
    spent = limit = None
    if hours is not None or any(item is not None for item in limits.values()):
        objectives = objectives_of(connection, study_id)
        spent = spent_of(connection, study_id, objectives)
        if isinstance(hours, float):
            spent = replace(spent, hours=hours, hours_at_end=hours)
        is_complete = counts.ended >= counts.target or state.is_ending
        spent, limit = settled(spent, limits, objectives, is_complete=is_complete, is_running=counts.begun > 0)
    priority = 1.0 if row.priority is None else row.priority
    return Progress(
        state, row.state_reason, counts, priority, limits, spent, limit, row.spec, row.created, row.change_accepted
    )


def counts_of(connection: Connection, study_id: int, *, target: int | None = None) -> Counts:
    """The trials by state, within a transaction of the caller.

    Args:
        target: the study's, where the caller knows it already.
    """
    rows = connection.execute(_by_state(), {"of_study": study_id}).all()
    if target is None:
        target = connection.scalar(select(hpo_studies.c.trials_target).where(hpo_studies.c.study_id == study_id))
    foreign = sum(row.number - row.ours for row in rows)
    refused = sum(row.refusals for row in rows)
    return Counts.of_states({row.of: row.ours for row in rows}, target=target or 0, foreign=foreign, refused=refused)


def lock_study(connection: Connection, study_id: int) -> None:
    """Lock a study against claims and changes until the transaction ends.

    Optuna's row is locked before ours, always in this order, to prevent deadlocks.
    """
    for column in (studies.c.study_id, hpo_studies.c.study_id):
        connection.execute(select(column).where(column == study_id).with_for_update())


def lock_named_study(connection: Connection, study_id: int, name: str) -> None:
    """`lock_study` for a study that was found by its name before.

    Raises:
        StoreError: it was deleted or renamed meanwhile; SQLite may have given its number to another study.
    """
    lock_study(connection, study_id)
    found = connection.scalar(select(studies.c.study_name).where(studies.c.study_id == study_id))
    if found != name:
        raise no_such_study(connection, name)


@cache  # as the next ones: every worker polls and counts, and to build a statement takes longer than to execute it
def _progress() -> Select[Any]:
    """The study `of_study`: a row for each state of its trials, in one statement."""
    by_state = _by_state().subquery()
    untrained = untrained_trials().where(trials.c.study_id == bindparam("of_study")).subquery()
    return (
        select(
            hpo_studies.c.state,
            hpo_studies.c.state_reason,
            hpo_studies.c.trials_target,
            hpo_studies.c.limits,
            hpo_studies.c.priority,
            hpo_studies.c.spec,
            hpo_studies.c.created,
            hpo_studies.c.change_accepted,
            by_state.c.of,
            by_state.c.number,
            by_state.c.ours,
            by_state.c.refusals,
            untrained.c.not_at_rung,
            untrained.c.at_rung,
            untrained.c.held,
        )
        .select_from(
            studies.outerjoin(hpo_studies)
            .outerjoin(by_state, by_state.c.study_id == studies.c.study_id)
            .join(untrained, true())
        )
        .where(studies.c.study_id == bindparam("of_study"))
    )


@cache
def _by_state() -> Select[Any]:
    """`trials_by_state` of the study `of_study`."""
    return trials_by_state().where(trials.c.study_id == bindparam("of_study"))


def trials_by_state() -> Select[Any]:
    """Rows of (study_id, state `of`, `number` of its trials, how many `ours` and `refusals`), of every study.

    Ours are those that a worker has claimed, those that wait for one, and those that were ended while they waited.
    """
    attempt = exists().where(hpo_attempts.c.trial_id == trials.c.trial_id)
    was_ended = exists().where(hpo_trials.c.trial_id == trials.c.trial_id, hpo_trials.c.cause.is_not(None))
    is_ours = or_(trials.c.state == OptunaState.WAITING, attempt, was_ended)
    return select(
        trials.c.study_id,
        trials.c.state.label("of"),
        func.count().label("number"),
        func.sum(case((is_ours, 1), else_=0)).label("ours"),
        func.sum(case((was_refused(), 1), else_=0)).label("refusals"),
    ).group_by(trials.c.study_id, trials.c.state)


def untrained_trials() -> Select[Any]:
    """One row: the number of idle trials, of those paused at a rung, and of the idle ones that a person has paused."""
    attempt = select(hpo_attempts.c.attempt_id).where(hpo_attempts.c.trial_id == trials.c.trial_id)
    request = func.coalesce(hpo_trials.c.request, "")
    awaits = request == Request.AWAIT_PROMOTION
    return (
        select(
            func.sum(case((awaits, 0), else_=1)).label("not_at_rung"),
            func.sum(case((awaits, 1), else_=0)).label("at_rung"),
            func.sum(case((request == Request.PAUSE, 1), else_=0)).label("held"),
        )
        .select_from(trials.outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id))
        .where(
            trials.c.state == OptunaState.RUNNING,
            attempt.exists(),
            ~attempt.where(hpo_attempts.c.ended.is_(None)).exists(),
        )
    )


def requests_of(connection: Connection, trial_ids: Sequence[int]) -> dict[int, Request]:
    """The requests for single trials, by trial_id."""
    if not trial_ids:
        return {}
    rows = connection.execute(_requests(), {"ids": trial_ids})
    return {row.trial_id: Request(row.request) for row in rows}


@cache
def _requests() -> Select[Any]:
    is_wanted = hpo_trials.c.trial_id.in_(bindparam("ids", expanding=True))
    return select(hpo_trials.c.trial_id, hpo_trials.c.request).where(is_wanted, hpo_trials.c.request.is_not(None))


def recent_causes(store: Store, study_id: int, number: int) -> list[tuple[str | None, str | None]]:
    """(cause, error) of the trials that ended last, the latest first; (None, None) for one that did not fail."""
    with store.read() as connection:
        rows = connection.execute(
            select(
                case((trials.c.state == OptunaState.FAIL, hpo_trials.c.cause)),
                case((trials.c.state == OptunaState.FAIL, hpo_trials.c.error)),
            )
            .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.datetime_complete.is_not(None))
            .order_by(trials.c.datetime_complete.desc(), trials.c.number.desc())
            .limit(number)
        )
        return [(cause, error) for cause, error in rows]
