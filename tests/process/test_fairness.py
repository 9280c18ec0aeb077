"""A worker without names: fair to every open study, and robust against invalid points and values."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from projects.launch import PROJECT, Hpo, finish, wait_for
from projects.service import invoke, running, submit
from projects.synthetic import Claimant, create_study
from sqlalchemy import select
from stores import write

from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkServer
from hpo.ipc.messages import LOST_RANK, OUT_OF_MEMORY, Epoch
from hpo.queue.claim import Claim, claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import MAX_ERROR_CHARACTERS, end_attempt, finish_trial
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.search.algorithms import make_pruner, sampler_factory
from hpo.search.history import History
from hpo.space import Float, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, studies, trials
from hpo.study.devices import Slot
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.outbox import Outbox
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_run import StudyRun

LOGS = ("nan", "inf", "-inf", "whole", "truth", "half", "text", "pair", "huge error", "odd error", "fine")
IMPOSSIBLE: tuple[dict[str, Any], ...] = ({"lr": 5.0}, {"lr": "fast"}, {"lr": math.nan}, {"lr": None})
POSSIBLE: tuple[dict[str, Any], ...] = ({"lr": 0.05}, {"depth": 3}, {})


# ---- one worker, that waits, and studies of every kind


@dataclass(frozen=True)
class Service:
    hpo: Hpo
    code: int
    output: str
    waited: bool  # after all studies had ended

    def logged(self, what: str) -> TrialRecord:
        return next(record for record in self.hpo.trials("odd") if record.params["logs"] == what)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> Service:
    folder = tmp_path_factory.mktemp("service")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    for name, priority in (("one", 1), ("three", 3)):
        submit(hpo, hpo.study(name, budget={"trials": 200}, epochs=1, priority=priority), server)
    with running(hpo, "worker", "--slots", 2) as process:
        wait_for(lambda: hpo.counts("one").get("complete", 0) >= 8)
        for name in ("one", "three"):
            invoke(hpo, "kill", name)
        odd = {"model": "projects.mishaps:Odd", "space": {"logs": list(LOGS), "lr": 0.01}, "sampler": "grid"}
        submit(hpo, hpo.study("odd", **odd, budget={"trials": len(LOGS)}), server)
        asked = IMPOSSIBLE + POSSIBLE
        slow = hpo.study("asked", model={"class": "projects.nets:Line", "seconds": 0.3}, budget={"trials": 30})
        submit(hpo, slow, server)
        with optuna_storage(Store.open(hpo.url).url) as storage:
            theirs = optuna.load_study(study_name="asked", storage=storage)
            for point in asked:
                theirs.enqueue_trial(point)
            numbers = [trial.number for trial in theirs.get_trials() if "fixed_params" in trial.system_attrs]
        invoke(hpo, "set", "asked", f"trials={max(numbers) + 2}")
        wait_for(lambda: is_done(hpo, "odd") and is_done(hpo, "asked"))
        waited = process.poll() is None
        process.send_signal(signal.SIGTERM)
        code, output = finish(process)
    return Service(hpo, code, output, waited)


def is_done(hpo: Hpo, study: str) -> bool:
    return bool(json.loads(invoke(hpo, "status", study, "--json")[1])["state"] == "done")


def test_a_worker_without_names_waits_for_more_until_it_is_asked_to_end(service: Service) -> None:
    assert service.waited
    assert service.code == 0, service.output
    assert "Traceback" not in service.output


def test_studies_get_trials_by_their_priority(service: Service) -> None:
    """By the time that slots give to each study, so that a busy machine and longer trials change nothing."""
    with Store.open(service.hpo.url) as store, store.read() as connection:
        attempts = connection.execute(
            select(studies.c.study_name, hpo_attempts.c.seconds)
            .join(trials, trials.c.study_id == studies.c.study_id)
            .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
            .order_by(hpo_attempts.c.attempt_id)
        ).all()
    eighth = [position for position, (name, _) in enumerate(attempts) if name == "one"][7]
    seconds = {study: sum(spent for name, spent in attempts[:eighth] if name == study) for study in ("one", "three")}

    assert 1.5 <= seconds["three"] / seconds["one"] <= 6


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_an_objective_that_is_not_finite_fails_the_trial(service: Service, value: str) -> None:
    record = service.logged(value)

    assert (record.state, record.cause, record.value) == ("failed", "diverged", None)
    assert (record.attempts, record.epochs) == (1, 0)
    assert record.error == "val_loss was not a finite number after epoch 1"


@pytest.mark.parametrize(("value", "expected"), [("whole", 3.0), ("truth", 1.0), ("half", None), ("fine", None)])
def test_an_objective_of_another_type_is_a_number_all_the_same(
    service: Service, value: str, expected: float | None
) -> None:
    record = service.logged(value)

    assert (record.state, record.cause) == ("complete", None)
    assert record.value is not None
    assert record.value == expected or (expected is None and record.value > 0)
    assert [sorted(metrics) for _, metrics in record.curve] == [["val_loss"]] * 2  # 'noise' was NaN


@pytest.mark.parametrize("value", ["text", "pair"])
def test_an_objective_that_is_no_number_is_an_error_of_the_users_code(service: Service, value: str) -> None:
    record = service.logged(value)

    assert (record.state, record.attempts) == ("failed", 1)
    assert (record.cause or "").startswith("error: ")
    assert "val_loss" in (record.error or "")


def test_a_huge_error_is_kept_from_its_end(service: Service) -> None:
    record = service.logged("huge error")

    assert (record.state, record.cause, record.attempts) == ("failed", "error: RuntimeError", 1)
    assert "characters left out]" in (record.error or "")[:100]
    assert (record.error or "").rstrip().endswith("at the end")
    assert len(record.error or "") < MAX_ERROR_CHARACTERS + 100


def test_an_error_that_no_database_would_take_is_kept_as_well_as_it_can_be(service: Service) -> None:
    record = service.logged("odd error")

    assert (record.state, record.cause, record.attempts) == ("failed", "error: RuntimeError", 1)
    assert "a zero byte" in (record.error or "")
    assert "at the end" in (record.error or "")


def test_a_point_outside_of_the_space_fails_its_trial_and_the_study_continues(service: Service) -> None:
    records = service.hpo.trials("asked")
    failed = [record for record in records if record.state == "failed"]

    assert [record.cause for record in failed] == ["error: outside of the space"] * len(IMPOSSIBLE)
    assert all(record.error and record.attempts == 1 for record in failed)
    assert "5.0" in (failed[0].error or "")
    others = [record for record in records if record.state == "complete"]
    assert len(others) == len(records) - len(failed)
    assert 0.05 in [record.params["lr"] for record in others]
    assert all(1e-3 <= record.params["lr"] <= 1e-1 for record in others)
    assert service.hpo.counts("asked") == {"failed": len(IMPOSSIBLE), "complete": len(others)}


def test_a_study_with_odd_trials_can_be_read_by_everyone(service: Service) -> None:
    code, table = invoke(service.hpo, "trials", "odd")
    with optuna_storage(Store.open(service.hpo.url).url) as storage:
        theirs = optuna.load_study(study_name="odd", storage=storage).get_trials()

    assert code == 0
    assert "diverged" in table
    assert [trial.state == TrialState.FAIL for trial in theirs] == [
        record.state == "failed" for record in service.hpo.trials("odd")
    ]


def test_two_threads_of_a_trial_speak_one_after_the_other() -> None:
    """One tells that it is alive while the other one sends an error of megabytes, which goes in pieces."""
    speaks = """
import socket, sys, threading
from hpo.ipc.channel import Channel
from hpo.ipc.messages import Warned
from hpo.training.worker_connection import WorkerConnection

connection = WorkerConnection(Channel(socket.socket(fileno=int(sys.argv[1]))))
connection.trial = 7
threads = [threading.Thread(target=connection.send, args=(Warned(letter * 1_000_000),)) for letter in "abcd"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdin.read()
"""
    ours, theirs = Channel.pair()
    command = [sys.executable, "-c", speaks, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE), contextlib.closing(ours):
        theirs.close()
        messages = [ours.receive() for _ in "abcd"]

    assert sorted(message["text"] for message in messages) == [letter * 1_000_000 for letter in "abcd"]
    assert {message["trial"] for message in messages} == {7}


# ---- what the store takes


@pytest.mark.parametrize("odd", ["a \0 b", "a \ud83d b"], ids=["zero byte", "half a character"])
def test_any_error_text_can_be_written(store: Store, odd: str) -> None:
    worker = Claimant(store, create_study(store))
    claim, other = worker.claim(), worker.claim()
    assert claim is not None
    assert other is not None
    worker.begin(claim)
    worker.begin(other)

    assert write(store, finish_trial, claim, state="FAIL", seconds=1.0, cause=f"error: {odd}", error=odd)
    assert write(store, end_attempt, other, end=AttemptEnd("error"), cause=odd, error=odd, seconds=1.0)

    record = Study(store, "synthetic").trials()[0]
    assert (record.error or "").startswith("a ")
    assert (record.error or "").endswith(" b")
    assert (record.cause or "").startswith("error: a ")


def test_a_report_out_of_order_is_ignored(store: Store, tmp_path: Path, server: ForkServer) -> None:
    study = create_study(store, pruner="none")
    worker_id = register_worker(store, host="here", pid=1, slots=1)
    outbox = Outbox(store)
    run = StudyRun(store, study, outbox=outbox, server=server, project=PROJECT, artifacts=tmp_path, worker_id=worker_id)
    claim = claim_trial(store, study.study_id, worker_id=worker_id, slot=0, device="cpu")
    assert claim is not None
    run._history.adopt(claim.number, is_new=claim.is_new)
    trial = RunningTrial(claim, Slot(0, (), 1, 1), epochs=9, config={}, directory=tmp_path, claimed_at=0.0)

    for epoch, value in ((1, 0.1), (3, 0.3), (2, 0.9), (3, 0.8), (4, 0.4), (1, 0.7)):
        assert not run.on_epoch(trial, Epoch(epoch, value, {"val_accuracy": value}, 1.0)).stop
    assert outbox.flush()

    [record] = Study(store, "synthetic").trials()
    assert [(epoch, metrics["val_accuracy"]) for epoch, metrics in record.curve] == [(1, 0.1), (3, 0.3), (4, 0.4)]
    assert (trial.value, trial.best_value, trial.best_epoch) == (0.4, 0.4, 4)


# ---- what a sampler makes of a trial that diverged


LINE = SearchSpace((Parameter("x", Float(0.0, 1.0), default=0.5, has_default=True),))


def learner(store: Store, study: StoredStudy) -> Claimant:
    """A worker's view, with what the study says of trials that diverge."""
    spec = study.resolved.spec
    worker = Claimant(store, study)
    worker.history = History(
        store,
        study.study_id,
        name=study.name,
        objectives=spec.objectives,
        samplers=sampler_factory(spec, LINE, Path()),
        pruner=make_pruner(spec, Path()),
        diverged=spec.objective.diverged,
        failed=spec.objective.failed,
    )
    return worker


def diverge(worker: Claimant, claim: Claim, cause: str = AttemptEnd.DIVERGED) -> None:
    assert write(
        worker.store,
        finish_trial,
        claim,
        state=OptunaState.FAIL,
        seconds=1.0,
        end=AttemptEnd.DIVERGED if cause == AttemptEnd.DIVERGED else AttemptEnd.OUT_OF_MEMORY,
        cause=cause,
    )
    worker.history.end(claim.number, TrialState.FAIL, cause=cause)


def cliff(
    store: Store, diverged: str, cause: str = AttemptEnd.DIVERGED, *, failed: str = "infeasible"
) -> tuple[Claimant, Claimant]:
    """The better the nearer to 0.5, beyond which nothing works; as the worker knows it that tried it, and another."""
    goal = {"metric": "val_accuracy", "direction": "maximize", "diverged": diverged, "failed": failed}
    study = create_study(store, LINE, study=f"cliff {diverged}", objective=goal, sampler={"name": "tpe", "seed": 3})
    worker, other = learner(store, study), learner(store, study)
    for step in range(24):
        claim = worker.claim()
        assert claim is not None
        x = worker.begin(claim, point={"x": (step + 0.5) / 24})["x"]
        worker.history.report(claim.number, 1, x)
        if x > 0.5:
            diverge(worker, claim, cause)
        else:
            assert worker.finish(claim, x)
    return worker, other


def proposals_beyond(worker: Claimant, edge: float) -> int:
    """How many of twenty, none of which says anything new."""
    count = 0
    for _ in range(20):
        claim = worker.claim()
        assert claim is not None
        count += worker.begin(claim)["x"] > edge
        assert worker.finish(claim, None, state="FAIL", cause="killed: by a person")
    return count


@pytest.mark.parametrize("diverged", ["worst", "infeasible"])
def test_tpe_keeps_away_from_where_trials_diverged(store: Store, diverged: str) -> None:
    for worker in cliff(store, diverged):
        assert proposals_beyond(worker, 0.6) <= 5


def test_tpe_keeps_away_from_what_does_not_fit_into_memory(store: Store) -> None:
    mine, theirs = cliff(store, "ignore", cause=OUT_OF_MEMORY)
    theirs.history.sync()

    for worker in (mine, theirs):
        trials = worker.history._study.get_trials(deepcopy=False)
        assert [trial.system_attrs.get("constraints:memory") for trial in trials[12:]] == [1.0] * 12
        assert proposals_beyond(worker, 0.6) <= 5
    assert Study(store, mine.study.name).best(1)[0].number == 11


@pytest.mark.parametrize("failed", ["infeasible", "worst"])
@pytest.mark.parametrize("cause", ["error: ValueError", AttemptEnd.STALLED, "over time: 2 minutes"])
def test_tpe_keeps_away_from_what_fails_by_itself(store: Store, cause: str, failed: str) -> None:
    mine, theirs = cliff(store, "ignore", cause, failed=failed)
    theirs.history.sync()

    for worker in (mine, theirs):
        assert proposals_beyond(worker, 0.6) <= 5
    assert Study(store, mine.study.name).best(1)[0].number == 11


@pytest.mark.parametrize(
    ("cause", "failed"),
    [("error: ValueError", "ignore"), ("its worker was lost", "infeasible"), (LOST_RANK, "infeasible")],
)
def test_tpe_learns_nothing_of_failures_that_are_to_be_ignored_or_of_a_worker(
    store: Store, cause: str, failed: str
) -> None:
    assert proposals_beyond(cliff(store, "worst", cause, failed=failed)[0], 0.6) >= 12


def test_tpe_learns_nothing_of_divergence_that_is_to_be_ignored(store: Store) -> None:
    assert proposals_beyond(cliff(store, "ignore")[0], 0.6) >= 15


@pytest.mark.parametrize("diverged", ["worst", "infeasible", "ignore"])
def test_every_worker_makes_the_same_of_a_trial_that_diverged(store: Store, diverged: str) -> None:
    mine, theirs = cliff(store, diverged)
    late = learner(store, mine.study)
    theirs.history.sync()
    late.history.sync()

    views = [
        [
            (trial.state, trial.values, trial.params, trial.system_attrs.get("constraints:diverged"))
            for trial in worker.history._study.get_trials(deepcopy=False)
        ]
        for worker in (mine, theirs, late)
    ]

    assert views[0] == views[1] == views[2]
    state = {"worst": TrialState.PRUNED, "infeasible": TrialState.COMPLETE, "ignore": TrialState.FAIL}[diverged]
    assert [view[0] for view in views[0][12:]] == [state] * 12
    in_store = [record.state for record in Study(store, mine.study.name).trials()]
    assert in_store == ["complete"] * 12 + ["failed"] * 12
    assert Study(store, mine.study.name).best(1)[0].number == 11
