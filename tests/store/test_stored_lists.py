"""Choices that are lists or mappings in the store: a label for Optuna, the value for everybody else."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from projects.synthetic import Claimant, create_study

from hpo.doctor.examination import examine
from hpo.errors import SpecError
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.service.points import point_of_words, read_points
from hpo.space import Choice, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

SGD = {"name": "sgd", "lr": 0.1}
SPACE = SearchSpace(
    (
        Parameter("hidden", Choice([64, 64], [128], None), default=[128], has_default=True),
        Parameter("optim", Choice({"name": "adam"}, SGD), default=SGD, has_default=True),
        Parameter("depth", Choice(1, 2), when={"hidden": ([128],)}),
    )
)


@pytest.fixture
def study(store: Store) -> StoredStudy:
    return create_study(store, SPACE, sampler="random")


def test_points_and_samples_are_recorded_as_what_they_are(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, study.name, [point_of_words(["hidden=[64,64]", "optim={name: sgd, lr: 0.1}"])])
    worker = Claimant(store, study)

    points = []
    for _ in range(8):
        claim = worker.claim()
        assert claim is not None
        points.append(worker.begin(claim))

    assert points[0] == {"hidden": [64, 64], "optim": SGD}
    assert {str(point["hidden"]) for point in points} == {"[64, 64]", "[128]", "None"}
    assert all(("depth" in point) == (point["hidden"] == [128]) for point in points)
    assert [record.params for record in Study(store, study.name).trials()] == points
    assert list(Study(store, study.name).frame()["params_hidden"]) == [point["hidden"] for point in points]


def test_optuna_reads_and_enqueues_labels(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, study.name, [Point({"hidden": [64, 64]})])
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=study.name, storage=storage)
        theirs.enqueue_trial({"hidden": "[128]", "optim": '{"name": "sgd", "lr": 0.1}'})
    worker = Claimant(store, study)

    claims = [worker.claim(), worker.claim()]
    first, second = [worker.begin(claim) for claim in claims if claim is not None]

    assert first["hidden"] == [64, 64]
    assert (second["hidden"], second["optim"]) == ([128], SGD)
    with optuna_storage(store.url) as storage:
        trials = optuna.load_study(study_name=study.name, storage=storage).trials
    assert [trial.params["hidden"] for trial in trials] == ["[64, 64]", "[128]"]


def test_an_equal_point_is_known_however_it_is_written(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    enqueue_points(store, study.name, [Point({"optim": SGD, "hidden": None})])
    file = tmp_path / "points.csv"
    file.write_text('hidden,optim\nnull,"{lr: 0.1, name: sgd}"\n')

    again = enqueue_points(store, study.name, read_points(file))

    assert again.numbers == (0,)
    assert again.waiting_already == {0}


def test_a_list_that_is_no_choice_is_refused_in_the_users_words(store: Store, study: StoredStudy) -> None:
    with pytest.raises(SpecError, match=r"'hidden': \[32\] is not one of \[64, 64\], \[128\], None"):
        enqueue_points(store, study.name, [point_of_words(["hidden=[32]"])])


def test_a_worker_that_comes_later_learns_from_lists(store: Store, study: StoredStudy) -> None:
    first = Claimant(store, study)
    claim = first.claim()
    assert claim is not None
    point = first.begin(claim)
    first.report(claim, 1, 0.5)

    later = Claimant(store, study)
    later.history.sync()
    claim = later.claim()
    assert claim is not None

    assert SPACE.contains(later.begin(claim))
    assert SPACE.contains(point)


def test_the_doctor_finds_nothing_wrong_with_lists(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    enqueue_points(store, study.name, [Point({"hidden": [128]}), Point({"hidden": [64, 64]})])
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)

    found = [finding for finding in examine(store.url, artifacts=tmp_path) if finding.about == "studies"]

    assert [finding.level for finding in found] == ["ok"], found
