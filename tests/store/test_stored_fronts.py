"""A study of two objectives in a store: what is stored, ranked, kept, told and ended, where directions are joined."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from projects.synthetic import Claimant, begin_next, create_study
from stores import write

from hpo.cli.pareto import _plot
from hpo.doctor.examination import examine_database
from hpo.errors import SpecError
from hpo.queue.best import best_trials, unneeded_checkpoints
from hpo.queue.budget import spent_of
from hpo.queue.claim import Claim
from hpo.queue.control import set_limits
from hpo.queue.front import objectives_of
from hpo.queue.idle import end_idle_trials
from hpo.queue.progress import load_progress
from hpo.queue.report import report_epoch
from hpo.queue.studies import StoredStudy
from hpo.report.reading import read_material
from hpo.report.report import report_of
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.service.watch import EventKind, Watch
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

TWO = [{"metric": "val_accuracy", "direction": "maximize"}, "parameters"]
TARGET = {"hypervolume": 500.0, "reference": {"val_accuracy": 0.0, "parameters": 1000.0}}
POINTS = [(0.5, 500.0), (0.4, 600.0), (0.9, 900.0), (0.2, 100.0), (0.9, 950.0)]  # the front: 2, 0, 3


def two(store: Store, **keys: Any) -> StoredStudy:
    return create_study(store, **({"objective": TWO, "pruner": "none"} | keys))


def trained(worker: Claimant, *points: tuple[float, float], **more: Any) -> list[Claim]:
    """A complete trial of one epoch for each of these points."""
    claims = []
    for point in points:
        claim = begin_next(worker)
        worker.report(claim, 1, *point)
        assert worker.finish(claim, *point, best_epoch=1, **more)
        claims.append(claim)
    return claims


def test_optuna_reads_both_objectives_and_their_names(store: Store) -> None:
    trained(Claimant(store, two(store)), *POINTS)

    with optuna_storage(store.url) as storage:
        study = optuna.load_study(study_name="synthetic", storage=storage)

        assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
        assert study.metric_names == ["val_accuracy", "parameters"]
        assert sorted(trial.number for trial in study.best_trials) == [0, 2, 3]
        assert [tuple(trial.values) for trial in study.trials] == POINTS


def test_the_best_trials_are_the_front_by_the_first_objective(store: Store) -> None:
    study = two(store)
    trained(Claimant(store, study), *POINTS)
    found = Study(store, study.name)

    assert [record.number for record in found.best(None)] == [2, 0, 3]
    assert [record.number for record in found.best(1)] == [2]
    assert found.best(None)[1].values == (0.5, 500.0)
    with store.read() as connection:
        ranking = best_trials(connection, study.study_id, found.objectives)
    assert [row.number for row in ranking] == [2, 0, 3, 4, 1]
    status, [listed] = found.status(), list_studies(store)
    assert status.best is listed.best is None
    assert status.on_front == listed.on_front == 3


def test_a_trial_is_a_row_only_once_in_everything_that_counts_trials(store: Store) -> None:
    study = two(store)
    trained(Claimant(store, study), *POINTS)
    found = Study(store, study.name)

    assert load_progress(store, study.study_id).counts.complete == len(POINTS)
    assert found.status().counts["complete"] == len(POINTS)
    assert [record.number for record in found.trials()] == list(range(len(POINTS)))
    assert list(found.frame(columns="number,value,parameters")["parameters"]) == [point[1] for point in POINTS]
    assert [one for one in examine_database(store.url) if one.level == "problem"] == []


def test_only_the_module_of_the_front_joins_directions() -> None:
    """A query that joins Optuna's table of directions has each trial as often as there are objectives."""
    package = Path(__file__).parents[2] / "hpo"
    using = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"\bstudy_directions\b", path.read_text(encoding="utf-8"))
    }

    assert using == {"store/tables.py", "queue/front.py", "queue/studies.py", "doctor/rows.py"}


def test_while_no_trial_is_complete_the_others_are_the_front_by_their_best_epochs(store: Store) -> None:
    study = two(store)
    worker = Claimant(store, study)
    for points in ([(0.5, 500.0), (0.6, 500.0), (0.1, 500.0)], [(0.4, 600.0)], [(0.3, 100.0)]):
        claim = begin_next(worker)
        for epoch, point in enumerate(points, start=1):
            worker.report(claim, epoch, *point)

    best = Study(store, study.name).best(None)

    assert [(record.number, record.values) for record in best] == [(0, (0.6, 500.0)), (2, (0.3, 100.0))]


def test_a_pruned_trial_keeps_both_values_of_its_last_epoch(store: Store) -> None:
    study = two(store)
    worker = Claimant(store, study)
    claim = begin_next(worker)
    worker.report(claim, 1, 0.9, 10.0)
    worker.report(claim, 2, 0.5, 20.0)
    worker.pause_at_rung(claim)
    with store.write() as connection:
        end_idle_trials(connection, study.study_id, limit="its hours are spent")

    with optuna_storage(store.url) as storage:
        [trial] = optuna.load_study(study_name="synthetic", storage=storage).trials
    assert (trial.state.name, trial.values) == ("PRUNED", [0.5, 20.0])
    assert Study(store, study.name).trials()[0].values == (0.9, 10.0)


# ---- checkpoints


def test_the_checkpoints_of_the_whole_front_are_kept(store: Store, tmp_path: Path) -> None:
    study = two(store)
    worker = Claimant(store, study)
    for number, point in enumerate(POINTS):
        trained(worker, point, checkpoint=str(tmp_path / f"{number}.ckpt"))
    objectives = Study(store, study.name).objectives

    def unneeded(keep: int) -> list[str]:
        return sorted(path.stem for _, path in unneeded_checkpoints(store, study.study_id, objectives, keep=keep))

    assert unneeded(1) == ["1", "4"]
    assert unneeded(4) == ["1"]
    assert unneeded(0) == ["0", "1", "2", "3", "4"]


# ---- budgets


def test_the_hypervolume_of_the_front_is_a_target(store: Store) -> None:
    study = two(store, budget={"trials": 9, "target": TARGET})
    worker = Claimant(store, study)
    trained(worker, (0.5, 500.0), (0.4, 600.0))
    spent = load_progress(store, study.study_id).spent
    assert spent is not None
    assert spent.best == pytest.approx(250.0)

    trained(worker, (0.9, 100.0))

    progress = load_progress(store, study.study_id)
    assert progress.limit == "the target of a hypervolume of 500 is reached: 810"
    assert progress.is_over
    assert worker.claim() is None


def test_patience_counts_the_trials_since_one_has_enlarged_the_front(store: Store) -> None:
    study = two(store, budget={"trials": 9, "patience": 2})
    worker = Claimant(store, study)
    trained(worker, (0.5, 500.0), (0.4, 600.0), (0.1, 100.0), (0.5, 500.0))
    assert load_progress(store, study.study_id).limit is None

    trained(worker, (0.05, 100.0))

    assert load_progress(store, study.study_id).limit == "2 trials ended without one that enlarges the front"


def test_a_target_is_set_only_where_there_is_a_reference(store: Store) -> None:
    plain, study = two(store, study="plain"), two(store, budget={"trials": 9, "target": TARGET})

    with pytest.raises(SpecError, match="has 2 objectives, so that its target is a hypervolume"):
        set_limits(store, plain.name, ["target=0.9"])
    assert "target 900" in set_limits(store, study.name, ["target=900"])
    with store.read() as connection:
        objectives = objectives_of(connection, study.study_id)
        assert objectives.reference == (0.0, 1000.0)
        assert spent_of(connection, study.study_id, objectives).best == 0.0


# ---- several workers


def test_workers_know_each_others_objectives(store: Store) -> None:
    pruner = {"name": "asha", "eta": 2, "min_epochs": 1}
    study = two(store, pruner=pruner)
    one, other = Claimant(store, study), Claimant(store, study)
    first = begin_next(one)
    one.report(first, 1, 0.5, 500.0)
    one.pause_at_rung(first)
    second = begin_next(one)

    other.history.sync()
    behind, _ = one.report(second, 1, 0.4, 400.0)  # on the front
    other.history.sync()

    assert other.history.further(0, 1) == (500.0,)
    assert other.history.further(1, 1) == (400.0,)
    assert behind  # one of two goes on, and the first objective comes first
    assert other.history.promotable() == [0]


def test_a_lost_workers_trial_goes_on_with_what_it_has_reported(store: Store) -> None:
    study = two(store)
    worker = Claimant(store, study)
    claim = begin_next(worker)
    worker.report(claim, 1, 0.5, 500.0)

    after = Claimant(store, study).history
    after.sync()

    assert after.curve(0) == {1: 0.5}
    assert after.further(0, 1) == (500.0,)


def test_an_epoch_without_all_objectives_is_no_point(store: Store) -> None:
    study = two(store)
    worker = Claimant(store, study)
    claim = begin_next(worker)
    write(
        store, report_epoch, claim, epoch=1, value=0.9, metrics={"val_accuracy": 0.9}, seconds=1.0, system_attributes={}
    )
    worker.report(claim, 2, 0.5, 500.0)

    assert Study(store, study.name).trials()[0].values == (0.5, 500.0)


# ---- what people look at


def test_a_trial_that_enlarges_the_front_is_told(store: Store) -> None:
    study = two(store)
    watch = Watch(store, study.study_id, Study(store, study.name).objectives)
    trained(Claimant(store, study), *POINTS)

    told = [event.number for event in watch.look()[0] if event.kind == EventKind.BEST_CHANGED]

    assert told == [0, 2, 3]


def test_a_study_of_two_objectives_is_compared_by_its_front(store: Store) -> None:
    study, other = two(store), two(store, study="other", objective=[TWO[0], "seconds_per_epoch"])
    trained(Claimant(store, study), *POINTS)

    found = Study(store, study.name).diff(Study(store, other.name))

    outcome = {one.name: one.a for one in found.outcome}
    assert (outcome["trials on the front"], outcome["best val_accuracy"], outcome["best parameters"]) == (3, 0.9, 100.0)
    assert not found.is_comparable


def test_a_report_shows_the_front(store: Store) -> None:
    study = two(store, budget={"trials": 9, "target": TARGET})
    trained(Claimant(store, study), *POINTS)

    report = report_of(read_material(store, study.name))

    assert any("maximize val_accuracy, minimize parameters" in fact for fact in report.facts)
    best = next(section for section in report.sections if section.key == "best")
    text = repr(best.blocks)
    assert "no other one beats in an objective" in text
    assert "hypervolume of 370" in text


def test_the_front_is_drawn_in_the_terminal(store: Store) -> None:
    study = two(store)
    trained(Claimant(store, study), *POINTS)

    lines = _plot(Study(store, study.name).front(), 1, columns=60)

    marks = "\n".join(line.partition("|")[2] for line in lines if "|" in line)
    assert (marks.count("o"), marks.count(".")) == (3, 2)
    assert lines[0] == "val_accuracy (maximize)"
    assert "parameters (minimize)" in lines[-1]


def test_a_study_of_one_objective_has_no_front(store: Store) -> None:
    study = create_study(store)

    with pytest.raises(SpecError, match="study 'synthetic' has one objective, and so a best trial"):
        Study(store, study.name).front()


def test_json_of_a_front_has_its_objectives(store: Store) -> None:
    study = two(store, budget={"trials": 9, "target": TARGET})
    trained(Claimant(store, study), *POINTS)

    plain = json.loads(json.dumps(Study(store, study.name).front().to_json()))

    assert plain["objectives"][1] == {"metric": "parameters", "direction": "minimize"}
    assert [trial["number"] for trial in plain["front"]] == [2, 0, 3]
    assert plain["hypervolume"] == pytest.approx(0.9 * 100 + 0.5 * 400 + 0.2 * 400)
