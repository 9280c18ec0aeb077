"""The study's queue in the store: workers, their leases, and claims.

A claim cannot be won twice and cannot pass the budget: it locks the study's row, counts, and inserts the trial and its
first attempt together. A trial is one row of Optuna's for all its attempts; an attempt is leased to one worker by the
database's clock. Whoever looks into the store ends leases that have run out, so that the trial can be claimed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, exists, func, insert, literal, select, text, update

from hpo.limits import reached, spent_of
from hpo.rungs import HELD
from hpo.store import Store
from hpo.store.clock import db_now, db_utc
from hpo.store.tables import (
    hpo_attempts,
    hpo_studies,
    hpo_trials,
    hpo_workers,
    studies,
    study_directions,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.tally import Counts, counts_of, lock

# A worker that was killed is noticed within three beats: its leases end, and every worker looks once a second.
BEAT_SECONDS = 5.0
LEASE_SECONDS = 12.0
LOST = "lost: its worker stopped beating"


@dataclass(frozen=True)
class Claim:
    """A trial that is ours to train until its lease ends."""

    study_id: int
    trial_id: int
    number: int
    attempt_id: int
    attempt: int  # 1, 2, ...
    params: Mapping[str, Any] | None  # of an earlier attempt; None when they are still to be sampled
    seconds_before: float = 0.0  # of the attempts before
    is_new: bool = False  # numbered by this claim
    is_promoted: bool = False  # it waited at a rung


def register_worker(store: Store, *, host: str, pid: int, slots: int) -> int:
    """Enter a worker into the store; its number."""
    with store.write() as connection:
        statement = insert(hpo_workers).values(host=host, pid=pid, slots=slots, started=db_now(), beat=db_now())
        return int(connection.execute(statement).inserted_primary_key[0])  # type: ignore[index]


def beat(store: Store, worker_id: int, attempts: Sequence[int] = ()) -> None:
    """Say that the worker lives, and renew the leases of the attempts that it trains, by their numbers in the store.

    An attempt that it does not know of, because the store went away in the middle of a claim, runs out.
    """
    with store.write() as connection:
        connection.execute(update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now()))
        if attempts:
            connection.execute(
                update(hpo_attempts)
                .where(hpo_attempts.c.attempt_id.in_(attempts), hpo_attempts.c.ended.is_(None))
                .values(lease_until=db_now() + LEASE_SECONDS)
            )


def leave(store: Store, worker_id: int) -> None:
    """The worker is done."""
    with store.write() as connection:
        connection.execute(
            update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now(), ended=db_now())
        )


def reap(store: Store) -> list[int]:
    """End the attempts whose lease has run out, in all studies; the numbers of their trials.

    Their trials can be claimed again at once, or fail when that has happened too often. After a restart of the
    database nothing is ended until all workers had the time to come back and renew.
    """
    from hpo.spec import Retries  # here, since whoever only looks needs no pydantic, a tenth of a second

    with store.read() as connection:
        if connection.scalar(select(func.count()).where(*is_expired())) == 0 or _is_just_up(connection):
            return []
    with store.write() as connection:
        found = connection.execute(
            select(hpo_attempts.c.attempt_id, trials.c.trial_id, trials.c.number, trials.c.study_id, hpo_studies.c.spec)
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .join(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
            .where(*is_expired())
            .with_for_update(of=hpo_attempts, skip_locked=True)
        ).all()
        for row in found:
            connection.execute(
                update(hpo_attempts)
                .where(hpo_attempts.c.attempt_id == row.attempt_id, hpo_attempts.c.ended.is_(None))
                .values(
                    ended=hpo_attempts.c.lease_until,
                    seconds=hpo_attempts.c.lease_until - hpo_attempts.c.started,
                    kind="crash",
                    cause=LOST,
                )
            )
            retries = Retries.model_validate(json.loads(row.spec)["spec"]["retries"])
            if attempts_of_kind(connection, row.trial_id, "crash") > retries.crash:
                end_trial(connection, row.trial_id, "FAIL", cause=LOST)
            end_unheld(connection, row.study_id, only=row.trial_id)
    return [row.number for row in found]


def claim(
    store: Store,
    study_id: int,
    *,
    worker_id: int,
    slot: int,
    device: str,
    devices: int = 1,
    promotable: Sequence[int] = (),
) -> Claim | None:
    """Take a trial: one whose attempt ended without its end, else one that may go on from its rung, else one that is
    waiting, else a new one.

    None when there is nothing to take: all are taken, a limit is reached, or the study is not to run.

    Args:
        promotable: the numbers of those that may go on from their rung, the first one first.
    """
    with store.write() as connection:
        # Optuna's own scripts lock the study's row when they number a trial.
        study = connection.execute(
            select(
                hpo_studies.c.state,
                hpo_studies.c.trials_target,
                hpo_studies.c.limits,
                hpo_studies.c.started,
                study_directions.c.direction,
            )
            .join(studies, studies.c.study_id == hpo_studies.c.study_id)
            .join(study_directions, study_directions.c.study_id == studies.c.study_id)
            .where(hpo_studies.c.study_id == study_id)
            .with_for_update(of=(studies, hpo_studies))
        ).first()
        if study is None or study.state != "running" or _is_spent(connection, study_id, study):
            return None
        counted = counts_of(connection, study_id, target=study.trials_target)
        wanted = unheld(study_id).where(hpo_trials.c.wish.is_(None)).limit(1)
        trial = connection.execute(wanted).first() if counted.running else None
        if counted.claimed > counted.target and _is_enough(connection, study_id, counted):
            return None  # the target was lowered: those that train now are all that is still wanted
        is_promoted = False
        if trial is None and promotable:
            trial = _promoted(connection, study_id, promotable)
            is_promoted = trial is not None
        attempts, seconds = (0, 0.0) if trial is None else _attempts(connection, trial.trial_id)
        if trial is None:
            if counted.claimed >= counted.target:
                return None
            trial = _waiting(connection, study_id) if counted.waiting else None
        if trial is None:
            number = counted.claimed + counted.waiting
            inserted = connection.execute(
                insert(trials).values(study_id=study_id, number=number, state="RUNNING", datetime_start=db_utc())
            )
            trial_id, params = int(inserted.inserted_primary_key[0]), None  # type: ignore[index]
        else:
            trial_id, number, params = trial.trial_id, trial.number, _params(trial.config)
        inserted = connection.execute(
            insert(hpo_attempts).values(
                trial_id=trial_id,
                number=attempts + 1,
                worker_id=worker_id,
                slot=slot,
                device=device,
                devices=devices,
                started=db_now(),
                lease_until=db_now() + LEASE_SECONDS,
            )
        )
        if study.started is None:
            connection.execute(update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(started=db_now()))
        attempt_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    is_new = trial is None
    return Claim(
        study_id, trial_id, number, attempt_id, attempts + 1, params, seconds, is_new=is_new, is_promoted=is_promoted
    )


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


def _promoted(connection: Connection, study_id: int, promotable: Sequence[int]) -> Row[Any, Any, Any, Any] | None:
    """The first of these that waits at its rung; it does no longer."""
    held = connection.execute(unheld(study_id).where(hpo_trials.c.wish == HELD, trials.c.number.in_(promotable))).all()
    chosen = min(held, key=lambda row: promotable.index(row.number), default=None)
    if chosen is not None:
        connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id == chosen.trial_id).values(wish=None))
    return chosen


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


def attempts_of_kind(connection: Connection, trial_id: int, kind: str) -> int:
    """How many of the trial's attempts ended in this way."""
    counted = select(func.count()).where(hpo_attempts.c.trial_id == trial_id, hpo_attempts.c.kind == kind)
    return connection.scalar(counted) or 0


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


def seconds_of_attempts(trial_id: int) -> Any:
    """Seconds of all ended attempts of the trial, as an expression."""
    total = select(func.sum(hpo_attempts.c.seconds)).where(hpo_attempts.c.trial_id == trial_id)
    return total.scalar_subquery()


def is_expired() -> tuple[Any, ...]:
    """Conditions of an attempt whose worker was not heard of for too long."""
    return hpo_attempts.c.ended.is_(None), hpo_attempts.c.lease_until < db_now()


def _is_just_up(connection: Connection) -> bool:
    """Whether the database started so recently that living workers may not have renewed their leases yet."""
    if connection.dialect.name != "postgresql":
        return False
    seconds = connection.scalar(text("SELECT EXTRACT(EPOCH FROM clock_timestamp() - pg_postmaster_start_time())"))
    return float(seconds or 0.0) < LEASE_SECONDS


def _is_spent(connection: Connection, study_id: int, study: Any) -> bool:
    limits = json.loads(study.limits)
    if not any(limit is not None for limit in limits.values()):
        return False
    maximize = str(study.direction) == "MAXIMIZE"
    return reached(limits, spent_of(connection, study_id, maximize=maximize), maximize=maximize) is not None


def _is_enough(connection: Connection, study_id: int, counted: Counts) -> bool:
    """Whether the trials that have ended, and those that train, are as many as are asked for."""
    waiting = connection.scalar(select(func.count()).select_from(unheld(study_id).subquery())) or 0
    return counted.claimed - waiting >= counted.target


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


def _waiting(connection: Connection, study_id: int) -> Row[Any, Any, Any] | None:
    row = connection.execute(
        select(trials.c.trial_id, trials.c.number, hpo_trials.c.config)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == "WAITING", hpo_trials.c.wish.is_(None))
        .order_by(trials.c.number)
        .limit(1)
        .with_for_update(of=trials, skip_locked=True)
    ).first()
    if row is not None:
        connection.execute(
            update(trials).where(trials.c.trial_id == row.trial_id).values(state="RUNNING", datetime_start=db_utc())
        )
    return row


def _attempts(connection: Connection, trial_id: int) -> tuple[int, float]:
    """(how many the trial had, their seconds)."""
    row = connection.execute(
        select(func.max(hpo_attempts.c.number), func.sum(hpo_attempts.c.seconds)).where(
            hpo_attempts.c.trial_id == trial_id
        )
    ).one()
    return row[0] or 0, row[1] or 0.0


def _params(config: str | None) -> Mapping[str, Any] | None:
    params: Mapping[str, Any] | None = json.loads(config).get("params") if config else None
    return params
