"""Trials that violate constraints in the store: never the best, known to other workers, and outside of the budget."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState as OptunaTrialState
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import insert, select

from hpo.queue.best import best_of_each, best_trials, needed_checkpoints
from hpo.queue.claim import Claim
from hpo.queue.progress import load_progress
from hpo.queue.report import finish_trial, report_epoch
from hpo.queue.studies import StoredStudy
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import trial_system_attributes, trials
from hpo.study.constraints import REFUSALS_THAT_STOP, as_attributes
from hpo.study.objectives import Objectives
from hpo.study.states import AttemptEnd, Direction, OptunaState
from hpo.worker.failures import Failures

UP = Objectives((Direction.MAXIMIZE,))


def begun(worker: Claimant, violation: float, *curve: float) -> Claim:
    """A trial that violates a constraint by so much, as its first epoch has shown."""
    claim = begin_next(worker)
    for epoch, value in enumerate(curve, start=1):
        worker.history.report(claim.number, epoch, value, violations={"val_recall": violation})
        with worker.store.write() as connection:
            report_epoch(
                connection,
                claim,
                epoch=epoch,
                value=value,
                metrics={"val_accuracy": value},
                seconds=1.0,
                system_attributes=as_attributes({"val_recall": violation}),
            )
    return claim


def refuse(worker: Claimant, violation: float = 0.5) -> None:
    claim = begin_next(worker)
    worker.history.constrain(claim.number, {"parameters": violation})
    cause = f"{AttemptEnd.REFUSED}: parameters < 1e6"
    with worker.store.write() as connection:
        finish_trial(
            connection,
            claim,
            state=OptunaState.FAIL,
            values=(),
            seconds=1.0,
            end=AttemptEnd.REFUSED,
            cause=cause,
            error="parameters 1,500,000, which should be < 1e6",
            system_attributes=as_attributes({"parameters": violation}),
        )
    worker.history.end(claim.number, OptunaTrialState.FAIL, (), cause=cause)


@pytest.fixture
def study(store: Store) -> StoredStudy:
    return create_study(store, sampler="random", budget={"trials": 5})


@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED"])
def test_an_infeasible_trial_is_never_the_best(store: Store, study: StoredStudy, state: str) -> None:
    worker = Claimant(store, study)
    for violation, value in ((0.2, 0.9), (0.0, 0.5), (-0.1, 0.6)):
        worker.finish(begun(worker, violation, value), value, state=state, checkpoint="/art/best.ckpt")

    found = Study(store, study.name)
    ids = {number: trial_id for trial_id, number in _numbers(store)}

    assert [record.number for record in found.best(5)] == [2, 1]
    assert [record.number for record in found.best(5, where="value > 0")] == [2, 1]
    assert [one.best.number for one in list_studies(store) if one.best] == [2]
    with store.read() as connection:
        ranked = best_trials(connection, study.study_id, UP)
        assert [row.number for row in ranked] == [2, 1]
        assert best_of_each(connection, {study.study_id: Direction.MAXIMIZE}) == {study.study_id: ids[2]}
        kept = needed_checkpoints(connection, study.study_id, UP, keep=2)
        assert kept == {ids[2], ids[1]}
        assert ids[0] in needed_checkpoints(connection, study.study_id, UP, keep=3)


def test_while_all_trials_are_infeasible_none_is_the_best(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    worker.finish(begun(worker, 0.2, 0.9), 0.9)
    begun(worker, 0.1, 0.8)

    found = Study(store, study.name)

    assert found.best(5) == []
    assert found.status().best is None
    assert [record.feasible for record in found.trials()] == [False, False]
    assert found.trials()[1].violations == {"val_recall": 0.1}
    assert found.trials()[1].explanation == "infeasible: val_recall"


def test_the_newest_epoch_tells_whether_a_trial_is_feasible(store: Store, study: StoredStudy) -> None:
    worker, other = Claimant(store, study), Claimant(store, study)
    claim = begun(worker, 0.3, 0.5)
    other.history.sync()
    assert other.history.violations(claim.number) == {"val_recall": 0.3}

    with store.write() as connection:
        report_epoch(
            connection, claim, epoch=2, value=0.7, metrics={}, seconds=2.0,
            system_attributes=as_attributes({"val_recall": -0.1}),
        )  # fmt: skip
    other.history.sync()

    assert other.history.violations(claim.number) == {"val_recall": -0.1}
    assert [record.number for record in Study(store, study.name).best(1)] == [claim.number]


def test_optuna_knows_what_a_trial_violates(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    worker.finish(begun(worker, 0.25, 0.9), 0.9)
    worker.finish(begun(worker, -0.5, 0.4), 0.4)

    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=study.name, storage=storage)
        assert [trial.constraints for trial in theirs.trials] == [{"val_recall": 0.25}, {"val_recall": -0.5}]
        assert theirs.best_trial.number == 1


def test_constraints_of_another_program_count_as_well(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    for value in (0.9, 0.8, 0.7, 0.6):
        worker.finish(begin_next(worker, value), value)
    ids = {number: trial_id for trial_id, number in _numbers(store)}
    with store.write() as connection:
        for number, text in ((0, "1"), (1, "Infinity"), (2, "0"), (3, "-Infinity")):
            row = {"trial_id": ids[number], "key": "constraints:theirs", "value_json": text}
            connection.execute(insert(trial_system_attributes).values(row))
        row = {"trial_id": ids[2], "key": "constraints", "value_json": "[1.0]"}
        connection.execute(insert(trial_system_attributes).values(row))

    assert [record.number for record in Study(store, study.name).best(5)] == [2, 3]


def test_refused_trials_spend_nothing_of_the_number_of_trials(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    for _ in range(3):
        refuse(worker)
        worker.finish(begin_next(worker, 0.5), 0.5)
    refuse(worker)
    for _ in range(2):
        worker.finish(begin_next(worker, 0.5), 0.5)

    assert worker.claim() is None
    progress = load_progress(store, study.study_id)
    assert progress.is_over
    assert (progress.counts.complete, progress.counts.failed, progress.counts.refused) == (5, 0, 4)
    assert progress.counts.ends_in_words == "5 complete, 0 pruned, 0 failed; 4 more refused for a constraint"
    assert Study(store, study.name).status().counts["failed"] == 4
    assert [one.counts["complete"] for one in list_studies(store)] == [5]
    assert [begun.number for begun in worker.history.begun()] == [1, 3, 5, 7, 8]  # those that a forecast counts
    other = Claimant(store, study)
    other.history.sync()
    assert [begun.number for begun in other.history.begun()] == [1, 3, 5, 7, 8]
    assert other.history.violations(0) == {"parameters": 0.5}


def test_refused_trials_do_not_use_up_the_patience(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"patience": 3})
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    for _ in range(4):
        refuse(worker)

    assert worker.claim() is not None


def test_many_refusals_in_a_row_stop_a_study_and_say_what_they_violate(store: Store, study: StoredStudy) -> None:
    worker, failures = Claimant(store, study), Failures(store)
    for number in range(REFUSALS_THAT_STOP):
        assert load_progress(store, study.study_id).reason is None, number
        refuse(worker)
        failures.add(study, AttemptEnd.REFUSED)

    progress = load_progress(store, study.study_id)

    assert progress.is_over
    assert progress.reason == (
        "100 trials in a row were refused before they trained: parameters < 1e6 (violated by 100)\nThe last one: "
        "parameters 1,500,000, which should be < 1e6. Widen the space to where these hold, or loosen them"
    )


def test_trials_are_asked_for_by_whether_they_are_feasible(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    worker.finish(begun(worker, 0.2, 0.9), 0.9)
    worker.finish(begun(worker, -0.2, 0.8), 0.8)
    refuse(worker)

    found = Study(store, study.name)

    assert [record.number for record in found.trials(where="feasible")] == [1]
    assert [record.number for record in found.trials(where="not feasible and value > 0")] == [0]
    assert list(found.frame(columns="number,feasible")["feasible"]) == [False, True, False]
    assert found.trials()[2].explanation == "refused: parameters < 1e6: parameters 1,500,000, which should be < 1e6"
    assert found.trials()[0].to_json()["feasible"] is False


def _numbers(store: Store) -> list[tuple[int, int]]:
    with store.read() as connection:
        return [(row.trial_id, row.number) for row in connection.execute(select(trials.c.trial_id, trials.c.number))]
