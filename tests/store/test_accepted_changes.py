"""A study that goes on with other data or code: its earlier trials are marked, and compared no more."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from projects.synthetic import Claimant, begin_next, create_study, open_history
from sqlalchemy import select
from stores import hand_back

from hpo.errors import StoreError
from hpo.queue.best import unneeded_checkpoints
from hpo.queue.claim import Claim, claim_trial
from hpo.queue.studies import StoredStudy, create_or_continue, load_study
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import trial_user_attributes
from hpo.study.objectives import Objectives
from hpo.study.states import Direction, TrialState

BEFORE, AFTER = {"data a.csv": "1", "code nets.py": "1"}, {"data a.csv": "2", "code nets.py": "1"}


@pytest.fixture
def begun(store: Store) -> StoredStudy:
    study = create_study(store, sampler="random", budget={"trials": 20})
    return create_or_continue(store, replace(study.resolved, inputs=BEFORE))[0]


def changed(store: Store, study: StoredStudy) -> tuple[StoredStudy, str]:
    return create_or_continue(store, replace(study.resolved, inputs=AFTER), is_change_accepted=True)


def test_a_study_whose_data_was_changed_is_refused_in_words_and_stays_as_it_is(
    store: Store, begun: StoredStudy
) -> None:
    with pytest.raises(StoreError) as refused:
        create_or_continue(store, replace(begun.resolved, inputs=AFTER))

    assert "study 'synthetic' began with other data or code:\n  data a.csv: other contents\n" in str(refused.value)
    assert "--accept-changes" in str(refused.value)
    assert load_study(store, begun.name).resolved.inputs == BEFORE
    assert create_or_continue(store, begun.resolved)[1].startswith("study synthetic continued")


def test_a_study_of_an_earlier_release_takes_the_fingerprints_of_its_next_continuation(store: Store) -> None:
    study = create_study(store)
    assert study.resolved.inputs == {}

    create_or_continue(store, replace(study.resolved, inputs=BEFORE))

    assert load_study(store, study.name).resolved.inputs == BEFORE
    with pytest.raises(StoreError, match="other data or code"):
        create_or_continue(store, replace(study.resolved, inputs=AFTER))
    create_or_continue(store, study.resolved)  # one that does not know its own keeps them
    assert load_study(store, study.name).resolved.inputs == BEFORE


def test_trials_from_before_the_change_are_kept_and_never_the_best(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    worker.finish(begin_next(worker, 0.9), 0.9, checkpoint="/art/0/best.ckpt")

    study, message = changed(store, begun)
    none_yet = Study(store, study.name).best()
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    assert message.endswith("; 1 trial from before the change is kept, and compared no more")
    assert none_yet == []
    assert [(record.number, record.value) for record in Study(store, study.name).best(5)] == [(1, 0.5)]
    first, second = Study(store, study.name).trials()
    assert (first.state, first.value, first.before_change) == ("complete", 0.9, "data a.csv: other contents")
    assert first.explanation == "from before a change (data a.csv: other contents)"
    assert (second.before_change, second.explanation) == (None, None)
    assert unneeded_checkpoints(store, study.study_id, Objectives((Direction.MAXIMIZE,)), keep=1) == []
    assert Study(store, study.name).status().counts["complete"] == 2  # what was spent stays spent


def test_those_that_wait_are_trained_later_and_those_that_had_begun_are_ended(store: Store, begun: StoredStudy) -> None:
    workers = [Claimant(store, begun) for _ in range(3)]
    paused, idle, empty = begin_next(workers[0], 0.6), begin_next(workers[1], 0.7), begin_next(workers[2])
    workers[0].pause_at_rung(paused)
    hand_back(store, idle)
    hand_back(store, empty)

    changed(store, begun)

    found = Study(store, begun.name).trials()
    assert [(record.state, record.value) for record in found] == [
        (TrialState.PRUNED, 0.6),
        (TrialState.PRUNED, 0.7),
        (TrialState.FAILED, None),
    ]
    assert {record.cause for record in found} == {"stopped: data a.csv: other contents"}
    assert Study(store, begun.name).best() == []


def test_a_change_is_not_accepted_while_trials_are_trained(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    begin_next(worker, 0.6)

    with pytest.raises(StoreError, match=r"is being trained \(trial 0 by here:1\): 'hpo pause synthetic' first"):
        changed(store, begun)

    assert load_study(store, begun.name).resolved.inputs == BEFORE
    assert Study(store, begun.name).trials()[0].before_change is None


def test_a_worker_that_has_the_former_code_claims_nothing_more(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    study, _ = changed(store, begun)

    def claim(known: StoredStudy) -> Claim | None:
        return claim_trial(store, study.study_id, worker_id=worker.worker_id, slot=0, device="cpu", known=known)

    assert claim(begun) is None
    assert claim(study) is not None


def test_samplers_learn_nothing_from_before_the_change(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    for value in (0.9, 0.8):
        worker.finish(begin_next(worker, value), value)
    study, _ = changed(store, begun)
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    history = open_history(store, study)

    history.sync()

    learned = history._study.get_trials(deepcopy=False)
    assert [trial.state.name for trial in learned] == ["FAIL", "FAIL", "COMPLETE"]
    assert [trial.intermediate_values for trial in learned] == [{}, {}, {1: 0.5}]


def test_optuna_and_its_dashboard_do_not_call_them_the_best_either(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    worker.finish(begin_next(worker, 0.9), 0.9)
    study, _ = changed(store, begun)
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    with optuna_storage(store.url) as storage:
        assert optuna.load_study(study_name=study.name, storage=storage).best_trial.number == 1
    with store.read() as connection:
        notes = connection.execute(select(trial_user_attributes.c.key, trial_user_attributes.c.value_json)).all()
    assert ("before_change", '"data a.csv: other contents"') in [tuple(note) for note in notes]


def test_a_second_change_marks_the_trials_in_between(store: Store, begun: StoredStudy) -> None:
    worker = Claimant(store, begun)
    worker.finish(begin_next(worker, 0.9), 0.9)
    study, _ = changed(store, begun)
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    _, message = create_or_continue(store, begun.resolved, is_change_accepted=True)  # back to what was

    assert "; 1 trial from before the change is kept" in message
    assert [record.before_change is None for record in Study(store, begun.name).trials()] == [False, False]
