"""Workers and their leases: an attempt belongs to a worker as long as that worker sends heartbeats.

Leases count by the database's clock. Every worker that polls the store ends the expired ones, so that their trials can
be claimed again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from hpo.queue.idle import attempts_ended, end_idle_trials, end_trial
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_workers, trials
from hpo.study.states import OPTUNA_ENDED, AttemptEnd, OptunaState

LOST = "lost: its worker sent no heartbeat"


def register_worker(store: Store, *, host: str, pid: int, slots: int) -> int:
    """Add a worker to the store; its number."""
    with store.write() as connection:
        statement = insert(hpo_workers).values(host=host, pid=pid, slots=slots, started=db_now(), beat=db_now())
        return int(connection.execute(statement).inserted_primary_key[0])  # type: ignore[index]


def heartbeat(store: Store, worker_id: int, attempts: Sequence[int] = ()) -> None:
    """Record a heartbeat, and renew the leases of the worker's attempts, by their numbers in the store.

    If the connection breaks during a claim, the worker may not know of its attempt; the lease of that one expires.
    """
    with store.write() as connection:
        connection.execute(update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now()))
        if attempts:
            connection.execute(
                update(hpo_attempts)
                .where(hpo_attempts.c.attempt_id.in_(attempts), hpo_attempts.c.ended.is_(None))
                .values(lease_until=db_now() + store.timing.lease)
            )


def deregister_worker(store: Store, worker_id: int) -> None:
    """Mark the worker as ended."""
    with store.write() as connection:
        connection.execute(
            update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now(), ended=db_now())
        )


def expire_leases(store: Store, *, study_id: int | None = None) -> list[int]:
    """End the attempts whose lease has run out, in all studies or one; the numbers of their trials.

    Their trials can be claimed again at once, or fail when that has happened too often. After a restart of the
    database nothing is ended until all workers have had time to reconnect and renew.
    """
    from hpo.study.spec import Retries  # imported here: verbs that only read are spared pydantic, a tenth of a second

    wanted = is_expired() if study_id is None else (*is_expired(), trials.c.study_id == study_id)
    query = (
        select(hpo_attempts.c.attempt_id, trials.c.trial_id, trials.c.number, trials.c.study_id, hpo_studies.c.spec)
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
        .where(*wanted)
    )
    with store.read() as connection:
        if connection.execute(query.limit(1)).first() is None or _is_just_up(connection, store.timing.lease):
            return []
    with store.write() as connection:
        found = connection.execute(query.with_for_update(of=hpo_attempts, skip_locked=True)).all()
        for row in found:
            connection.execute(
                update(hpo_attempts)
                .where(hpo_attempts.c.attempt_id == row.attempt_id, hpo_attempts.c.ended.is_(None))
                .values(
                    ended=hpo_attempts.c.lease_until,
                    seconds=hpo_attempts.c.lease_until - hpo_attempts.c.started,
                    kind=AttemptEnd.CRASH,
                    cause=LOST,
                )
            )
            retries = Retries.model_validate(json.loads(row.spec)["spec"]["retries"])
            if attempts_ended(connection, row.trial_id, AttemptEnd.CRASH) > retries.crash:
                end_trial(connection, row.trial_id, OptunaState.FAIL, cause=LOST)
            end_idle_trials(connection, row.study_id, only=row.trial_id)
    return [row.number for row in found]


def close_stray_attempts(store: Store) -> int:
    """End the open attempts of trials that have ended, which only a damaged store has; how many there were."""
    over = select(trials.c.trial_id).where(trials.c.state.in_(OPTUNA_ENDED))
    with store.write() as connection:
        return connection.execute(
            update(hpo_attempts)
            .where(hpo_attempts.c.trial_id.in_(over), hpo_attempts.c.ended.is_(None))
            .values(ended=db_now(), lease_until=db_now(), kind=AttemptEnd.CRASH, cause=LOST)
        ).rowcount


def is_expired() -> tuple[Any, ...]:
    """SQL conditions of an attempt whose lease has run out."""
    return hpo_attempts.c.ended.is_(None), hpo_attempts.c.lease_until < db_now()


def _is_just_up(connection: Connection, lease_seconds: float) -> bool:
    """Whether the database started so recently that living workers may not have renewed their leases yet."""
    if connection.dialect.name != "postgresql":
        return False
    seconds = connection.scalar(text("SELECT EXTRACT(EPOCH FROM clock_timestamp() - pg_postmaster_start_time())"))
    return float(seconds or 0.0) < lease_seconds
