"""The events of a study in Python: every trial and attempt once, and an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects.synthetic import Claimant, create_study
from sqlalchemy import update
from stores import hand_back

from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.studies import StoredStudy
from hpo.service.study import Study
from hpo.service.watch import EventKind, StudyEvent
from hpo.store import Store
from hpo.store.tables import hpo_attempts
from hpo.study.states import StudyState

STARTED, RESUMED, ENDED = EventKind.TRIAL_STARTED, EventKind.TRIAL_RESUMED, EventKind.TRIAL_ENDED
BEST, PAUSED, IDLE = EventKind.BEST_CHANGED, EventKind.TRIAL_PAUSED, EventKind.TRIAL_IDLE


@pytest.fixture
def study(store: Store) -> StoredStudy:
    return create_study(store, sampler="random", budget={"trials": 3})


def train(worker: Claimant, value: float) -> None:
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.finish(claim, value)


def happened(events: Iterator[StudyEvent]) -> list[tuple[EventKind, int | StudyState | None]]:
    return [(event.kind, event.state if event.trial is None else event.number) for event in events]


def test_trials_that_begin_and_end_between_two_looks_are_told_in_order(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    events = Study(store, study.name).watch(0.01)
    for value in (0.5, 0.4, 0.6):
        train(worker, value)

    assert happened(events) == [
        *[(STARTED, 0), (ENDED, 0), (BEST, 0)],
        *[(STARTED, 1), (ENDED, 1)],
        *[(STARTED, 2), (ENDED, 2), (BEST, 2)],
        *[(EventKind.STATE_CHANGED, StudyState.DONE), (EventKind.STUDY_ENDED, StudyState.DONE)],
    ]


def test_watching_begins_at_the_call_or_with_what_was_before(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    train(worker, 0.5)
    running = worker.claim()
    assert running is not None
    worker.begin(running)
    watched = Study(store, study.name)
    later, all_of_it = watched.watch(0.01), watched.watch(0.01, from_start=True)
    worker.finish(running, 0.4)
    train(worker, 0.3)

    after = happened(later)
    before = happened(all_of_it)

    assert after[:-2] == [(ENDED, 1), (STARTED, 2), (ENDED, 2)]
    assert before == [(STARTED, 0), (ENDED, 0), (BEST, 0), (STARTED, 1), *after]


def test_each_attempt_is_told_and_says_how_it_ended(store: Store) -> None:
    study = create_study(store, sampler="random", pruner={"name": "asha", "min_epochs": 1}, budget={"trials": 1})
    events = Study(store, study.name).watch(0.01)
    enqueue_points(store, study.name, [Point({"depth": 2})])
    first = next(events)
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.report(claim, 1, 0.5)
    hand_back(store, claim)
    worker.history.release(claim.trial_id, claim.number)
    claim = worker.claim()
    assert claim is not None
    worker.report(claim, 3, 0.5)  # a rung
    worker.pause_at_rung(claim)
    claim = worker.claim(is_last=True)
    assert claim is not None
    worker.finish(claim, 0.7)

    assert (first.kind, first.number) == (EventKind.TRIAL_ENQUEUED, 0)
    kinds = [kind for kind, _ in happened(events)]
    assert kinds[:-2] == [STARTED, IDLE, RESUMED, PAUSED, RESUMED, ENDED, BEST]


def test_events_carry_the_record_and_the_reason(store: Store, study: StoredStudy) -> None:
    watched = Study(store, study.name)
    events = watched.watch(0.01)
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    params = worker.begin(claim)
    started = next(events)
    watched.pause()
    paused = next(events)
    worker.finish(claim, None, state="FAIL", cause="error: no luck")
    failed = next(events)
    watched.stop()
    rest = list(events)

    assert started.trial is not None
    assert (started.kind, started.trial.params) == (STARTED, params)
    assert (paused.kind, paused.state, paused.reason) == (EventKind.STATE_CHANGED, StudyState.PAUSED, "by request")
    assert failed.trial is not None
    assert (failed.kind, failed.trial.state, failed.trial.cause) == (ENDED, "failed", "error: no luck")
    assert [event.state for event in rest] == [StudyState.STOPPED, StudyState.STOPPED]
    assert rest[-1].kind == EventKind.STUDY_ENDED


def test_a_deleted_study_ends_the_watch(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    watched = Study(store, study.name, artifacts=tmp_path)
    events = watched.watch(0.01)
    watched.delete()
    create_study(store, sampler="random")  # which has the same number on SQLite

    assert happened(events)[-1] == (EventKind.STUDY_ENDED, StudyState.STOPPED)


def test_a_study_that_ends_with_a_worker_that_is_gone_ends_the_watch(store: Store, study: StoredStudy) -> None:
    """Nobody else would end the attempt."""
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    watched = Study(store, study.name)
    events = watched.watch(0.2)
    watched.kill()
    with store.write() as connection:
        connection.execute(update(hpo_attempts).values(lease_until=1.0))

    assert [kind for kind, _ in happened(events)] == [EventKind.STATE_CHANGED, ENDED, EventKind.STUDY_ENDED]


def test_nothing_is_missed_or_told_twice_while_workers_train(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 60})

    def work() -> None:
        with Store.open(store.url) as own:
            worker = Claimant(own, study)
            while (claim := worker.claim()) is not None:
                worker.begin(claim)
                worker.finish(claim, 1.0 / (1 + claim.number))

    events = Study(store, study.name).watch(0.002)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    found = happened(events)
    for thread in threads:
        thread.join()

    for kind in (STARTED, ENDED):
        assert sorted(int(number or 0) for told_kind, number in found if told_kind == kind) == list(range(60))
    for number in range(60):
        assert found.index((STARTED, number)) < found.index((ENDED, number))
    assert found[-1] == (EventKind.STUDY_ENDED, StudyState.DONE)
