"""Trials that Optuna's own scripts add to a study of ours: they are read, and spend nothing of its budget."""

from __future__ import annotations

import optuna
from projects.synthetic import Claimant, create_study

from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.service.study import Study as LiveStudy
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage


def add_foreign(store: Store, study: StoredStudy, *values: float) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=study.name, storage=storage)
        for value in values:
            theirs.add_trial(optuna.create_trial(params={}, distributions={}, value=value))


def train(worker: Claimant, count: int) -> list[int]:
    numbers = []
    for _ in range(count):
        claim = worker.claim()
        if claim is None:
            break
        worker.begin(claim)
        worker.report(claim, 1, 0.5)
        worker.finish(claim, 0.5)
        numbers.append(claim.number)
    return numbers


def test_a_study_trains_all_its_trials_beside_those_of_another_program(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 4})
    worker = Claimant(store, study)

    first = train(worker, 2)
    add_foreign(store, study, 0.7, 0.9, 0.8)
    rest = train(worker, 10)

    assert (first, rest) == ([0, 1], [5, 6])
    progress = load_progress(store, study.study_id)
    assert (progress.counts.complete, progress.counts.foreign, progress.is_over) == (4, 3, True)
    status = Study(store, study.name).status()
    assert (status.counts["complete"], status.foreign, status.budget["trials"]) == (4, 3, {"target": 4.0, "spent": 4.0})
    assert status.best is not None
    assert (status.best.number, status.best.value) == (3, 0.9)
    assert len(Study(store, study.name).trials()) == 7


def test_one_that_another_program_still_trains_does_not_keep_the_study_from_its_end(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 2})
    with optuna_storage(store.url) as storage:
        optuna.load_study(study_name=study.name, storage=storage).ask()

    assert train(Claimant(store, study), 10) == [1, 2]
    progress = load_progress(store, study.study_id)
    assert (progress.counts.running, progress.counts.foreign, progress.is_over) == (0, 1, True)


def test_a_point_that_optuna_enqueues_is_a_trial_of_ours(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 2})
    with optuna_storage(store.url) as storage:
        optuna.load_study(study_name=study.name, storage=storage).enqueue_trial({"depth": 3})
    add_foreign(store, study, 0.1)

    assert load_progress(store, study.study_id).counts.waiting == 1
    assert train(Claimant(store, study), 10) == [0, 2]
    assert load_progress(store, study.study_id).counts.foreign == 1


def test_a_waiting_trial_that_is_stopped_spends_its_place(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 2})
    live = LiveStudy(store, study.name)
    number = live.enqueue(depth=3)

    live.stop(number)

    counts = load_progress(store, study.study_id).counts
    assert (counts.failed, counts.foreign, counts.waiting) == (1, 0, 0)
    assert train(Claimant(store, study), 10) == [1]
