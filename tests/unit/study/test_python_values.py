"""What Python says where a study file has texts and mappings: classes, ranges, paths, and an objective's name alone."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from projects import nets

from hpo.errors import LoadError, SpecError
from hpo.loading import import_folder, label_of_class
from hpo.service.python import StudyKeys
from hpo.space import Choice, Float, Int
from hpo.study.python_values import as_in_a_file, direction_of
from hpo.study.spec import StudySpec
from hpo.study.states import Direction
from hpo.study.study_file import Source

KEYS: dict[str, Any] = {"study": "line", "model": nets.Line, "data": nets.Points, "objective": "val_loss"}


class Outer:
    """Holds a class that no import path of ours leads to."""

    class Inner:
        """Of `Outer`."""


def refused(**keys: Any) -> list[str]:
    """The lines of the message that refuses these keys."""
    with pytest.raises(SpecError) as caught:
        Source.of_mapping(KEYS | keys, call="hpo.run").study()
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Float(0, 1, log=False), {"low": 0.0, "high": 1.0, "log": False}),
        (Float(0, 1, step=0.5), {"low": 0.0, "high": 1.0, "log": False, "step": 0.5}),
        (Int(1, 8, log=True), {"low": 1, "high": 8, "log": True}),
        (Int(1, 8), {"low": 1, "high": 8, "log": False, "step": 1}),
        (Int(1, 9, step=2), {"low": 1, "high": 9, "log": False, "step": 2}),
        (Choice("adam", "sgd"), ["adam", "sgd"]),
        (nets.Line, "projects.nets:Line"),
        ({"class": nets.Line, "sizes": (1, 2)}, {"class": "projects.nets:Line", "sizes": [1, 2]}),
        (Path("data/x.csv"), "data/x.csv"),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (True, True),
        (None, None),
    ],
)
def test_values_are_written_as_a_file_would_have_them(value: object, written: object) -> None:
    found = as_in_a_file(value)

    assert found == written
    assert type(found) is type(written)


@pytest.mark.parametrize(
    "metric", ["val_accuracy", "val/acc", "valid.auroc", "F1", "test_r2", "precision", "val-recall"]
)
def test_more_of_it_is_better(metric: str) -> None:
    assert direction_of(metric) is Direction.MAXIMIZE


@pytest.mark.parametrize("metric", ["val_loss", "error", "val/mae", "MSE", "rmse"])
def test_less_of_it_is_better(metric: str) -> None:
    assert direction_of(metric) is Direction.MINIMIZE


@pytest.mark.parametrize("metric", ["val_score", "accuracy_loss", "perplexity", "glossary"])
def test_a_name_that_does_not_tell_is_refused_with_what_to_write(metric: str) -> None:
    [line] = refused(objective=metric)

    assert line.startswith(f"hpo.run: objective: the name {metric} does not show whether higher or lower is better")
    assert f'write it as {{"metric": "{metric}", "direction": "maximize"}}, or "minimize"' in line


def test_classes_ranges_and_a_metric_alone_make_the_study_of_a_file() -> None:
    space = {"lr": Float(1e-3, 1e-2, log=True), "batch_size": Choice(4, 8)}

    spec = StudySpec(**KEYS, space=space, epochs=Int(1, 9, log=True), sampler=nets.Line)

    assert spec.models[0].label == "projects.nets:Line"
    assert (spec.objective.metric, spec.objective.direction) == ("val_loss", "minimize")
    assert spec.space == {"lr": {"low": 1e-3, "high": 1e-2, "log": True}, "batch_size": [4, 8]}
    assert spec.epochs.model_dump() == {"low": 1, "high": 9, "log": True}  # type: ignore[union-attr]
    assert (spec.sampler.label, spec.sampler.name) == ("projects.nets:Line", None)
    assert StudySpec.model_validate(spec.model_dump()) == spec
    assert Source.of_mapping(spec.model_dump(), call="hpo.run").study() == spec


def test_epochs_with_a_step_are_refused() -> None:
    assert "hpo.run: epochs.step: unknown key. Known here: low, high, log" in refused(epochs=Int(1, 9, step=2))


def test_a_call_is_named_where_a_file_would_be() -> None:
    found = refused(space={"lr": 1j}, seed=-1, budget={"trails": 3})

    assert found == [
        "hpo.run: space: a study takes numbers, texts, true, false, null, lists, mappings, classes and ranges, "
        "not complex",
        "hpo.run: budget.trails: unknown key, did you mean 'trials'? Known here: trials, hours, gpu_hours, "
        "trial_minutes, target, patience, auto, stall_minutes",
        "hpo.run: seed: should be greater than or equal to 0 (it is -1)",
    ]


def test_a_change_of_a_call_leaves_its_dict_alone() -> None:
    mine = {"hours": 1.0}
    source = Source.of_mapping(KEYS | {"budget": mine}, call="hpo.run")

    source.set(("budget", "trials"), 7, "hpo.run")

    assert (source.study().budget.trials, source.study().budget.hours) == (7, 1.0)
    assert mine == {"hours": 1.0}


def test_the_keywords_of_a_call_are_the_keys_of_a_study_file() -> None:
    assert set(get_type_hints(StudyKeys)) == set(StudySpec.model_fields)


# ---- classes and where they come from


def test_a_class_without_an_import_path_is_refused_in_words() -> None:
    class Local(nets.Line):
        """Nobody can import it."""

    for cls in (Local, Outer.Inner):
        with pytest.raises(LoadError, match="is defined inside a function or class: define it at the top level"):
            label_of_class(cls)
    assert refused(model=Local)[0].startswith("hpo.run: model: ")
    assert "define it at the top level of its module" in refused(model={"class": Local})[0]


def test_a_class_that_was_defined_again_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    before = nets.Line
    monkeypatch.setattr(nets, "Line", type("Line", (nets.Line,), {"__module__": nets.__name__}))

    assert label_of_class(nets.Line) == "projects.nets:Line"
    with pytest.raises(LoadError, match=r"Line of projects\.nets is not the class that projects\.nets:Line names now"):
        label_of_class(before)


def test_the_project_folder_is_the_one_that_a_class_was_imported_from(tmp_path: Path) -> None:
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("class Deep: pass\n")
    sys.path.append(str(tmp_path))
    try:
        import pack.inner.deep  # type: ignore[import-not-found]  # noqa: F401
    finally:
        sys.path.remove(str(tmp_path))

    assert import_folder("pack.inner.deep:Deep") == import_folder("pack.inner:Anything") == tmp_path
    assert import_folder("projects.nets:Line") == Path(nets.__file__).parents[1]
    assert import_folder("torch.nn:Linear") is None  # installed
    assert import_folder(f"collections:{OrderedDict.__name__}") is None
    assert import_folder("never.imported:Here") is None
    assert import_folder("__main__:Net") is None
