"""Idle trials, which have begun and are trained by no worker; and the end of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, case, exists, func, insert, literal, or_, select, update

from hpo.printable import all_of
from hpo.queue.front import has_several_objectives, last_values
from hpo.queue.progress import BY_REQUEST, counts_of, lock_study
from hpo.store import Store
from hpo.store.clock import db_utc
from hpo.store.tables import (
    hpo_attempts,
    hpo_studies,
    hpo_trials,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.study.states import AttemptEnd, OptunaState, Request, StudyState

KILLED, STOPPED = StudyState.KILLED, StudyState.STOPPED  # the first word of the cause of such an end


def idle_trials(study_id: int) -> Select[Any]:
    """The study's trials that have begun and not ended, and whose attempts have all ended; by number.

    Trials paused at a rung are included; they have the request to await promotion.
    """
    attempt = exists().where(hpo_attempts.c.trial_id == trials.c.trial_id)
    is_trained = attempt.where(hpo_attempts.c.ended.is_(None))
    return (
        select(trials.c.trial_id, trials.c.number, hpo_trials.c.config, hpo_trials.c.request)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.RUNNING, attempt, ~is_trained)
        .order_by(trials.c.number)
    )


def waiting_trials() -> Select[Any]:
    """Every study's trials that no worker trains and that have not ended: idle ones, and those that never began."""
    attempt = exists().where(hpo_attempts.c.trial_id == trials.c.trial_id)
    is_idle = and_(trials.c.state == OptunaState.RUNNING, attempt, ~attempt.where(hpo_attempts.c.ended.is_(None)))
    return (
        select(trials.c.study_id, trials.c.trial_id, trials.c.state, hpo_trials.c.request)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(or_(trials.c.state == OptunaState.WAITING, is_idle))
    )


def end_idle_trials(
    connection: Connection, study_id: int, *, limit: str | None = None, only: int | None = None
) -> list[int]:
    """End the idle trials that will not be continued, because they or their study are to end; their numbers.

    A killed trial has failed; a stopped one is pruned at its last epoch, or failed without an epoch. A study also ends
    when it has all its trials: its target was lowered after these had begun.

    Args:
        limit: the study's limit that is reached, in words.
        only: the trial_id of one trial.
    """
    wanted = select(hpo_studies.c.state, hpo_studies.c.state_reason).where(hpo_studies.c.study_id == study_id)
    study = connection.execute(wanted).first()
    if study is None:  # it was deleted a moment ago
        return []
    found = idle_trials(study_id)
    if only is not None:
        # A request for this trial at the same moment is written before or after this, not in between.
        connection.execute(select(hpo_trials.c.request).where(hpo_trials.c.trial_id == only).with_for_update())
        found = found.where(trials.c.trial_id == only)
    rows = connection.execute(found).all()
    if rows and limit is None:
        so_far = counts_of(connection, study_id)
        if so_far.ended >= so_far.target:
            limit = f"the study has {all_of(so_far.target, 'trial')}"
    ended = []
    for row in rows:
        if row.request == Request.KILL or study.state == StudyState.KILLED:
            end_trial(connection, row.trial_id, OptunaState.FAIL, cause=f"{KILLED}: {BY_REQUEST}")
        elif row.request == Request.STOP or study.state == StudyState.STOPPED or limit is not None:
            is_of_study = study.state == StudyState.STOPPED
            reason = study.state_reason if is_of_study else None if row.request == Request.STOP else limit
            has_curve = exists().where(trial_intermediate_values.c.trial_id == row.trial_id)
            state = OptunaState.PRUNED if connection.scalar(select(has_curve)) else OptunaState.FAIL
            end_trial(connection, row.trial_id, state, cause=f"{STOPPED}: {(reason or BY_REQUEST).splitlines()[0]}")
        else:
            continue
        ended.append(row.number)
    return ended


def standstill(store: Store, study_id: int) -> int | None:
    """The newest attempt of a study whose trials have all begun and of which none is running; else None."""
    with store.read() as connection:
        return _standstill(connection, study_id)


def end_paused_trials(store: Store, study_id: int, *, since: int) -> list[int]:
    """Prune the trials paused at rungs, when none of them can be promoted any more; their numbers.

    Args:
        since: the attempt that `standstill` returned before that was checked; after a newer claim, nothing is done.
    """
    with store.write() as connection:
        lock_study(connection, study_id)
        if _standstill(connection, study_id) != since:
            return []
        paused = connection.execute(idle_trials(study_id).where(hpo_trials.c.request == Request.AWAIT_PROMOTION)).all()
        for row in paused:
            end_trial(connection, row.trial_id, OptunaState.PRUNED, cause=None)
    return [row.number for row in paused]


def _standstill(connection: Connection, study_id: int) -> int | None:
    so_far = counts_of(connection, study_id)
    if so_far.claimed < so_far.target:  # what waits beyond the target is not claimed
        return None
    newest, trained = connection.execute(
        select(
            func.max(hpo_attempts.c.attempt_id),
            func.sum(case((hpo_attempts.c.ended.is_(None), 1), else_=0)),
        )
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .where(trials.c.study_id == study_id)
    ).one()
    return None if trained else newest


def end_trial(
    connection: Connection,
    trial_id: int,
    state: OptunaState,
    *,
    cause: str | None,
    values: Sequence[float] = (),
    **columns: Any,
) -> None:
    """End a trial that has no running attempt any more: the only place where a trial of ours ends.

    Args:
        values: of each objective, finite; by default the last ones that a pruned trial reported.
        columns: of `hpo_trials`: best_epoch, checkpoint, checkpoint_sha256, error.
    """
    columns = {**columns, "cause": cause, "request": None}
    total = select(func.sum(hpo_attempts.c.seconds)).where(hpo_attempts.c.trial_id == trial_id).scalar_subquery()
    changed = connection.execute(
        update(hpo_trials).where(hpo_trials.c.trial_id == trial_id).values(**columns, seconds=total)
    )
    if changed.rowcount == 0:  # it was lost before its parameters were sampled
        connection.execute(insert(hpo_trials).values(trial_id=trial_id, **columns, seconds=total))
    if not values and state == OptunaState.PRUNED:
        study_id = connection.scalar(select(trials.c.study_id).where(trials.c.trial_id == trial_id))
        if study_id is not None and has_several_objectives(connection, study_id):
            values = last_values(connection, trial_id, study_id)
        else:
            connection.execute(insert(trial_values).from_select(*_last_value(trial_id)))
    if values:
        rows = [
            {"trial_id": trial_id, "objective": place, "value": value, "value_type": "FINITE"}
            for place, value in enumerate(values)
        ]
        connection.execute(insert(trial_values), rows)
    connection.execute(
        update(trials).where(trials.c.trial_id == trial_id).values(state=state, datetime_complete=db_utc())
    )


def _last_value(trial_id: int) -> tuple[list[str], Select[Any]]:
    """The columns of a trial's value, and a query for the last value that it reported."""
    curve = trial_intermediate_values.c
    kind = literal("FINITE", trial_values.c.value_type.type)
    return (
        ["trial_id", "objective", "value", "value_type"],
        select(curve.trial_id, literal(0), curve.intermediate_value, kind)
        .where(curve.trial_id == trial_id, curve.intermediate_value.is_not(None))
        .order_by(curve.step.desc())
        .limit(1),
    )


def attempts_ended(connection: Connection, trial_id: int, end: AttemptEnd) -> int:
    """How many of the trial's attempts ended in this way."""
    counted = select(func.count()).where(hpo_attempts.c.trial_id == trial_id, hpo_attempts.c.kind == end)
    return connection.scalar(counted) or 0
