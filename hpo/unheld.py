"""Trials that were begun and that nobody trains: which they are, and how they end without being taken up again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, case, exists, func, insert, literal, select, update

from hpo.store import Store
from hpo.store.clock import db_utc
from hpo.store.tables import (
    HELD,
    hpo_attempts,
    hpo_studies,
    hpo_trials,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.tally import counts_of, lock


def unheld(study_id: int) -> Select[Any]:
    """The study's running trials that nobody trains: their last attempt ended, they did not."""
    attempt = exists().where(hpo_attempts.c.trial_id == trials.c.trial_id)
    held = attempt.where(hpo_attempts.c.ended.is_(None))
    return (
        select(trials.c.trial_id, trials.c.number, hpo_trials.c.config, hpo_trials.c.wish)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == "RUNNING", attempt, ~held)
        .order_by(trials.c.number)
    )


def end_unheld(connection: Connection, study_id: int, *, limit: str | None = None, only: int | None = None) -> None:
    """End the running trials that nobody trains, and that nobody will, because they or their study are to end.

    A trial that is killed has failed; one that is stopped is pruned at what it reached, or failed without an epoch.
    A study is to end also when it has all its trials: its target was lowered after these had begun.

    Args:
        limit: of the study, that is reached.
        only: the trial_id of one trial.
    """
    wished = select(hpo_studies.c.state, hpo_studies.c.state_reason).where(hpo_studies.c.study_id == study_id)
    study = connection.execute(wished).one()
    found = unheld(study_id)
    if only is not None:
        # Whoever wishes something of this trial at this moment comes before or after us, not between.
        connection.execute(select(hpo_trials.c.wish).where(hpo_trials.c.trial_id == only).with_for_update())
        found = found.where(trials.c.trial_id == only)
    rows = connection.execute(found).all()
    if rows and limit is None:
        counted = counts_of(connection, study_id)
        if counted.ended >= counted.target:
            limit = f"the study has the {counted.target} trials that it was asked for"
    for row in rows:
        curve = exists().where(trial_intermediate_values.c.trial_id == row.trial_id)
        if row.wish == "kill" or study.state == "killed":
            end_trial(connection, row.trial_id, "FAIL", cause="killed: by request")
        elif row.wish == "stop" or study.state == "stopped" or limit is not None:
            reason = study.state_reason if study.state == "stopped" else None if row.wish == "stop" else limit
            state = "PRUNED" if connection.scalar(select(curve)) else "FAIL"
            end_trial(connection, row.trial_id, state, cause=f"stopped: {(reason or 'by request').splitlines()[0]}")


def standstill(store: Store, study_id: int) -> int | None:
    """The newest attempt of a study whose trials have all begun and of which none trains; None while it is not so."""
    with store.read() as connection:
        return _standstill(connection, study_id)


def end_held(store: Store, study_id: int, *, since: int) -> list[int]:
    """Prune the trials that wait at rungs, none of which may go on any more; their numbers.

    Args:
        since: what `standstill` said before that was found out: when a trial has been taken up since, nothing is done.
    """
    with store.write() as connection:
        lock(connection, study_id)
        if _standstill(connection, study_id) != since:
            return []
        held = connection.execute(unheld(study_id).where(hpo_trials.c.wish == HELD)).all()
        for row in held:
            connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id == row.trial_id).values(wish=None))
            end_trial(connection, row.trial_id, "PRUNED", cause=None)
            connection.execute(
                insert(trial_values).from_select(
                    ["trial_id", "objective", "value", "value_type"],
                    select(
                        trial_intermediate_values.c.trial_id,
                        literal(0),
                        trial_intermediate_values.c.intermediate_value,
                        literal("FINITE", trial_values.c.value_type.type),
                    )
                    .where(trial_intermediate_values.c.trial_id == row.trial_id)
                    .order_by(trial_intermediate_values.c.step.desc())
                    .limit(1),
                )
            )
    return [row.number for row in held]


def _standstill(connection: Connection, study_id: int) -> int | None:
    counted = counts_of(connection, study_id)
    if counted.waiting or counted.claimed < counted.target:
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


def end_trial(connection: Connection, trial_id: int, state: str, *, cause: str | None) -> None:
    """End a trial that has no attempt any more."""
    changed = connection.execute(
        update(hpo_trials)
        .where(hpo_trials.c.trial_id == trial_id)
        .values(cause=cause, seconds=seconds_of_attempts(trial_id))
    )
    if changed.rowcount == 0:  # it was lost before its parameters were sampled
        connection.execute(insert(hpo_trials).values(trial_id=trial_id, cause=cause))
    connection.execute(
        update(trials).where(trials.c.trial_id == trial_id).values(state=state, datetime_complete=db_utc())
    )


def attempts_of_kind(connection: Connection, trial_id: int, kind: str) -> int:
    """How many of the trial's attempts ended in this way."""
    counted = select(func.count()).where(hpo_attempts.c.trial_id == trial_id, hpo_attempts.c.kind == kind)
    return connection.scalar(counted) or 0


def seconds_of_attempts(trial_id: int) -> Any:
    """Seconds of all ended attempts of the trial, as an expression."""
    total = select(func.sum(hpo_attempts.c.seconds)).where(hpo_attempts.c.trial_id == trial_id)
    return total.scalar_subquery()
