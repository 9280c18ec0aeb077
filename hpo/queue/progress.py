"""Study progress: counts, limits, best trial; small questions to the store, answered by a statement or two each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Connection, Select, case, func, select, true

from hpo.errors import StoreError, nearest
from hpo.queue.best import ranked_trials
from hpo.queue.budget import Spent, settled, spent_of
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_trials, studies, study_directions, trials
from hpo.study.states import Direction, OptunaState, Request, StudyState, TrialState


@dataclass(frozen=True)
class Counts:
    """The trials of a study by Optuna's state, and how many it may have.

    Attributes:
        begun: trials that have begun and not ended: trained now, idle, or paused at a rung.
        idle: those of them that were handed back or lost, and that no worker trains.
        paused: those of them that are paused at a rung.
    """

    target: int = 0
    waiting: int = 0
    begun: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    idle: int = 0
    paused: int = 0

    @staticmethod
    def of_states(numbers: Mapping[str | None, int], *, target: int, idle: int = 0, paused: int = 0) -> Counts:
        """From how many there are in each of Optuna's states."""
        return Counts(
            target=target,
            waiting=numbers.get(OptunaState.WAITING, 0),
            begun=numbers.get(OptunaState.RUNNING, 0),
            complete=numbers.get(OptunaState.COMPLETE, 0),
            pruned=numbers.get(OptunaState.PRUNED, 0),
            failed=numbers.get(OptunaState.FAIL, 0),
            idle=idle,
            paused=paused,
        )

    @property
    def running(self) -> int:
        """Those that are trained now, by our workers or by another program."""
        return self.begun - self.idle - self.paused

    @property
    def by_state(self) -> dict[str, int]:
        """How many trials there are in each `TrialState`."""
        return {
            TrialState.COMPLETE: self.complete,
            TrialState.PRUNED: self.pruned,
            TrialState.FAILED: self.failed,
            TrialState.RUNNING: self.running,
            TrialState.PAUSED: self.paused,
            TrialState.IDLE: self.idle,
            TrialState.WAITING: self.waiting,
        }

    @property
    def claimed(self) -> int:
        return self.begun + self.complete + self.pruned + self.failed

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed


def find_study(store: Store, name: str) -> tuple[int, Direction]:
    """(number in the store, direction) of a study, also of one that another program made.

    Raises:
        StoreError: there is none; names the nearest.
    """
    with store.read() as connection:
        row = connection.execute(
            select(studies.c.study_id, study_directions.c.direction)
            .join(study_directions, study_directions.c.study_id == studies.c.study_id)
            .where(studies.c.study_name == name, study_directions.c.objective == 0)
        ).first()
        if row is None:
            raise no_such_study(connection, name)
    return row.study_id, Direction.of_optuna(row.direction)


def no_such_study(connection: Connection, name: str) -> StoreError:
    """The error for a name that the store does not have; tells the nearest that it has."""
    known = list(connection.scalars(select(studies.c.study_name).order_by(studies.c.study_id)))
    listed = f" It has {', '.join(known)}." if known else " It has none."
    return StoreError(f"the store has no study '{name}'{nearest(name, known) or '.'}{listed}")


@dataclass(frozen=True)
class Progress:
    """How far a study is, and what is requested of it.

    Attributes:
        state: what the study is to do; one that another program made is to run.
        reason: for the state.
        limits: what it may spend besides trials; None where there is no limit.
        spent: None where there is no limit.
        limit: the one that is reached, in words.
        spec: what it searches and how, as JSON; submitting it again changes what may change.
    """

    state: StudyState
    reason: str | None
    counts: Counts
    priority: float = 1.0
    limits: Mapping[str, float | None] = field(default_factory=dict)
    spent: Spent | None = None
    limit: str | None = None
    spec: str | None = None

    @property
    def is_over(self) -> bool:
        """All trials have ended, a limit is reached and none is left that has begun, or the study is to end."""
        is_spent = self.limit is not None and self.counts.begun == 0
        return self.counts.ended >= self.counts.target or is_spent or self.state.is_ending


def load_progress(store: Store, study_id: int) -> Progress:
    """How far a study is; one that was deleted is stopped."""
    with store.read() as connection:
        return progress_of(connection, study_id)


def progress_of(connection: Connection, study_id: int, *, hours: float | Literal["measured"] | None = None) -> Progress:
    """How far a study is, within a transaction of the caller.

    Args:
        hours: tell what is spent also without a limit, and take this for its hours, unless they are to be measured.
    """
    by_state = (
        select(trials.c.study_id, trials.c.state.label("of"), func.count().label("number"))
        .where(trials.c.study_id == study_id)
        .group_by(trials.c.study_id, trials.c.state)
        .subquery()
    )
    untrained = _untrained(study_id).subquery()
    rows = connection.execute(  # one for each state that its trials are in: every worker asks this every second
        select(
            hpo_studies.c.state,
            hpo_studies.c.state_reason,
            hpo_studies.c.trials_target,
            hpo_studies.c.limits,
            hpo_studies.c.priority,
            hpo_studies.c.spec,
            study_directions.c.direction,
            by_state.c.of,
            by_state.c.number,
            untrained.c.not_at_rung,
            untrained.c.at_rung,
        )
        .select_from(
            studies.outerjoin(hpo_studies)
            .outerjoin(by_state, by_state.c.study_id == studies.c.study_id)
            .join(untrained, true())
        )
        .join(study_directions, study_directions.c.study_id == studies.c.study_id)
        .where(studies.c.study_id == study_id)
    ).all()
    if not rows:
        return Progress(StudyState.STOPPED, "the study was deleted", Counts())
    row = rows[0]
    state = StudyState(row.state or StudyState.RUNNING)
    counts = Counts.of_states(
        {one.of: one.number for one in rows},
        target=row.trials_target or 0,
        idle=row.not_at_rung or 0,
        paused=row.at_rung or 0,
    )
    limits = json.loads(row.limits or "{}")
    spent = limit = None
    if hours is not None or any(item is not None for item in limits.values()):
        direction = Direction.of_optuna(row.direction)
        spent = spent_of(connection, study_id, direction)
        if isinstance(hours, float):
            spent = replace(spent, hours=hours, hours_at_end=hours)
        is_complete = counts.ended >= counts.target or state.is_ending
        spent, limit = settled(spent, limits, direction, is_complete=is_complete, is_running=counts.begun > 0)
    priority = 1.0 if row.priority is None else row.priority
    return Progress(state, row.state_reason, counts, priority, limits, spent, limit, row.spec)


def counts_of(connection: Connection, study_id: int, *, target: int | None = None) -> Counts:
    """The trials by state, within a transaction of the caller, who may know the target already."""
    rows = connection.execute(
        select(trials.c.state, func.count()).where(trials.c.study_id == study_id).group_by(trials.c.state)
    )
    numbers: dict[str | None, int] = {state: number for state, number in rows}
    if target is None:
        target = connection.scalar(select(hpo_studies.c.trials_target).where(hpo_studies.c.study_id == study_id))
    return Counts.of_states(numbers, target=target or 0)


def lock_study(connection: Connection, study_id: int) -> None:
    """Keep others from claiming of a study, or changing it, until the transaction ends.

    The rows are Optuna's and ours, always in this order, or two transactions could wait for each other.
    """
    for column in (studies.c.study_id, hpo_studies.c.study_id):
        connection.execute(select(column).where(column == study_id).with_for_update())


def best_of(connection: Connection, study_id: int, direction: Direction) -> tuple[int, float] | None:
    """(number, value) of the best complete trial, within a transaction of the caller."""
    row = connection.execute(ranked_trials(study_id, direction).limit(1)).first()
    return None if row is None else (row.number, row.value)


def best_with_checkpoints(store: Store, study_id: int, direction: Direction) -> list[tuple[int, int, str]]:
    """(trial_id, number, checkpoint) of the complete trials that have one, the best first."""
    with store.read() as connection:
        rows = connection.execute(
            ranked_trials(study_id, direction)
            .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
            .where(hpo_trials.c.checkpoint.is_not(None))
            .add_columns(hpo_trials.c.checkpoint)
        )
        return [(row.trial_id, row.number, row.checkpoint) for row in rows]


def _untrained(study_id: int) -> Select[Any]:
    """One row: how many trials have begun and are not trained now, and why."""
    attempt = select(hpo_attempts.c.attempt_id).where(hpo_attempts.c.trial_id == trials.c.trial_id)
    awaits = func.coalesce(hpo_trials.c.request, "") == Request.AWAIT_PROMOTION
    return (
        select(
            func.sum(case((awaits, 0), else_=1)).label("not_at_rung"),
            func.sum(case((awaits, 1), else_=0)).label("at_rung"),
        )
        .select_from(trials.outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id))
        .where(
            trials.c.study_id == study_id,
            trials.c.state == OptunaState.RUNNING,
            attempt.exists(),
            ~attempt.where(hpo_attempts.c.ended.is_(None)).exists(),
        )
    )


def requests_of(connection: Connection, trial_ids: Sequence[int]) -> dict[int, Request]:
    """By trial_id, what is requested of single trials."""
    if not trial_ids:
        return {}
    rows = connection.execute(
        select(hpo_trials.c.trial_id, hpo_trials.c.request).where(
            hpo_trials.c.trial_id.in_(trial_ids), hpo_trials.c.request.is_not(None)
        )
    )
    return {row.trial_id: Request(row.request) for row in rows}


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
