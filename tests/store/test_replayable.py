"""Which trials can be replayed, and why the others cannot."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from projects.synthetic import SPACE, Claimant
from sqlalchemy import update
from stores import write

from hpo.errors import HpoError, LoadError, SpecError, StoreError
from hpo.queue.claim import Claim
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.report import describe_trial
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.service.replay_stored import replayable
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_trials

CONFIG = {"model": {"class": "nets:Line"}, "data": {"class": "nets:Points"}, "epochs": 9, "seed": 1}


def begun(store: Store, worker: Claimant, config: dict[str, Any]) -> Claim:
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim, point=SPACE.defaults())
    with store.write() as connection:
        row = hpo_trials.c.trial_id == claim.trial_id
        connection.execute(update(hpo_trials).where(row).values(config=json.dumps(config)))
    return claim


def refusal(store: Store, number: int, name: str = "synthetic") -> HpoError:
    with pytest.raises(HpoError) as refused:
        replayable(store, name, number)
    return refused.value


def test_a_trial_that_runs_can_be_replayed_as_far_as_it_has_come(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    claim = begun(store, worker, CONFIG)
    worker.report(claim, 1, 0.5)

    record = replayable(store, "synthetic", 0)

    assert (record.state, record.epochs) == ("running", 1)


def test_a_trial_without_an_epoch_is_refused_with_its_failure(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    begun(store, worker, CONFIG)
    worker.finish(begun(store, worker, CONFIG), None, state="FAIL", cause="error: ValueError", error="ValueError: no")

    errors = [refusal(store, number) for number in (0, 1)]

    assert [type(error) for error in errors] == [SpecError, SpecError]
    assert [str(error) for error in errors] == [
        "trial 0 of study 'synthetic' (running) has trained no epoch that a replay could be compared with",
        "trial 1 of study 'synthetic' (failed) has trained no epoch that a replay could be compared with: error: "
        "ValueError: no",
    ]


def test_a_trial_of_a_scripts_class_is_refused(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    claim = begun(store, worker, CONFIG | {"model": {"class": "__main__:Net"}})
    worker.report(claim, 1, 0.5)

    error = refusal(store, 0)

    assert isinstance(error, LoadError)
    assert "its classes were defined in a script or notebook" in str(error)


def test_trials_that_are_not_there_or_wait_are_refused(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, "synthetic", [Point({"depth": 2})])

    absent, waiting, elsewhere = refusal(store, 7), refusal(store, 0), refusal(store, 0, "synthetik")

    assert (type(absent), type(waiting)) == (StoreError, SpecError)
    assert str(absent) == "study 'synthetic' has no trial 7; 'hpo trials synthetic' lists those it has"
    assert str(waiting) == "trial 0 of study 'synthetic' waits for a worker: there is nothing to replay yet"
    assert "did you mean 'synthetic'?" in str(elsewhere)


def test_trials_and_studies_of_another_program_are_refused(store: Store, study: StoredStudy) -> None:
    with optuna_storage(store.url) as storage:
        ours = optuna.load_study(study_name="synthetic", storage=storage)
        theirs = optuna.create_study(study_name="theirs", storage=storage)
        for each in (ours, theirs):
            each.optimize(lambda trial: trial.suggest_float("a", 0, 1), 1)

    errors = [refusal(store, 0), refusal(store, 0, "theirs")]

    assert all(isinstance(error, StoreError) for error in errors)
    assert all("has no configuration in the store, from which it could be trained again" in str(e) for e in errors)


def test_provenance_is_read_with_a_trial_and_with_curves_and_left_out_of_listings(
    store: Store, study: StoredStudy
) -> None:
    worker = Claimant(store, study)
    claim = begun(store, worker, CONFIG)
    provenance = {"seed": 7, "versions": {"torch": "2.6"}}
    assert write(store, describe_trial, claim, config=CONFIG, from_epoch=0, provenance=json.dumps(provenance))
    begun(store, worker, CONFIG)  # without one, as of an earlier release
    found = Study(store, "synthetic")

    listed = found.trials(has_curves=False)

    assert [trial.provenance for trial in found.trials()] == [provenance, {}]
    assert [trial.provenance for trial in listed] == [None, None]
    assert ["provenance" in trial.to_json() for trial in (*listed, *found.trials())] == [False, False, True, True]
