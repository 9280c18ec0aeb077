"""`study.plot`: what its figures show, and that they show hostile texts as text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from projects.reported import add_trials
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import SpecError
from hpo.printable import printable
from hpo.queue.studies import StoredStudy
from hpo.service.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

OURS = re.compile(r"</?(br|sub|extra)>|<extra>Trial</extra>")  # tags that figures themselves have
FIGURES = ("history", "curves", "importance", "timeline", "parallel", "slice", "contour")


@pytest.fixture
def searched(store: Store) -> Study:
    """Thirty complete trials, three that were pruned, two that failed."""
    study = create_study(store, sampler="random", pruner="none")
    add_trials(store, study, complete=30)
    return Study(store, study.name)


def texts_of(figure: Any) -> Iterator[str]:
    """All texts of a figure, also within lists."""

    def within(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, item in value.items():
                if key != "template":
                    yield from within(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from within(item)

    yield from within(figure.to_plotly_json())


def named(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def test_the_history_has_pruned_trials_and_the_best_so_far(searched: Study) -> None:
    figure = searched.plot.history()

    assert list(named(figure, "complete").y) == [record.value for record in searched.trials()[:30]]
    assert list(named(figure, "pruned, or not at its end").x) == [30, 31, 32]
    best = named(figure, "the best so far")
    assert (best.x[0], best.y[0], best.x[-1], best.y[-1]) == (0, 0.5, 34, 0.79)
    assert figure.layout.yaxis.title.text == "val_accuracy (maximize)"


def test_the_curves_have_every_epoch_and_the_best_on_top(searched: Study) -> None:
    figure = searched.plot.curves()
    losses = searched.plot.curves("val_loss")

    assert figure.data[-1].name == "the best, trial 29"
    assert list(figure.data[-1].x) == [*range(1, 10), None]
    assert figure.data[-1].y[8] == pytest.approx(0.79)
    pruned = [value for value in named(figure, "pruned, or not at its end").x if value is not None]
    assert pruned == [1, 2, 3] * 3 + [1, 1]
    assert losses.data[-1].y[8] == pytest.approx(0.21)
    with pytest.raises(SpecError, match="no epoch has 'val_los', did you mean 'val_loss'"):
        searched.plot.curves("val_los")


def test_the_importances_are_those_of_the_study(searched: Study) -> None:
    figure = searched.plot.importance()

    assert dict(zip(figure.data[0].y, figure.data[0].x, strict=True)) == {
        one.name: one.value for one in searched.importance().parameters
    }


def test_a_trial_that_waited_at_a_rung_has_two_bars(store: Store) -> None:
    study = create_study(store, pruner={"name": "asha", "min_epochs": 1}, sampler="random")
    worker = Claimant(store, study)
    first, second = begin_next(worker, 0.5), begin_next(worker, 0.4)
    worker.pause_at_rung(first)
    worker.pause_at_rung(second)
    again = worker.claim(is_last=True)
    assert again is not None
    assert worker.finish(again, 0.6)

    figure = Study(store, study.name).plot.timeline()

    numbers = [number for trace in figure.data for number in trace.y]
    assert sorted(numbers) == [0, 0, 1]
    assert len(named(figure, "complete").y) == 2
    assert any("attempt 2" in text for text in texts_of(figure))


def test_optunas_figures_have_the_complete_trials(searched: Study) -> None:
    parallel = searched.plot.parallel()
    slices = searched.plot.slice(["lr", "depth"])
    contour = searched.plot.contour(["lr", "depth"])

    assert sum(trace.mode == "lines" for trace in parallel.data) == 30
    assert [len(trace.x) for trace in slices.data] == [30, 30]
    assert {trace.type for trace in contour.data} == {"contour", "scatter"}
    assert contour.layout.title.text == "synthetic: contour"
    with pytest.raises(SpecError, match="no complete trial has 'lrr', did you mean 'lr'"):
        searched.plot.slice(["lrr"])


def test_a_front_of_two_objectives_is_drawn_and_one_objective_has_none(store: Store, searched: Study) -> None:
    objectives = [{"metric": "val_accuracy", "direction": "maximize"}, "parameters"]
    two = create_study(store, study="two", objective=objectives, pruner="none", sampler="random")
    worker = Claimant(store, two)
    for point in ((0.5, 500.0), (0.9, 900.0), (0.4, 600.0)):
        claim = begin_next(worker)
        worker.report(claim, 1, *point)
        assert worker.finish(claim, *point, best_epoch=1)
    study = Study(store, "two")

    figure = study.plot.pareto()
    sizes = study.plot.history("parameters")

    assert sorted(zip(named(figure, "on the front").x, named(figure, "on the front").y, strict=True)) == [
        (0.5, 500.0),
        (0.9, 900.0),
    ]
    assert list(named(figure, "behind it").x) == [0.4]
    assert list(named(sizes, "complete").y) == [500.0, 900.0, 600.0]
    assert study.plot.parallel().data
    assert study.plot.slice(objective="parameters").layout.yaxis.title.text == "parameters"
    with pytest.raises(SpecError, match=r"there is no 'size'\. There are val_accuracy, parameters"):
        study.plot.history("size")
    with pytest.raises(SpecError, match="name two or three of val_accuracy, parameters"):
        study.plot.pareto(["parameters"])
    with pytest.raises(SpecError, match="has one objective"):
        searched.plot.pareto()


def test_a_study_without_trials_has_figures_that_say_so(store: Store) -> None:
    study = Study(store, create_study(store).name)

    for name in FIGURES:
        figure = getattr(study.plot, name)()
        assert not figure.data
        assert figure.layout.annotations[0].text


def test_hostile_names_and_choices_are_texts_without_tags(store: Store) -> None:
    name, parameter = "<b>study</b>\x1b[2J", '<a href="javascript:alert(1)">lr</a>'
    choices = ("<i>adam</i>", "\u202esgd<br>")
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(study_name=name, storage=storage)

        def objective(trial: optuna.Trial) -> float:
            trial.report(0.5, 1)
            trial.report(0.6, 2)
            return trial.suggest_float("x", 0, 1) + (trial.suggest_categorical(parameter, choices) == choices[0])

        theirs.optimize(objective, n_trials=30)
    study = Study(store, name)

    for figure in (getattr(study.plot, kind)() for kind in FIGURES):
        for text in texts_of(figure):
            assert "<" not in OURS.sub("", text), text
            assert printable(text) == text
        assert "&lt;b&gt;study&lt;/b&gt;" in figure.layout.title.text
        assert len(figure.to_json()) < 300_000


def test_without_plotly_it_says_what_installs_it(searched: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)

    with pytest.raises(SpecError, match=r"pip install 'hpo-service\[notebook\]'"):
        searched.plot  # noqa: B018


def test_of_many_trials_some_are_drawn_with_the_best(store: Store, study: StoredStudy) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(study_name="large", storage=storage, direction="maximize")
        ranges: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
        theirs.add_trials(
            [
                optuna.create_trial(params={"x": place / 600}, distributions=ranges, value=float(place == 301))
                for place in range(600)
            ]
        )

    figure = Study(store, "large").plot.parallel()

    lines = sum(trace.mode == "lines" for trace in figure.data)
    assert 400 <= lines <= 410
    assert figure.layout.title.text == f"large: parallel coordinates ({lines} of 600 complete trials)"
