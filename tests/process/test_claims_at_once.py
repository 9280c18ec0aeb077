"""Several processes claim and enqueue at the same time, on both databases."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from projects.launch import wait_for
from projects.synthetic import Claimant, create_study
from sqlalchemy import func, select
from stores import ask_study

from hpo.queue.control import set_limits
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.tables import trials

# Claims until there is no trial or, with "the end", until the study ends; one in so many trials stays running.
CLAIMER = """
import sys, time
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.progress import load_progress
from hpo.queue.report import begin_trial, finish_trial
from hpo.store import Store

url, study_id, running, until = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with Store.open(url) as store:
    me = register_worker(store, host="here", pid=1, slots=1)
    sys.stdin.readline()
    while load_progress(store, study_id).state == "running":
        claim = claim_trial(store, study_id, worker_id=me, slot=0, device="cpu")
        if claim is None and until == "no trial":
            break
        if claim is None:
            time.sleep(0.02)
            continue
        with store.write() as connection:
            begin_trial(connection, claim, params={}, config={"params": {}})
            if not running or claim.number % running:
                assert finish_trial(connection, claim, state="COMPLETE", values=[float(claim.number)], seconds=0.1)
        print(claim.number, claim.attempt)
"""

OPTUNA_SCRIPT = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="synthetic", storage=sys.argv[1])
for number in range(150):
    study.enqueue_trial({"depth": 1 + number % 4})
"""

ENQUEUER = """
import sys
from hpo.queue.enqueue import Point, enqueue_points
from hpo.store import Store

with Store.open(sys.argv[1]) as store:
    sys.stdin.readline()
    for number in range(12):
        print(*enqueue_points(store, "synthetic", [Point({"lr": 0.001 + (int(sys.argv[2]) + number) * 1e-4})]).numbers)
"""


def start(*programs: list[str]) -> list[subprocess.Popen[str]]:
    """Processes that run [source, argument, ...], and begin at the same time."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen([sys.executable, "-c", *words], text=True, **pipes) for words in programs]  # type: ignore[call-overload]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


def four_claimers(store: Store, study: StoredStudy, *, running: int, until: str) -> list[subprocess.Popen[str]]:
    return start(*[[CLAIMER, store.url.reveal(), str(study.study_id), str(running), until]] * 4)


def claims_of(processes: list[subprocess.Popen[str]]) -> list[tuple[int, ...]]:
    """(number, attempt) of what they claimed, when they have ended."""
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return sorted(tuple(map(int, line.split())) for output in outputs for line in output.splitlines())


def first_attempts(count: int) -> list[tuple[int, ...]]:
    return [(number, 1) for number in range(count)]


def test_four_processes_take_each_number_once_and_no_more_than_asked_for(store: Store) -> None:
    study = create_study(store, budget={"trials": 90})

    claims = claims_of(four_claimers(store, study, running=3, until="no trial"))

    assert claims == first_attempts(90)
    assert [record.number for record in Study(store, "synthetic").trials()] == list(range(90))


def test_four_processes_take_150_trials_that_an_optuna_script_enqueued_once_each(store: Store) -> None:
    study = create_study(store, budget={"trials": 150})
    subprocess.run([sys.executable, "-c", OPTUNA_SCRIPT, store.url.reveal()], check=True, capture_output=True)

    claims = claims_of(four_claimers(store, study, running=1, until="no trial"))

    assert claims == first_attempts(150)


def test_four_processes_stay_within_a_budget_that_grows_meanwhile(store: Store) -> None:
    study = create_study(store, budget={"trials": 20})

    def has(count: int) -> bool:
        with store.read() as connection:
            found = connection.scalar(select(func.count()).where(trials.c.state == "COMPLETE"))
        return bool(found == count)

    processes = four_claimers(store, study, running=0, until="the end")
    wait_for(lambda: has(20))
    set_limits(store, "synthetic", ["trials=+15"])
    wait_for(lambda: has(35))
    set_limits(store, "synthetic", ["trials=30"])  # fewer than there are: no more come
    ask_study(store, "synthetic", "stop")

    assert claims_of(processes) == first_attempts(35)
    assert Study(store, "synthetic").status().budget["trials"] == {"target": 30.0, "spent": 35.0}


def test_four_processes_claim_nothing_after_the_target(store: Store) -> None:
    study = create_study(store, budget={"trials": 1000, "target": 20})

    processes = four_claimers(store, study, running=0, until="the end")
    wait_for(lambda: load_progress(store, study.study_id).limit is not None)
    ask_study(store, "synthetic", "stop")

    claims = claims_of(processes)
    assert claims == first_attempts(len(claims))
    assert 21 <= len(claims) <= 21 + 3  # what the three others had begun when trial 20 ended


def test_two_processes_enqueue_while_another_claims_and_no_number_is_lost_or_given_twice(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 50})
    processes = start([ENQUEUER, store.url.reveal(), "0"], [ENQUEUER, store.url.reveal(), "500"])
    worker = Claimant(store, study)
    claims: list[tuple[int, dict[str, Any]]] = []
    while any(process.poll() is None for process in processes):
        if len(claims) < 25 and (claim := worker.claim()) is not None:
            claims.append((claim.number, worker.begin(claim)))
    while len(claims) < 50 and (claim := worker.claim()) is not None:
        claims.append((claim.number, worker.begin(claim)))

    entered = [int(line) for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(set(entered)) == 24
    assert sorted(number for number, _ in claims) == list(range(50))
    records = Study(store, study.name).trials()
    assert [record.number for record in records] == list(range(50))
    given = {round(0.001 + (first + number) * 1e-4, 10) for first in (0, 500) for number in range(12)}
    assert {round(records[number].params["lr"], 10) for number in entered} == given
