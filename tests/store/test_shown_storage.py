"""What the dashboard's storage reads of a large study."""

from __future__ import annotations

from projects.synthetic import Claimant, begin_next, create_study

from hpo.dashboard.storage import ShownStorage
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage


class Few(ShownStorage):
    """For which five trials are many."""

    newest = 3
    best = 2


def finish(worker: Claimant, *values: float) -> None:
    for value in values:
        assert worker.finish(begin_next(worker, value), value, best_epoch=1)


def test_of_a_large_study_the_newest_and_the_best_trials_are_read_and_a_note_says_so(store: Store) -> None:
    study = create_study(store)
    worker = Claimant(store, study)
    finish(worker, 0.1, 0.9, 0.2, 0.8, 0.3)
    with optuna_storage(store.url, kind=Few) as storage:
        assert len(storage.get_all_trials(study.study_id)) == 5
        assert "are shown" not in storage.get_all_studies()[0].system_attrs["dashboard:note_str:0"]

        finish(worker, 0.4, 0.5)

        assert [trial.number for trial in storage.get_all_trials(study.study_id)] == [1, 3, 4, 5, 6]
        note = storage.get_all_studies()[0].system_attrs["dashboard:note_str:0"]
        assert note.startswith("Of the first 7 trials, the newest 3 and the best 2 before them are shown")
        assert "hpo trials synthetic --csv" in note
        assert storage.get_best_trial(study.study_id).number == 1


def test_the_trials_that_a_page_has_stay_where_they_are(store: Store) -> None:
    study = create_study(store)
    worker = Claimant(store, study)
    finish(worker, 0.1, 0.9, 0.2, 0.8, 0.3, 0.4, 0.5)
    with optuna_storage(store.url, kind=Few) as storage:
        before = [trial.number for trial in storage.get_all_trials(study.study_id)]
        finish(worker, 0.99, 0.6)

        after = [trial.number for trial in storage.get_all_trials(study.study_id)]

    assert after == [*before, 7, 8]
