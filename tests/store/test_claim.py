"""The queue on both databases, with real processes and a real Optuna beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState
from projects.synthetic import SPACE, Claimant, create_study
from sqlalchemy import select, update
from stores import hand_back, write

from hpo.queue.claim import Claim
from hpo.queue.leases import LOST, expire_leases, heartbeat
from hpo.queue.report import describe_trial, finish_trial
from hpo.queue.studies import StoredStudy, set_study_state
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_epochs, hpo_studies, hpo_trials
from hpo.study.states import StudyState


def expire(store: Store, claim: Claim, *, is_seen: bool = True) -> None:
    """The lease has run out: its worker has not been heard of for long, and another one sees it."""
    with store.write() as connection:
        connection.execute(
            update(hpo_attempts).where(hpo_attempts.c.attempt_id == claim.attempt_id).values(lease_until=1.0)
        )
    if is_seen:
        assert expire_leases(store)


def written(store: Store, claim: Claim) -> tuple[int, str | None, str]:
    """(epochs in the table, the trial's cause, its state) as the store has them."""
    with store.read() as connection:
        rows = connection.execute(select(hpo_epochs).where(hpo_epochs.c.trial_id == claim.trial_id)).all()
        cause = connection.scalar(select(hpo_trials.c.cause).where(hpo_trials.c.trial_id == claim.trial_id))
    record = Study(store, "synthetic").trials()[claim.number]
    return len(rows), cause, record.state


def test_trials_that_an_optuna_script_enqueued_come_first_once_and_with_their_parameters(store: Store) -> None:
    study = create_study(store, budget={"trials": 4}, sampler="random")
    with optuna_storage(store.url) as storage:
        script = optuna.load_study(study_name="synthetic", storage=storage)
        script.enqueue_trial({"lr": 0.05, "optimizer": "sgd", "momentum": 0.25, "depth": 4, "dropout": 0.3})
        script.enqueue_trial({"depth": 3})
    workers = [Claimant(store, study), Claimant(store, study)]

    claims = [(worker, worker.claim()) for worker in (*workers, *workers, *workers)]
    params = [worker.begin(claim) for worker, claim in claims if claim is not None]

    assert [claim.number for _, claim in claims if claim is not None] == [0, 1, 2, 3]
    assert [claim for _, claim in claims[4:]] == [None, None]
    assert params[0] == {"lr": 0.05, "optimizer": "sgd", "momentum": 0.25, "depth": 4, "dropout": 0.3}
    assert params[1]["depth"] == 3
    assert all(SPACE.contains(point) for point in params)
    assert [record.params for record in Study(store, "synthetic").trials()] == params


def test_a_trial_whose_lease_ran_out_is_taken_over_with_its_parameters(store: Store, study: StoredStudy) -> None:
    first, second = Claimant(store, study), Claimant(store, study)
    claim = first.claim()
    assert claim is not None
    params = first.begin(claim)
    first.report(claim, 1, 0.5)
    expire(store, claim)

    taken = second.claim()

    assert taken is not None
    assert (taken.number, taken.attempt, taken.params) == (claim.number, 2, params)
    assert second.finish(taken, 0.75)
    assert [(r.number, r.state, r.attempts) for r in Study(store, "synthetic").trials()] == [(0, "complete", 2)]


def test_a_worker_that_lost_its_lease_writes_nothing(store: Store, study: StoredStudy) -> None:
    slow, quick = Claimant(store, study), Claimant(store, study)
    claim = slow.claim()
    assert claim is not None
    slow.begin(claim)
    slow.report(claim, 1, 0.5)
    expire(store, claim)
    taken = quick.claim()
    assert taken is not None

    heartbeat(store, slow.worker_id, [claim.attempt_id])  # it wakes up, and goes on as if nothing had been
    reported = slow.report(claim, 2, 0.9)[1]
    handed = hand_back(store, claim, seconds=1.0)
    ended = write(store, finish_trial, claim, state="FAIL", seconds=1.0, cause="error: Late", error="late")

    assert (reported, handed, ended) == (False, False, False)
    assert written(store, claim) == (1, None, "running")
    assert quick.finish(taken, 0.75)
    assert not write(store, finish_trial, taken, state="PRUNED", values=[0.1], seconds=1.0)  # ended is ended
    assert Study(store, "synthetic").best(1)[0].value == 0.75


def test_a_lease_that_is_renewed_is_not_taken_over(store: Store, study: StoredStudy) -> None:
    worker, other = Claimant(store, study), Claimant(store, study)
    by_beat, by_report = worker.claim(), worker.claim()
    assert by_beat is not None
    assert by_report is not None
    worker.begin(by_report)

    expire(store, by_beat, is_seen=False)
    heartbeat(store, worker.worker_id, [by_beat.attempt_id, by_report.attempt_id])
    assert expire_leases(store) == []
    claim = other.claim()

    assert claim is not None
    assert (claim.number, claim.attempt) == (2, 1)


def test_a_trial_that_loses_three_workers_fails_and_leaves_its_place_to_no_other(store: Store) -> None:
    study = create_study(store, budget={"trials": 1})
    workers = [Claimant(store, study) for _ in range(4)]

    claims = []
    for worker in workers:
        claims.append(worker.claim())
        if claims[-1] is not None:
            expire(store, claims[-1])

    assert [claim and claim.attempt for claim in claims] == [1, 2, 3, None]
    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.attempts, record.cause) == ("failed", 3, LOST)


def test_a_trial_that_was_handed_back_is_claimed_again_at_once_and_as_often_as_needed(
    store: Store, study: StoredStudy
) -> None:
    workers = [Claimant(store, study) for _ in range(5)]
    params = None

    for attempt, worker in enumerate(workers, start=1):
        claim = worker.claim()
        assert claim is not None
        assert (claim.number, claim.attempt, claim.params) == (0, attempt, params)
        params = claim.params or worker.begin(claim)
        assert hand_back(store, claim, seconds=0.25)

    [record] = Study(store, "synthetic").trials()
    assert (record.state, record.attempts, record.cause) == ("idle", 5, None)


@pytest.mark.parametrize("state", [StudyState.PAUSED, StudyState.STOPPED])
def test_a_study_that_is_not_to_run_gives_no_trials(store: Store, study: StoredStudy, state: StudyState) -> None:
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)

    set_study_state(store, study.study_id, state)

    assert worker.claim() is None
    assert worker.finish(claim, 0.5)  # what runs may end
    set_study_state(store, study.study_id, StudyState.RUNNING)
    assert worker.claim() is not None


def test_a_study_that_was_deleted_gives_no_trials(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    with optuna_storage(store.url) as storage:
        optuna.delete_study(study_name="synthetic", storage=storage)

    assert worker.claim() is None


def test_optuna_reads_the_written_rows(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
    done, pruned, failed, running = (worker.claim() for _ in range(4))
    assert done is not None
    assert pruned is not None
    assert failed is not None
    assert running is not None
    params = [worker.begin(claim) for claim in (done, pruned, failed, running)]
    for epoch, value in enumerate((0.5, 0.75, 0.625), start=1):
        worker.report(done, epoch, value)
    worker.report(pruned, 1, 0.125)
    worker.finish(done, 0.75, best_epoch=2, checkpoint="best.ckpt", attributes={"epochs": 3, "device": "cpu"})
    worker.finish(pruned, 0.125, state="PRUNED")
    worker.finish(failed, None, state="FAIL", cause="error: ValueError", error="Traceback ...")

    with optuna_storage(store.url) as storage:
        read = optuna.load_study(study_name="synthetic", storage=storage)
        trials = read.trials
        best = (read.best_trial.number, read.best_value)
        goal = (read.direction, read.metric_names)

    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert [trial.values for trial in trials] == [[0.75], [0.125], None, None]
    assert [trial.params for trial in trials] == params
    assert trials[0].intermediate_values == {1: 0.5, 2: 0.75, 3: 0.625}
    assert trials[0].user_attrs == {"epochs": 3, "device": "cpu"}
    assert best == (0, 0.75)
    assert goal == (optuna.study.StudyDirection.MAXIMIZE, ["val_accuracy"])
    for trial in trials[:3]:
        assert trial.datetime_start is not None
        assert trial.datetime_complete is not None
        assert before < trial.datetime_start <= trial.datetime_complete < before + timedelta(seconds=60)
    assert trials[3].datetime_complete is None


def test_a_record_contains_the_whole_trial(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    params = worker.begin(claim)
    write(
        store,
        describe_trial,
        claim,
        config={"params": params, "model": {"class": "nets:Line", "width": 3}},
        from_epoch=0,
    )
    worker.report(claim, 1, 0.5)
    worker.finish(claim, None, state="FAIL", cause="out of memory", error="Traceback: too much")

    [record] = Study(store, "synthetic").trials()
    with store.read() as connection:
        spec = connection.scalar(select(hpo_studies.c.spec))

    assert (record.cause, record.error, record.seconds) == ("out of memory", "Traceback: too much", 2.5)
    assert record.curve == ((1, {"val_accuracy": 0.5, "val_loss": 0.5}),)
    assert record.config["model"] == {"class": "nets:Line", "width": 3}
    assert record.worker == "here:1"
    assert json.loads(spec or "")["spec"]["objective"]["metric"] == "val_accuracy"
