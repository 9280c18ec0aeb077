"""Limits below what a study has spent already: what becomes of its trials, and what a person is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from projects.synthetic import SPACE, Claimant, begin_next, create_study, make_spec
from sqlalchemy import update
from stores import hand_back

from hpo.queue.claim import Claim
from hpo.queue.control import set_limits
from hpo.queue.idle import end_paused_trials, standstill
from hpo.queue.progress import load_progress
from hpo.queue.studies import create_or_continue
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import StudyState

HOUR = 3600.0
ASHA = {"name": "asha", "min_epochs": 1}


def pause_at_rung(worker: Claimant, value: float) -> Claim:
    claim = begin_next(worker)
    worker.report(claim, 1, value)
    worker.pause_at_rung(claim)
    return claim


def begun_before(store: Store, hours: float) -> None:
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(started=db_now() - hours * HOUR))
        connection.execute(update(hpo_attempts).values(started=db_now() - hours * HOUR))
        connection.execute(update(hpo_attempts).where(hpo_attempts.c.ended.is_not(None)).values(seconds=hours * HOUR))


def submit_again(store: Store, **keys: Any) -> str:
    return create_or_continue(store, ResolvedStudy(make_spec(**keys), SPACE, {"model": {}, "data": {}}))[1]


def test_fewer_trials_than_have_begun_leave_those_that_run_and_those_at_rungs_as_they_are(store: Store) -> None:
    study = create_study(store, pruner=ASHA, budget={"trials": 9})
    worker = Claimant(store, study)
    for value in (0.1, 0.2):
        pause_at_rung(worker, value)
    assert worker.finish(begin_next(worker), 0.9)
    running = begin_next(worker)
    hand_back(store, begin_next(worker))

    answer = set_limits(store, "synthetic", ["trials=2"])
    status = Study(store, "synthetic").status()

    assert answer == (
        "study synthetic: trials 2, priority 1. 5 trials have begun already: 1 running goes on, "
        "2 paused at a rung are promoted or pruned as before, 1 idle is continued while fewer than 2 have ended, "
        "and no other one begins"
    )
    assert status.state == StudyState.RUNNING
    assert {state: count for state, count in status.counts.items() if count} == {
        "complete": 1, "running": 1, "paused": 2, "idle": 1,
    }  # fmt: skip
    assert worker.finish(running, 0.5)
    assert Study(store, "synthetic").status().state == StudyState.DONE


def test_a_study_with_fewer_trials_than_wait_at_its_rungs_comes_to_an_end(store: Store) -> None:
    study = create_study(store, pruner=ASHA, budget={"trials": 9})
    worker = Claimant(store, study)
    for value in (0.1, 0.2, 0.3, 0.35):
        claim = begin_next(worker)
        if worker.report(claim, 1, value)[0]:
            worker.pause_at_rung(claim)
        else:
            hand_back(store, claim)

    set_limits(store, "synthetic", ["trials=1"])
    ended = 0
    for _ in range(20):  # as a worker does
        worker.history.sync()
        claimed = worker.claim()
        if claimed is None and (newest := standstill(store, study.study_id)) is not None:
            claimed = worker.claim(is_last=True)
            if claimed is None:
                end_paused_trials(store, study.study_id, since=newest)
        if claimed is None:
            break
        ended += worker.finish(claimed, 0.5)
    set_limits(store, "synthetic", ["trials=1"])

    assert ended == 1
    status = Study(store, "synthetic").status()
    assert status.state == StudyState.DONE
    assert {state for state, count in status.counts.items() if count} == {"complete", "pruned"}


@pytest.mark.parametrize(("limit", "reason"), [("hours", "Its 0.1 hours"), ("gpu_hours", "Its 0.1 device-hours")])
def test_hours_below_those_that_are_spent_end_the_study_after_the_present_epochs(
    store: Store, limit: str, reason: str
) -> None:
    study = create_study(store, pruner=ASHA, budget={"trials": 9})
    worker = Claimant(store, study)
    for value in (0.1, 0.2):
        pause_at_rung(worker, value)
    running = begin_next(worker)
    begun_before(store, 0.2)

    answer = set_limits(store, "synthetic", [f"{limit}=0.1"])
    progress = load_progress(store, study.study_id)

    assert answer == (
        f"study synthetic: trials 9, {limit} 0.1, priority 1. {reason} are spent: 2 trials that did not run are ended, "
        "1 running ends after the present epoch, and no other one begins"
    )
    assert (progress.counts.begun, progress.counts.pruned, progress.is_over) == (1, 2, False)
    assert worker.claim() is None
    assert worker.finish(running, 0.5, state="PRUNED")
    status = Study(store, "synthetic").status()
    assert (status.state, status.reason) == (StudyState.DONE, f"its{reason[3:]} are spent")
    assert status.budget[limit]["spent"] >= status.budget[limit]["target"]


def test_a_study_without_a_worker_is_over_as_soon_as_its_hours_are_lowered(store: Store) -> None:
    study = create_study(store, pruner=ASHA, budget={"trials": 9, "hours": 5})
    worker = Claimant(store, study)
    for value in (0.1, 0.2):
        pause_at_rung(worker, value)
    begun_before(store, 0.2)

    set_limits(store, "synthetic", ["hours=0.1"])

    status = Study(store, "synthetic").status()
    assert (status.state, status.waiting_for) == (StudyState.DONE, None)


def test_more_hours_reopen_a_study_that_was_over_for_long(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "hours": 0.1})
    worker = Claimant(store, study)
    assert worker.finish(begin_next(worker), 0.5)
    begun_before(store, 100)
    with store.write() as connection:
        connection.execute(update(hpo_attempts).values(ended=db_now() - 99.8 * HOUR))

    answer = set_limits(store, "synthetic", ["hours=0.5"])

    assert answer == "study synthetic: trials 9, hours 0.5, priority 1"
    assert begin_next(worker).number == 1


def test_without_any_limit_a_person_is_told_what_ends_it(store: Store) -> None:
    create_study(store, budget={"trials": 9})

    assert set_limits(store, "synthetic", ["trials=none"]) == (
        "study synthetic: trials none, priority 1. No limit is left: workers train it until 'hpo stop synthetic'"
    )
    assert "No limit" not in set_limits(store, "synthetic", ["hours=2"])


def test_a_file_with_fewer_trials_shortens_the_study(store: Store) -> None:
    study = create_study(store, budget={"trials": 9})
    worker = Claimant(store, study)
    assert worker.finish(begin_next(worker), 0.5)
    running = begin_next(worker)

    answer = submit_again(store, budget={"trials": 1})

    assert answer == (
        "study synthetic shortened from 9 trials to 1 trial, 1 of them ended. "
        "2 trials have begun already: 1 running goes on, and no other one begins"
    )
    assert worker.claim() is None
    assert worker.finish(running, 0.5)
    assert Study(store, "synthetic").status().budget["trials"] == {"target": 1.0, "spent": 2.0}


def test_a_file_that_is_unchanged_leaves_what_was_set(store: Store) -> None:
    create_study(store, budget={"trials": 9})
    set_limits(store, "synthetic", ["trials=20"])

    answer = submit_again(store, budget={"trials": 9})

    assert answer == (
        "study synthetic continued: 0 of 20 trials ended "
        "('hpo set' changed them to 20 trials; the file still says 9 trials)"
    )
    assert Study(store, "synthetic").status().budget["trials"]["target"] == 20
