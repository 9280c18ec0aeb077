"""What a notebook's cell shows of results: tables without a script, with hostile texts as text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import optuna
import pytest
from projects.reported import add_final, add_trials, final_of
from projects.synthetic import Claimant, begin_next, create_study

from hpo.printable import in_a_line, printable
from hpo.report.importances import importances_of
from hpo.service.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

NAME = "<script>alert(1)</script>\x1b[2J&amp;"
PARAMETER = '"><img src=x onerror=alert(1)>\u202e'
CHOICES = ("</td></table><iframe>", "\x1b]0;t\x07'\"&lt;b&gt;")
TAGS, ATTRIBUTES = {"div", "table", "tr", "th", "td"}, {"style"}


class Cell(HTMLParser):
    """The tags, attributes and texts of a cell; its tags match each other."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, set[str]] = {}
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        assert set(self.tags) <= TAGS
        assert set(self.attributes) <= ATTRIBUTES
        assert "url" not in str(self.attributes)
        assert printable(html) == html

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def hostile(store: Store) -> Study:
    """A study of another program, of which every name and every choice is hostile."""
    with optuna_storage(store.url) as storage:
        study = optuna.create_study(study_name=NAME, storage=storage)

        def objective(trial: optuna.Trial) -> float:
            choice = trial.suggest_categorical(PARAMETER, CHOICES)
            return trial.suggest_float("x", 0, 1) + (choice == CHOICES[0])

        study.optimize(objective, n_trials=4)
    return Study(store, NAME)


def test_hostile_names_and_values_are_shown_as_text(hostile: Study) -> None:
    for shown in (hostile, hostile.status(), hostile.best(9), hostile.trials()[0], hostile.diff(hostile)):
        assert Cell(shown._repr_html_()).texts

    of_study = Cell(hostile._repr_html_()).texts
    assert f"{in_a_line(NAME)}: running" in of_study
    assert in_a_line(PARAMETER) in of_study
    assert in_a_line(CHOICES[0]) in of_study or in_a_line(CHOICES[1]) in of_study
    assert in_a_line(PARAMETER) in Cell(hostile.importance()._repr_html_()).texts or hostile.importance().remark
    assert repr(hostile) == f"<Study {NAME!r}>"


def test_a_hostile_failure_and_a_hostile_choice_are_shown_as_text(store: Store) -> None:
    worker = Claimant(store, create_study(store, sampler="random"))
    error = f"Traceback\nValueError: {NAME}"
    assert worker.finish(begin_next(worker), None, state="FAIL", cause="error: ValueError", error=error)

    [record] = Study(store, "synthetic").trials()
    cell = Cell(record._repr_html_())

    assert cell.texts[0].startswith("trial 0: failed after 0")
    assert f"error: ValueError: {in_a_line(NAME)}" in cell.texts


def test_a_study_shows_its_state_and_its_best_trials(store: Store) -> None:
    study = create_study(store, sampler="random", pruner="none")
    add_trials(store, study, complete=30)

    found = Study(store, study.name)
    texts = Cell(found._repr_html_()).texts
    all_of_them = Cell(found.trials()._repr_html_())

    assert "synthetic: running" in texts
    assert "30 complete, 3 pruned, 2 failed" in texts
    assert "0.79 by trial 29" in texts
    assert [text for text in ("29", "28", "27", "26", "25") if text in texts] == ["29", "28", "27", "26", "25"]
    assert "here:1 (0 of 1)" in texts
    assert "pruned after 3 epochs" in Cell(found.trial(30)._repr_html_()).texts[0]  # type: ignore[union-attr]
    assert "and 15 more" in all_of_them.texts
    assert all_of_them.tags.count("tr") == 21


def test_an_empty_list_and_a_deleted_study_say_so(store: Store) -> None:
    study = create_study(store)
    found = Study(store, study.name)

    assert Cell(found.best()._repr_html_()).texts == ["no trials"]
    assert "no trial has a value" in Cell(found._repr_html_()).texts
    found.delete()
    assert "stopped" in Cell(found._repr_html_()).texts[0]


def test_a_final_model_a_front_importances_and_differences_are_tables(store: Store) -> None:
    one = create_study(store, sampler="random", pruner="none")
    add_trials(store, one, complete=30)
    add_final(store, one, final_of(one.name, warnings=("<b>w</b>",)))
    objectives: Any = [{"metric": "val_accuracy", "direction": "maximize"}, "parameters"]
    two = create_study(store, study="two", objective=objectives, pruner="none", sampler="random")
    worker = Claimant(store, two)
    for point in ((0.5, 500.0), (0.9, 900.0), (0.4, 600.0)):
        claim = begin_next(worker)
        worker.report(claim, 1, *point)
        assert worker.finish(claim, *point, best_epoch=1)
    study, other = Study(store, one.name), Study(store, two.name)

    final = Cell(study.final()._repr_html_()).texts  # type: ignore[union-attr]
    front = Cell(other.front()._repr_html_()).texts
    importances = Cell(importances_of(store, one.name)._repr_html_()).texts
    differences = Cell(study.diff(other)._repr_html_()).texts

    assert final[0] == "synthetic: trial 2 of 9 is the best with fresh seeds"
    assert {"accuracy, test part", "0.025 (-0.04 to 0.09)", "<b>w</b>", "0.52 (0.495 to 0.545)"} <= set(final)
    assert front[0] == "two: 2 trials on the front, 1 behind it"
    assert {"val_accuracy", "parameters", "900", "500"} <= set(front)
    assert "600" not in front
    assert {"parameter", "importance", "lr", "optimizer", "depth"} <= set(importances)
    assert "study file" in differences
    assert {"val_accuracy", "parameters"} <= set(Cell(other._repr_html_()).texts)
