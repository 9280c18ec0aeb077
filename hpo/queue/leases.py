"""Workers and their leases: an attempt belongs to a worker as long as that worker sends heartbeats.

Leases count by the database's clock. Every worker that polls the store ends the expired ones, so that their trials can
be claimed again.
"""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import psutil
from sqlalchemy import Double, Update, bindparam, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from hpo.errors import StoreReplacedError
from hpo.queue.idle import attempts_ended, end_idle_trials, end_trial
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_workers, trials
from hpo.study.states import OPTUNA_ENDED, AttemptEnd, OptunaState

# A database, a disk or a laptop that stands still for longer than this is taken for one that is gone.
LONGEST_STALL_SECONDS = 120.0
CALLS_BEFORE_A_HEARTBEAT = 5  # that a worker's loop may make of the store: a poll, the outbox, a claim and its start
LOST = "lost: its worker sent no heartbeat"
UNANSWERED = f"{AttemptEnd.PREEMPTED}: the answer to its claim was lost"


def register_worker(store: Store, *, host: str, pid: int, slots: int) -> int:
    """Add a worker to the store; its number."""
    with store.write() as connection:
        statement = insert(hpo_workers).values(host=host, pid=pid, slots=slots, started=db_now(), beat=db_now())
        return int(connection.execute(statement).inserted_primary_key[0])  # type: ignore[index]


def heartbeat(store: Store, worker_id: int, attempts: Sequence[int] = (), *, last: float | None = None) -> float | None:
    """Record a heartbeat, and renew the leases of the worker's attempts, by their numbers in the store.

    Args:
        last: what this returned the last time.

    Raises:
        StoreReplacedError: the store does not know the worker, or not its last heartbeat: an older copy was put in
            its place.

    If the connection breaks during a claim, the worker may not know of its attempt: see `hand_back_unknown`.
    """
    with store.write() as connection:
        beat = connection.scalar(_beat(), {"worker": worker_id, "last": last or 0.0})
        if beat is None and last is not None:
            raise StoreReplacedError(f"an older copy took the place of the store {store.url} while this worker used it")
        if attempts:
            connection.execute(_renewal(), {"ids": attempts, "lease": store.timing.lease})
    return None if beat is None else float(beat)


@cache  # to build it takes longer than to execute it, and in a large fleet heartbeats are most of the statements
def _beat() -> ReturningUpdate[Any]:
    mine = hpo_workers.c.worker_id == bindparam("worker"), hpo_workers.c.beat >= bindparam("last", type_=Double)
    return update(hpo_workers).where(*mine).values(beat=db_now()).returning(hpo_workers.c.beat)


@cache
def _renewal() -> Update:
    mine = hpo_attempts.c.attempt_id.in_(bindparam("ids", expanding=True)), hpo_attempts.c.ended.is_(None)
    return update(hpo_attempts).where(*mine).values(lease_until=db_now() + bindparam("lease", type_=Double))


def hand_back_unknown(store: Store, worker_id: int, known: Sequence[int]) -> list[int]:
    """End the open attempts of a worker that it does not know, so that their trials are claimed again.

    Args:
        known: attempts that it trains, and those whose end waits to be written.

    Returns: the numbers of their trials. The answer to their claim was lost, with the connection.
    """
    unknown = (
        select(hpo_attempts.c.attempt_id, trials.c.number, trials.c.trial_id, trials.c.study_id)
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .where(
            hpo_attempts.c.worker_id == worker_id,
            hpo_attempts.c.ended.is_(None),
            hpo_attempts.c.attempt_id.not_in(known),
        )
    )
    with store.write() as connection:
        found = connection.execute(unknown).all()
        for row in found:
            connection.execute(
                update(hpo_attempts)
                .where(hpo_attempts.c.attempt_id == row.attempt_id, hpo_attempts.c.ended.is_(None))
                .values(ended=db_now(), lease_until=db_now(), seconds=0.0, kind=AttemptEnd.PREEMPTED, cause=UNANSWERED)
            )
            end_idle_trials(connection, row.study_id, only=row.trial_id)
    return [row.number for row in found]


def deregister_worker(store: Store, worker_id: int) -> None:
    """Mark the worker as ended."""
    with store.write() as connection:
        connection.execute(
            update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(beat=db_now(), ended=db_now())
        )


def expire_leases(
    store: Store, *, study_id: int | None = None, is_certain: bool = False, answer_seconds: float = 0.0
) -> list[int]:
    """End the attempts whose lease has run out, in all studies or one; the numbers of their trials.

    Their trials can be claimed again at once, or fail when that has happened too often. A lease also runs out while the
    store, or the whole machine, stands still: then its worker renews it in a moment.

    Args:
        is_certain: the caller has used the store for long enough to know that its worker could have renewed it, see
            `Outbox.knows_leases`. If not, only those end whose worker's process is gone from this machine, or that
            have run out longer ago than anything is expected to stand still.
        answer_seconds: how long the store took to answer the caller. Heartbeats wait as long, each behind a few other
            calls of their worker.
    """
    # imported here: verbs that only read are spared pydantic, a tenth of a second
    from hpo.queue.occasions import LostWorker, lock_those_to_tell, record_lost_worker
    from hpo.study.spec import Retries

    wanted = is_expired() if study_id is None else (*is_expired(), trials.c.study_id == study_id)
    query = (
        select(
            hpo_attempts.c.attempt_id,
            trials.c.trial_id,
            trials.c.number,
            trials.c.study_id,
            hpo_studies.c.spec,
            hpo_workers.c.worker_id,
            hpo_workers.c.host,
            hpo_workers.c.pid,
            (db_now() - hpo_attempts.c.lease_until).label("late"),
        )
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
        .where(*wanted)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    slack = CALLS_BEFORE_A_HEARTBEAT * answer_seconds
    lost = [row.attempt_id for row in rows if (is_certain and row.late > slack) or _is_lost(row)]
    if not lost:
        return []
    with store.write() as connection:
        told = lock_those_to_tell(connection, {row.study_id: row.spec for row in rows if row.attempt_id in lost})
        locked = query.where(hpo_attempts.c.attempt_id.in_(lost)).with_for_update(of=hpo_attempts, skip_locked=True)
        found = connection.execute(locked).all()
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
        for (study_id, worker_id, host, pid), numbers in _by_study_and_worker(found).items():
            if study_id in told:
                record_lost_worker(connection, study_id, LostWorker(worker_id, host, pid, numbers))
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


def _by_study_and_worker(rows: Sequence[Any]) -> dict[tuple[int, int, str, int], list[int]]:
    """The numbers of the trials by study and worker: its number, host and process."""
    found: dict[tuple[int, int, str, int], list[int]] = defaultdict(list)
    for row in rows:
        found[row.study_id, row.worker_id, row.host, row.pid].append(row.number)
    return found


def _is_lost(row: Any) -> bool:
    """Whether the worker of an expired attempt certainly does not live any more."""
    is_gone = row.host == platform.node() and not psutil.pid_exists(row.pid)
    return is_gone or row.late > LONGEST_STALL_SECONDS
