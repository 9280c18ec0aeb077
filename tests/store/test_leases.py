"""Leases in the cases that Optuna's heartbeats do not cover (one test for each), on real databases and processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, finish, wait_for
from projects.synthetic import Claimant, create_study
from sqlalchemy import select, update
from stores import write

from hpo.queue.claim import Claim
from hpo.queue.leases import LOST, expire_leases
from hpo.queue.report import begin_trial, end_attempt
from hpo.results.study import Study
from hpo.store import Store, Timing
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts
from hpo.study.states import AttemptEnd

ELSEWHERE = """
import sys
from hpo.queue.claim import claim_trial
from hpo.queue.leases import expire_leases, heartbeat, register_worker
from hpo.store import Store, Timing

with Store.open(sys.argv[1]) as store:
    me = register_worker(store, host="tokyo", pid=1, slots=1)
    claim = claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu")
    heartbeat(store, me, [claim.attempt_id])
    print(expire_leases(store))
"""

TICKETS = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="synthetic", storage=sys.argv[1])
for number in range(150):
    study.enqueue_trial({"depth": 1 + number % 4})
"""

TAKER = """
import sys
from hpo.queue.claim import claim_trial
from hpo.queue.leases import expire_leases, heartbeat, register_worker
from hpo.store import Store, Timing

with Store.open(sys.argv[1]) as store:
    me = register_worker(store, host="here", pid=1, slots=1)
    sys.stdin.readline()
    while (claim := claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu")) is not None:
        print(claim.number, claim.attempt)
"""


def expire(store: Store, claim: Claim) -> None:
    """The lease has run out: its worker has not been heard of for long."""
    with store.write() as connection:
        mine = hpo_attempts.c.attempt_id == claim.attempt_id
        connection.execute(update(hpo_attempts).where(mine).values(lease_until=1.0))


def reaped(store: Store) -> list[int]:
    """What the next look ends; a database that has just started grants its workers time to come back first."""
    return wait_for(lambda: expire_leases(store), seconds=2 * Timing().lease)  # type: ignore[no-any-return]


def test_a_trial_killed_between_its_claim_and_its_first_heartbeat_is_claimed_again(store: Store) -> None:
    study = create_study(store, budget={"trials": 1})
    first, second = Claimant(store, study), Claimant(store, study)
    claim = first.claim()
    assert claim is not None
    expire(store, claim)

    lost, taken = reaped(store), second.claim()

    assert lost == [0]
    assert taken is not None
    assert (taken.number, taken.attempt, taken.params) == (0, 2, None)
    second.begin(taken)
    assert second.finish(taken, 0.5)
    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.causes) == ("complete", (LOST, "complete"))


def test_a_worker_whose_time_zone_is_tokyo_fails_no_healthy_trial(store: Store) -> None:
    study = create_study(store)
    here = Claimant(store, study)
    claim = here.claim()
    assert claim is not None
    environment = os.environ | {"PGTZ": "Asia/Tokyo", "TZ": "Asia/Tokyo"}

    command = [sys.executable, "-c", ELSEWHERE, store.url.reveal(), str(study.study_id)]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert there.stdout.split() == ["[]"]
    assert expire_leases(store) == []
    with store.read() as connection:
        until = connection.scalars(select(hpo_attempts.c.lease_until)).all()
    assert abs(until[0] - until[1]) < 600  # an hour's difference would be one of time zones


def test_150_tickets_of_an_optuna_script_are_taken_once_each_by_four_processes(store: Store) -> None:
    study = create_study(store, budget={"trials": 150})
    subprocess.run([sys.executable, "-c", TICKETS, store.url.reveal()], check=True, capture_output=True)
    command = [sys.executable, "-c", TAKER, store.url.reveal(), str(study.study_id)]
    takers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]

    outputs = [taker.communicate("go\n", timeout=120)[0] for taker in takers]

    taken = sorted(tuple(map(int, line.split())) for output in outputs for line in output.splitlines())
    assert taken == [(number, 1) for number in range(150)]


def test_an_expired_lease_is_ended_by_the_first_poll_and_counted_once(store: Store) -> None:
    study = create_study(store, retries={"crash": 1})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    expire(store, claim)

    first, again = reaped(store), expire_leases(store)
    retried = worker.claim()
    assert retried is not None
    expire(store, retried)
    reaped(store)

    assert (first, again) == ([0], [])
    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.attempts, record.cause) == ("failed", 2, LOST)


def test_a_worker_that_stalled_between_claim_and_sampling_neither_fails_nor_writes(store: Store) -> None:
    study = create_study(store, budget={"trials": 1})
    slow, quick = Claimant(store, study), Claimant(store, study)
    late = slow.claim()
    assert late is not None
    expire(store, late)
    reaped(store)
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


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


@pytest.mark.timeout(900)  # it trains for a minute and starts three workers, on a machine that may have more to do
def test_a_killed_worker_is_noticed_while_all_others_are_busy_and_a_stopped_one_drops_its_result(hpo: Hpo) -> None:
    """Optuna looks for stale trials only when a worker asks for its next one, and a worker that comes back dies."""
    # Three times as long as a lease: the busy worker is still in its trial when those of the others run out.
    epochs = 40
    slow = {"class": "projects.nets:Line", "seconds": 3 * Timing().lease / epochs}
    file = hpo.study("long", model=slow, epochs=epochs, budget={"trials": 3})
    assert hpo.run("submit", file)[0] == 0
    killed, stopped, busy = (hpo.start("worker", "long", "--until-idle", "--slots", 1) for _ in range(3))
    wait_for(lambda: sum(record.epochs > 0 for record in hpo.trials("long")) == 3, seconds=180)
    owner = {record.worker: record.number for record in hpo.trials("long")}
    number_of = {process: next(n for worker, n in owner.items() if str(worker).endswith(f":{process.pid}"))
                 for process in (killed, stopped, busy)}  # fmt: skip

    os.kill(stopped.pid, signal.SIGSTOP)
    killed.kill()
    lost = (number_of[killed], number_of[stopped])
    wait_for(lambda: all(LOST in hpo.trials("long")[number].causes for number in lost), seconds=120)
    busy_record = hpo.trials("long")[number_of[busy]]
    os.kill(stopped.pid, signal.SIGCONT)
    ends = [finish(process, timeout=400) for process in (stopped, busy)]
    finish(killed)

    # It noticed during its trial, and there was no other worker to notice. The delay is measured by benchmarks.
    assert (busy_record.state, busy_record.attempts) == ("running", 1)
    assert [code for code, _ in ends] == [0, 0], ends
    assert "taken over by another worker or deleted; this worker's result is dropped" in ends[0][1]
    assert hpo.counts("long") == {"complete": 3}
    assert json.loads(hpo.run("status", "long", "--json")[1])["budget"]["trials"] == {"target": 3.0, "spent": 3.0}
    for record in hpo.trials("long"):
        assert [epoch for epoch, _ in record.curve] == list(range(1, epochs + 1))
