"""One way to end a trial: workers, requests and the doctor leave the same rows; and what is idle is counted as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects.launch import wait_for
from projects.synthetic import Claimant, create_study
from sqlalchemy import update
from stores import hand_back, write

from hpo.doctor.examination import repair
from hpo.queue.claim import Claim
from hpo.queue.idle import end_idle_trials
from hpo.queue.leases import LOST, expire_leases
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, set_study_state
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import hpo_attempts
from hpo.study.states import StudyState, TrialState

PROMOTING = {"name": "asha", "min_epochs": 1}


def begun(store: Store, study: StoredStudy, *, epochs: int) -> tuple[Claimant, Claim]:
    """A worker, and its trial that has reported so many epochs."""
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    for epoch in range(1, epochs + 1):
        worker.report(claim, epoch, 0.1 * epoch)
    return worker, claim


def end_of(record: TrialRecord) -> tuple[Any, ...]:
    """All that an end writes, apart from times."""
    return record.state, record.value, record.cause, record.causes, record.error, record.attempts


@pytest.mark.parametrize("state", [StudyState.STOPPED, StudyState.KILLED])
@pytest.mark.parametrize("epochs", [0, 2])
def test_the_doctor_ends_the_idle_trials_of_an_ended_study_as_a_worker_does(
    state: StudyState, epochs: int, store: Store, tmp_path: Path
) -> None:
    ends = {}
    for who in ("worker", "doctor"):
        study = create_study(store, study=who)
        hand_back(store, begun(store, study, epochs=epochs)[1])
        set_study_state(store, study.study_id, state, "by request")
        if who == "worker":
            write(store, lambda connection, study_id: end_idle_trials(connection, study_id) == [0], study.study_id)
        else:
            assert repair(store.url, artifacts=tmp_path) == ["doctor: ended 1 trial without a worker"]
        ends[who] = end_of(Study(store, who).trials()[0])

    assert ends["doctor"] == ends["worker"]
    pruned = state == StudyState.STOPPED and epochs > 0
    assert ends["doctor"][:3] == (
        TrialState.PRUNED if pruned else TrialState.FAILED,
        0.2 if pruned else None,
        f"{state}: by request",
    )


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_lost_lease_counts_as_a_crash_whoever_ends_it(crashes: int, store: Store, tmp_path: Path) -> None:
    ends = {}
    for who in ("worker", "doctor"):
        study = create_study(store, study=who, retries={"crash": crashes})
        begun(store, study, epochs=1)
        with store.write() as connection:
            connection.execute(update(hpo_attempts).where(hpo_attempts.c.ended.is_(None)).values(lease_until=1.0))
        if who == "worker":
            assert wait_for(lambda: expire_leases(store)) == [0]  # PostgreSQL may have just started
        else:
            assert wait_for(lambda: repair(store.url, artifacts=tmp_path)) == ["doctor: closed 1 expired leases"]
        ends[who] = end_of(Study(store, who).trials()[0])

    assert ends["doctor"] == ends["worker"]
    expected = (TrialState.IDLE, None) if crashes else (TrialState.FAILED, LOST)
    assert (ends["doctor"][0], ends["doctor"][2]) == expected


def test_a_trial_that_is_paused_at_a_rung_and_one_that_is_idle_are_counted_apart_everywhere(store: Store) -> None:
    study = create_study(store, pruner=PROMOTING)
    (first, paused), (_, idle), (third, _) = (begun(store, study, epochs=1) for _ in range(3))
    first.pause_at_rung(paused)
    hand_back(store, idle)

    counts = load_progress(store, study.study_id).counts
    status = Study(store, "synthetic").status()

    assert (counts.begun, counts.running, counts.idle, counts.paused) == (3, 1, 1, 1)
    assert {state: count for state, count in status.counts.items() if count} == {"running": 1, "idle": 1, "paused": 1}
    assert [record.state for record in Study(store, "synthetic").trials()] == ["paused", "idle", "running"]
    third.history.sync()
    assert third.history.paused == 1
