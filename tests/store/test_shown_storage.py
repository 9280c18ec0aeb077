"""What the dashboard's storage reads: of a large study, in notes, and as files of trials."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from projects.synthetic import Claimant, begin_next, create_study

from hpo.dashboard.files import TrialFiles
from hpo.dashboard.storage import ShownStorage
from hpo.queue.findings import add_finding
from hpo.results.final import FINAL
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.web.ops.addresses import of_study


class Few(ShownStorage):
    """For which five trials are many."""

    newest = 3
    best = 2


@contextmanager
def shown(store: Store) -> Iterator[ShownStorage]:
    with optuna_storage(store.url, kind=ShownStorage) as storage:
        assert isinstance(storage, ShownStorage)
        yield storage


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


def test_a_note_links_to_the_studys_page_where_there_is_one(store: Store) -> None:
    create_study(store, study="a b")
    with shown(store) as storage:
        assert "](" not in storage.get_all_studies()[0].system_attrs["dashboard:note_str:0"]
    with shown(store) as storage:
        storage.notes.page_of = of_study

        assert (
            "[what runs now](/ops/studies/a%20b)" in storage.get_all_studies()[0].system_attrs["dashboard:note_str:0"]
        )


def test_the_trial_that_won_has_the_confusion_matrix_of_its_final_model(store: Store, tmp_path: Path) -> None:
    study = create_study(store)
    finish(Claimant(store, study), 0.1, 0.9)
    attached = FileSystemArtifactStore(tmp_path)
    with shown(store) as storage:
        files = TrialFiles(storage.engine, tmp_path, attached)
        assert confusions(storage, study.study_id) == [None, None]

        tell(store, study.study_id, winner=0, validation={"part": "validation", "confusion": [[3]]})
        first, second = confusions(storage, study.study_id)
        assert second is None
        assert first is not None
        with files.open_reader(first) as file:
            assert file.read().decode().splitlines() == ['"true, on the validation part",predicted 0', "0,3"]

        classes = [{"name": "cat"}, {"name": "a, b\ud800"}]
        tested = {"part": "test", "confusion": [[5, 1], [0, 6]], "classes": classes}
        tell(store, study.study_id, winner=1, validation={"part": "validation", "confusion": [[3]]}, test=tested)
        first, second = confusions(storage, study.study_id)
        assert first is None
        assert second is not None
        with files.open_reader(second) as file:
            rows = list(csv.reader(io.TextIOWrapper(file)))
        assert rows == [
            ["true, on the test part", "predicted cat", "predicted a, b\\ud800"],
            ["cat", "5", "1"],
            ["a, b\\ud800", "0", "6"],
        ]

        tell(store, study.study_id, winner=1, validation={"part": "validation", "residuals": {}})
        assert confusions(storage, study.study_id) == [None, None]


def tell(store: Store, study_id: int, **content: Any) -> None:
    with store.write() as connection:
        add_finding(connection, study_id, FINAL, content)


def confusions(storage: ShownStorage, study_id: int) -> list[str | None]:
    """By trial, the id of the file."""
    found = []
    for trial in storage.get_all_trials(study_id):
        listed = get_all_artifact_meta(trial, storage=storage)
        found.append(next((one.artifact_id for one in listed if one.filename == "confusion.csv"), None))
    return found


def test_the_versions_of_the_schema_are_optunas_and_read_once(store: Store) -> None:
    with shown(store) as storage, optuna_storage(store.url) as optunas:
        assert storage.get_current_version() == optunas.get_current_version()
        assert storage.get_head_version() == optunas.get_head_version()
        assert storage.get_all_versions() == optunas.get_all_versions()
        assert storage.get_all_versions() is storage.get_all_versions()
