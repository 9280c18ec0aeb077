"""What goes on in a store, as one snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import update
from stores import ask_study, ask_trial
from test_overview import fill, statements

from hpo.errors import StoreError
from hpo.queue.delete import delete_rows
from hpo.queue.report import end_attempt
from hpo.results.status import list_studies
from hpo.service.live import live_view
from hpo.service.live_queries import LONGEST_CURVE
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_workers
from hpo.study.states import AttemptEnd, Request, StudyState


def test_a_running_trial_is_shown_with_its_epoch_curve_and_lease(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    claim = begin_next(worker, 0.5, 0.75)
    ask_trial(store, "synthetic", claim.number, "pause")

    [trial] = live_view(store).trials

    assert (trial.study, trial.number, trial.worker, trial.slot, trial.device) == ("synthetic", 0, "here:1", 0, "cpu")
    assert (trial.epoch, trial.value, trial.metrics) == (2, 0.75, {"val_accuracy": 0.75, "val_loss": 0.25})
    assert trial.curve == [(1, 0.5), (2, 0.75)]
    assert 0 < trial.lease_left <= store.timing.lease
    assert trial.request == Request.PAUSE
    assert trial.params.keys() >= {"depth", "lr", "optimizer", "dropout"}


def test_of_a_long_curve_the_last_values_are_shown(store: Store) -> None:
    worker = Claimant(store, create_study(store, epochs=100, pruner="none"))
    begin_next(worker, *(epoch / 100 for epoch in range(1, 91)))

    [trial] = live_view(store).trials

    assert len(trial.curve) == LONGEST_CURVE
    assert trial.curve[0] == (31, 0.31)
    assert trial.curve[-1] == (90, 0.9)


def test_studies_are_shown_as_hpo_ls_lists_them(store: Store) -> None:
    fill(store)

    found = {study.name: study for study in live_view(store).studies}

    for listed in list_studies(store):
        its = found[listed.study]
        assert (its.state, its.reason, its.counts) == (listed.state, listed.reason, listed.counts)
        assert its.waiting_for == listed.waiting_for
        assert its.on_front == listed.on_front
        assert its.best_value == (listed.best.value if listed.best else None)
        assert its.best_number == (listed.best.number if listed.best else None)
    assert found["limited"].limits == {"hours": 8.0, "target": 0.5}
    assert found["limited"].spent["target"] == 0.7


def test_one_study_is_shown_alone(store: Store) -> None:
    fill(store)

    found = live_view(store, "failing")

    assert [study.name for study in found.studies] == ["failing"]
    assert {trial.study for trial in found.trials} <= {"failing"}
    with pytest.raises(StoreError, match="the store has no study 'faling', did you mean 'failing'"):
        live_view(store, "faling")


def test_a_deleted_study_is_no_longer_there(store: Store) -> None:
    study = create_study(store)
    begin_next(Claimant(store, study), 0.5)
    with store.write() as connection:
        delete_rows(connection, study.study_id)

    assert live_view(store).trials == []
    with pytest.raises(StoreError):
        live_view(store, "synthetic")


def test_failures_are_told_with_their_causes_the_latest_first(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    first, second = begin_next(worker), begin_next(worker)
    with store.write() as connection:
        end_attempt(connection, first, end=AttemptEnd.CRASH, cause="crash: exit code 9", seconds=1.0)
    worker.finish(
        second,
        None,
        state="FAIL",
        end=AttemptEnd.ERROR,
        cause="error: ValueError",
        error="Traceback ...\nValueError: too large",
    )

    found = live_view(store).failures

    assert [(one.number, one.kind, one.error) for one in found] == [
        (1, "error", "error: ValueError: too large"),
        (0, "crash", "crash: exit code 9"),
    ]


def test_a_silent_worker_is_lost_and_one_that_has_ended_is_gone(store: Store) -> None:
    study = create_study(store)
    alive, silent, ended = (Claimant(store, study).worker_id for _ in range(3))
    change(store, silent, beat=db_now() - 3 * store.timing.lease)
    change(store, ended, ended=db_now())

    found = live_view(store).workers

    assert [(worker.worker_id, worker.is_lost) for worker in found] == [(alive, False), (silent, True)]


def test_it_says_why_nothing_happens(store: Store) -> None:
    study = create_study(store, study="mine")

    def reason() -> str:
        return live_view(store, "mine").studies[0].waiting_for or ""

    assert reason() == "no worker trains it: 'hpo worker mine' does"
    worker = Claimant(store, study)
    assert "1 slot free, and no trial has begun there" in reason()
    busy = Claimant(store, create_study(store, study="other"))
    change(store, worker.worker_id, ended=db_now())
    begin_next(busy, 0.5)
    assert reason() == "no slot is free: all train other studies (1 slot of 1 worker)"
    ask_study(store, "mine", "pause")
    assert reason() == "it is paused: 'hpo resume mine' continues it"
    ask_study(store, "mine", "resume")
    begin_next(Claimant(store, study), 0.5)
    assert reason() == ""
    with store.write() as connection:
        connection.execute(update(hpo_workers).values(beat=db_now() - 3 * store.timing.lease))
    assert "1 running trial have sent no heartbeat" in reason()
    ask_study(store, "mine", "stop")
    assert live_view(store, "mine").studies[0].state == StudyState.STOPPED


def test_the_number_of_statements_does_not_grow(store: Store) -> None:
    def look() -> int:
        with statements(store) as found:
            live_view(store)
        return len(found)

    create_study(store, study="first", budget={"trials": 9, "hours": 8})
    begin_next(Claimant(store, create_study(store, study="second")), 0.5)
    few = look()
    for number in range(5):
        worker = Claimant(store, create_study(store, study=f"more-{number}", budget={"trials": 9, "hours": 8}))
        worker.finish(begin_next(worker, 0.5, 0.6), 0.6)

    assert look() <= few + 3  # the values of best trials, of which there were none


def test_it_is_json(store: Store) -> None:
    import json

    fill(store)

    found = json.loads(json.dumps(live_view(store).to_json(), allow_nan=False))

    assert found["studies"][0]["name"] == "complete"


def change(store: Store, worker_id: int, **values: Any) -> None:
    """Change a worker's row."""
    with store.write() as connection:
        connection.execute(update(hpo_workers).where(hpo_workers.c.worker_id == worker_id).values(**values))


def test_the_time_left_follows_from_the_trials_so_far(store: Store) -> None:
    worker = Claimant(store, create_study(store, pruner="none", budget={"trials": 4}))
    for _ in range(3):
        worker.finish(begin_next(worker, *[0.5] * 9), 0.5, best_epoch=1)
    assert live_view(store).studies[0].seconds_left is None  # no slot trains it

    begin_next(worker, 0.5, 0.5, 0.5)

    # a report is half a second after the one before, and six of nine epochs are left
    assert live_view(store).studies[0].seconds_left == pytest.approx((3.0, 3.0), abs=0.01)


def test_the_time_left_ends_with_the_hours_of_the_study(store: Store) -> None:
    worker = Claimant(store, create_study(store, pruner="none", budget={"trials": 400, "hours": 0.01}))
    worker.finish(begin_next(worker, *[0.5] * 9), 0.5, best_epoch=1)
    begin_next(worker, 0.5)

    left = live_view(store).studies[0].seconds_left

    assert left is not None
    assert 0 < left[0] <= left[1] <= 36


def test_trials_that_wait_at_a_rung_are_played_on(store: Store) -> None:
    worker = Claimant(store, create_study(store, budget={"trials": 12}))
    for value in (0.9, 0.8, 0.7, 0.6):
        claim = begin_next(worker, value, value, value)
        worker.pause_at_rung(claim)
    begin_next(worker, 0.5)

    left = live_view(store).studies[0].seconds_left

    assert left is not None
    assert 1.0 < left[0] <= left[1] < 0.5 * 9 * 12
