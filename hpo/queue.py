"""The study's queue in the store: trials are claimed, leased, reported and ended, each in one transaction.

A claim cannot be won twice and cannot pass the budget: it locks the study's row, counts, and inserts the trial and its
first attempt together. A trial is one row of Optuna's for all its attempts; an attempt is leased to one worker by the
database's clock, and what a worker writes counts only while the lease is its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, insert, select, update

from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_studies,
    hpo_trials,
    hpo_workers,
    studies,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_user_attributes,
    trial_values,
    trials,
)
from hpo.tally import counts_of

LEASE_SECONDS = 30.0
BEAT_SECONDS = 5.0

# A trial whose worker vanished is tried again; one that takes its workers with it must end.
MAX_LOST_ATTEMPTS = 3
LOST = "lost: its worker stopped beating"
HANDED_BACK = "preempted: handed back by its worker"


@dataclass(frozen=True)
class Claim:
    """A trial that is ours to train until its lease ends."""

    study_id: int
    trial_id: int
    number: int
    attempt_id: int
    attempt: int  # 1, 2, ...
    params: Mapping[str, Any] | None  # of an earlier attempt; None when they are still to be sampled


def register_worker(store: Store, *, host: str, pid: int, slots: int) -> int:
    """Enter a worker into the store; its number."""
    with store.write() as connection:
        statement = insert(hpo_workers).values(host=host, pid=pid, slots=slots, started=db_now(), beat=db_now())
        return int(connection.execute(statement).inserted_primary_key[0])  # type: ignore[index]


def beat(store: Store, worker_id: int) -> None:
    """Say that the worker lives, and renew the leases of its attempts."""
    with store.write() as connection:
        connection.execute(update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now()))
        connection.execute(
            update(hpo_attempts)
            .where(hpo_attempts.c.worker_id == worker_id, hpo_attempts.c.ended.is_(None))
            .values(lease_until=db_now() + LEASE_SECONDS)
        )


def leave(store: Store, worker_id: int) -> None:
    """The worker is done."""
    with store.write() as connection:
        connection.execute(
            update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now(), ended=db_now())
        )


def claim(store: Store, study_id: int, *, worker_id: int, slot: int, device: str) -> Claim | None:
    """Take a trial: one that lost its worker, else one that is waiting, else a new one, if the budget has room."""
    with store.write() as connection:
        # Optuna's own scripts lock this row when they number a trial.
        connection.execute(select(studies.c.study_id).where(studies.c.study_id == study_id).with_for_update())
        study = connection.execute(
            select(hpo_studies.c.state, hpo_studies.c.trials_target)
            .where(hpo_studies.c.study_id == study_id)
            .with_for_update()
        ).one_or_none()
        if study is None or study.state != "running":
            return None
        trial = _reclaimed(connection, study_id)
        if trial is None:
            counted = counts_of(connection, study_id)
            if counted.claimed >= counted.target:
                return None
            trial = _waiting(connection, study_id) or _new(connection, study_id, counted.claimed + counted.waiting)
        attempt = _attempts(connection, trial.trial_id) + 1
        inserted = connection.execute(
            insert(hpo_attempts).values(
                trial_id=trial.trial_id,
                number=attempt,
                worker_id=worker_id,
                slot=slot,
                device=device,
                started=db_now(),
                lease_until=db_now() + LEASE_SECONDS,
            )
        )
        config = connection.scalar(select(hpo_trials.c.config).where(hpo_trials.c.trial_id == trial.trial_id))
    params = json.loads(config)["params"] if config else None
    attempt_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    return Claim(study_id, trial.trial_id, trial.number, attempt_id, attempt, params)


def begin(store: Store, claim: Claim, *, params: Mapping[str, tuple[float, str]], config: Mapping[str, Any]) -> None:
    """Write down what the trial will train, before it does.

    Args:
        params: by name, the value and the distribution as Optuna stores them.
        config: the whole configuration, pinned and inactive parameters too; at least `params`, by name.
    """
    with store.write() as connection:
        if params:
            rows = [
                {
                    "trial_id": claim.trial_id,
                    "param_name": name,
                    "param_value": value,
                    "distribution_json": distribution,
                }
                for name, (value, distribution) in params.items()
            ]
            connection.execute(insert(trial_params), rows)
        _put(connection, hpo_trials, {"trial_id": claim.trial_id}, {"config": json.dumps(config)})


def describe(store: Store, claim: Claim, *, config: Mapping[str, Any]) -> None:
    """Complete the configuration by what the trial process found when it built the model."""
    with store.write() as connection:
        connection.execute(
            update(hpo_trials).where(hpo_trials.c.trial_id == claim.trial_id).values(config=json.dumps(config))
        )


def report(
    store: Store,
    claim: Claim,
    *,
    epoch: int,
    value: float,
    metrics: Mapping[str, float],
    seconds: float,
    system_attributes: Mapping[str, Any],
) -> bool:
    """Write an epoch's metrics and renew the lease. False when the lease is no longer ours: nothing was written.

    Args:
        epoch: 1 for the first.
        value: the objective after it, finite.
        seconds: since the attempt began to train.
        system_attributes: what the pruner wrote down with its decision.
    """
    with store.write() as connection:
        if not _renew(connection, claim):
            return False
        _put(
            connection,
            hpo_epochs,
            {"trial_id": claim.trial_id, "epoch": epoch},
            {"attempt": claim.attempt, "metrics": json.dumps(dict(metrics)), "seconds": seconds},
        )
        _put(
            connection,
            trial_intermediate_values,
            {"trial_id": claim.trial_id, "step": epoch},
            {"intermediate_value": value, "intermediate_value_type": "FINITE"},
        )
        for key, attribute in system_attributes.items():
            where = {"trial_id": claim.trial_id, "key": key}
            _put(connection, trial_system_attributes, where, {"value_json": json.dumps(attribute)})
    return True


def finish(
    store: Store,
    claim: Claim,
    *,
    state: str,
    value: float | None,
    seconds: float,
    cause: str | None = None,
    error: str | None = None,
    best_epoch: int | None = None,
    checkpoint: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """End the trial. False when the lease is no longer ours: nothing was written.

    Args:
        state: Optuna's COMPLETE, PRUNED or FAIL.
        value: the objective, finite; none for a failed trial.
        seconds: that this attempt took.
        attributes: shown in optuna-dashboard beside the trial.
    """
    with store.write() as connection:
        if not _end_attempt(connection, claim, cause=cause or state.lower(), error=error, seconds=seconds):
            return False
        if value is not None:
            row = {"trial_id": claim.trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
            connection.execute(insert(trial_values), row)
        _put(
            connection,
            hpo_trials,
            {"trial_id": claim.trial_id},
            {
                "best_epoch": best_epoch,
                "checkpoint": checkpoint,
                "cause": cause,
                "error": error,
                "seconds": _seconds_of_attempts(claim.trial_id),
            },
        )
        if attributes:
            rows = [
                {"trial_id": claim.trial_id, "key": key, "value_json": json.dumps(item)}
                for key, item in attributes.items()
            ]
            connection.execute(insert(trial_user_attributes), rows)
        _end_trial(connection, claim.trial_id, state)
    return True


def hand_back(store: Store, claim: Claim, *, seconds: float) -> bool:
    """End the attempt, not the trial: the next claim takes it on. False when the lease is no longer ours."""
    with store.write() as connection:
        return _end_attempt(connection, claim, cause=HANDED_BACK, error=None, seconds=seconds)


def drop_checkpoint(store: Store, trial_ids: Sequence[int]) -> None:
    """Forget the checkpoints of these trials, which are no longer among the best."""
    with store.write() as connection:
        connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id.in_(trial_ids)).values(checkpoint=None))


def _reclaimed(connection: Connection, study_id: int) -> Row[Any, Any] | None:
    """A running trial of ours that nobody holds: handed back, or its worker's lease has run out."""
    held = exists().where(
        hpo_attempts.c.trial_id == trials.c.trial_id,
        hpo_attempts.c.ended.is_(None),
        hpo_attempts.c.lease_until >= db_now(),
    )
    ours = exists().where(hpo_attempts.c.trial_id == trials.c.trial_id)
    orphans = connection.execute(
        select(trials.c.trial_id, trials.c.number)
        .where(trials.c.study_id == study_id, trials.c.state == "RUNNING", ours, ~held)
        .order_by(trials.c.number)
    ).all()
    for orphan in orphans:
        connection.execute(
            update(hpo_attempts)
            .where(hpo_attempts.c.trial_id == orphan.trial_id, hpo_attempts.c.ended.is_(None))
            .values(ended=hpo_attempts.c.lease_until, cause=LOST)
        )
        lost = connection.scalar(
            select(func.count()).where(hpo_attempts.c.trial_id == orphan.trial_id, hpo_attempts.c.cause == LOST)
        )
        if (lost or 0) < MAX_LOST_ATTEMPTS:
            return orphan
        _put(connection, hpo_trials, {"trial_id": orphan.trial_id}, {"cause": LOST})
        _end_trial(connection, orphan.trial_id, "FAIL")
    return None


def _waiting(connection: Connection, study_id: int) -> Row[Any, Any] | None:
    row = connection.execute(
        select(trials.c.trial_id, trials.c.number)
        .where(trials.c.study_id == study_id, trials.c.state == "WAITING")
        .order_by(trials.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is not None:
        connection.execute(
            update(trials).where(trials.c.trial_id == row.trial_id).values(state="RUNNING", datetime_start=_utc())
        )
    return row


def _new(connection: Connection, study_id: int, number: int) -> Row[Any, Any]:
    trial_id = connection.execute(
        insert(trials).values(study_id=study_id, number=number, state="RUNNING", datetime_start=_utc())
    ).inserted_primary_key[0]  # type: ignore[index]
    return connection.execute(select(trials.c.trial_id, trials.c.number).where(trials.c.trial_id == trial_id)).one()


def _attempts(connection: Connection, trial_id: int) -> int:
    statement = select(func.max(hpo_attempts.c.number)).where(hpo_attempts.c.trial_id == trial_id)
    return connection.scalar(statement) or 0


def _renew(connection: Connection, claim: Claim) -> bool:
    held = _held(claim)
    result = connection.execute(update(hpo_attempts).where(held).values(lease_until=db_now() + LEASE_SECONDS))
    return result.rowcount == 1


def _end_attempt(connection: Connection, claim: Claim, *, cause: str, error: str | None, seconds: float) -> bool:
    result = connection.execute(
        update(hpo_attempts)
        .where(_held(claim))
        .values(ended=db_now(), lease_until=db_now(), cause=cause, error=error, seconds=seconds)
    )
    return result.rowcount == 1


def _held(claim: Claim) -> Any:
    return and_(hpo_attempts.c.attempt_id == claim.attempt_id, hpo_attempts.c.ended.is_(None))


def _end_trial(connection: Connection, trial_id: int, state: str) -> None:
    connection.execute(
        update(trials).where(trials.c.trial_id == trial_id).values(state=state, datetime_complete=_utc())
    )


def _seconds_of_attempts(trial_id: int) -> Any:
    total = select(func.sum(hpo_attempts.c.seconds)).where(hpo_attempts.c.trial_id == trial_id)
    return total.scalar_subquery()


def _put(connection: Connection, table: Any, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert the row, or update the one that is there; alone under our lease, so there is no race between the two."""
    where = and_(*(table.c[name] == value for name, value in key.items()))
    if connection.execute(update(table).where(where).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def _utc() -> datetime:
    """Now, as Optuna stores it: naive, in UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
