"""Leases in the cases that Optuna's heartbeats do not cover (one test for each), on real databases and processes."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

from projects.synthetic import Claimant, create_study
from sqlalchemy import update
from stores import write

from hpo.queue.claim import Claim
from hpo.queue.leases import LOST, UNANSWERED, expire_leases, hand_back_unknown, register_worker
from hpo.queue.report import begin_trial, end_attempt
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts
from hpo.study.states import AttemptEnd


def expire(store: Store, claim: Claim, *, seconds: float = 1e9) -> None:
    """The lease has run out so many seconds ago: its worker has not been heard of for long."""
    with store.write() as connection:
        mine = hpo_attempts.c.attempt_id == claim.attempt_id
        connection.execute(update(hpo_attempts).where(mine).values(lease_until=db_now() - seconds))


def test_a_trial_killed_between_its_claim_and_its_first_heartbeat_is_claimed_again(store: Store) -> None:
    study = create_study(store, budget={"trials": 1})
    first, second = Claimant(store, study), Claimant(store, study)
    claim = first.claim()
    assert claim is not None
    expire(store, claim)

    lost, taken = expire_leases(store), second.claim()

    assert lost == [0]
    assert taken is not None
    assert (taken.number, taken.attempt, taken.params) == (0, 2, None)
    second.begin(taken)
    assert second.finish(taken, 0.5)
    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.causes) == ("complete", (LOST, "complete"))


def test_an_expired_lease_is_ended_by_the_first_poll_and_counted_once(store: Store) -> None:
    study = create_study(store, retries={"crash": 1})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    expire(store, claim)

    first, again = expire_leases(store), expire_leases(store)
    retried = worker.claim()
    assert retried is not None
    expire(store, retried)
    expire_leases(store)

    assert (first, again) == ([0], [])
    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.attempts, record.cause) == ("failed", 2, LOST)


def test_who_has_not_used_the_store_for_long_ends_no_lease_that_its_worker_may_still_renew(store: Store) -> None:
    """It ran out a moment ago: perhaps the database, or the whole machine, stood still."""
    worker = Claimant(store, create_study(store))
    claim = worker.claim()
    assert claim is not None
    expire(store, claim, seconds=30)

    for_newcomer = expire_leases(store)
    for_others = expire_leases(store, is_certain=True)

    assert (for_newcomer, for_others) == ([], [0])


def test_who_waits_long_for_the_stores_answers_allows_others_that_time(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    claim = worker.claim()
    assert claim is not None
    expire(store, claim, seconds=10)

    while_slow = expire_leases(store, is_certain=True, answer_seconds=4.0)
    later = expire_leases(store, is_certain=True, answer_seconds=0.01)

    assert (while_slow, later) == ([], [0])


def test_a_lease_ends_at_once_when_its_workers_process_is_gone_from_this_machine(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    ended = subprocess.Popen(["true"])
    ended.wait()
    worker.worker_id = register_worker(store, host=platform.node(), pid=ended.pid, slots=1)
    alive = register_worker(store, host=platform.node(), pid=os.getpid(), slots=1)
    gone = worker.claim()
    worker.worker_id = alive
    healthy = worker.claim()
    assert gone is not None
    assert healthy is not None
    expire(store, gone, seconds=1)
    expire(store, healthy, seconds=1)

    assert expire_leases(store) == [gone.number]


def test_a_worker_hands_back_the_attempt_whose_claim_was_answered_to_nobody(store: Store) -> None:
    worker, other = (Claimant(store, study) for study in [create_study(store)] * 2)
    known, unknown, of_other = worker.claim(), worker.claim(), other.claim()
    assert known is not None
    assert unknown is not None
    assert of_other is not None

    handed_back = hand_back_unknown(store, worker.worker_id, [known.attempt_id])
    again = other.claim()

    assert handed_back == [unknown.number]
    assert again is not None
    assert (again.number, again.attempt) == (unknown.number, 2)
    record = Study(store, "synthetic").trials()[unknown.number]
    assert record.causes[0] == UNANSWERED


def test_a_worker_that_stalled_between_claim_and_sampling_neither_fails_nor_writes(store: Store) -> None:
    study = create_study(store, budget={"trials": 1})
    slow, quick = Claimant(store, study), Claimant(store, study)
    late = slow.claim()
    assert late is not None
    expire(store, late)
    expire_leases(store)
    claim = quick.claim()
    assert claim is not None
    params = quick.begin(claim, point={"optimizer": "sgd", "depth": 4})

    point = slow.history.suggest(late.number, slow.space, point={"optimizer": "sgd", "depth": 1})
    is_ours = write(store, begin_trial, late, params=slow.history.params_to_store(0), config={"params": point})

    assert (claim.attempt, claim.params, is_ours) == (2, None, False)
    assert Study(store, "synthetic").trials()[0].params == params
    assert optuna_params(store) == params


def optuna_params(store: Store) -> dict[str, Any]:
    """Of the first trial, as an Optuna script reads them."""
    with optuna_storage(store.url) as storage:
        return dict(storage.get_all_trials(1)[0].params)


def test_a_retry_keeps_the_rungs_that_its_trial_has_passed(store: Store) -> None:
    """Optuna's retry is another trial that copies them, and skips the rungs."""
    study = create_study(store, pruner={"name": "asha", "mode": "stop"})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    for epoch in (1, 2, 3):
        worker.report(claim, epoch, 0.5)
    write(store, end_attempt, claim, end=AttemptEnd("crash"), cause="killed: SIGKILL", seconds=1.0)
    worker.history.release(claim.trial_id, claim.number)

    again = worker.claim()

    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    assert [key for key in worker.history.attributes_to_store(0) if key.startswith("completed_rung")] == [
        "completed_rung_0"
    ]
    assert worker.history.curve(0) == {1: 0.5, 2: 0.5, 3: 0.5}
