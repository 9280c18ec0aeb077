"""A length in epochs or in steps: what a study file may say, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.search.algorithms import make_pruner
from hpo.search.halving import make_rungs
from hpo.study.length import Unit
from hpo.study.spec import LengthRange, StudySpec
from hpo.study.study_file import Source

LEAST = {"study": "s", "model": "m:M", "data": "m:D", "objective": {"metric": "loss", "direction": "minimize"}}


def study(**keys: Any) -> StudySpec:
    return Source.of_mapping(LEAST | keys, call="hpo.run").study()


def test_a_study_without_a_length_has_a_hundred_epochs() -> None:
    spec = study()

    assert (spec.unit, spec.max_epochs, spec.interval) == (Unit.EPOCH, 100, 1)
    assert spec.trainer_options == {}


def test_a_length_in_steps_validates_twenty_times_by_default() -> None:
    spec = study(steps=2000)

    assert (spec.unit, spec.max_epochs, spec.interval) == (Unit.STEP, 2000, 100)
    assert spec.trainer_options == {"val_check_interval": 100, "check_val_every_n_epoch": None}
    assert study(steps=7).interval == 1


def test_the_file_says_how_often_a_study_in_steps_validates() -> None:
    spec = study(steps=2000, trainer={"val_check_interval": 250, "gradient_clip_val": 1.0})

    assert spec.interval == 250
    assert spec.trainer_options == {
        "val_check_interval": 250,
        "check_val_every_n_epoch": None,
        "gradient_clip_val": 1.0,
    }


def test_steps_may_be_searched() -> None:
    spec = study(steps={"low": 100, "high": 3000, "log": True})

    assert spec.steps == LengthRange(low=100, high=3000, log=True)
    assert (spec.max_epochs, spec.interval) == (3000, 150)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"steps": 10, "epochs": 3}, "steps: a trial has a length in epochs or in steps, not both"),
        ({"epochs": None}, "epochs: a trial needs a length: epochs: 20, or steps: 2000"),
        ({"steps": 0}, "steps: should be greater than or equal to 1"),
        ({"steps": {"low": 9, "high": 3}}, "steps: low 9 is above high 3"),
        ({"steps": 10, "trainer": {"val_check_interval": 0.5}}, "trainer.val_check_interval: with steps it is a whole"),
        ({"steps": 10, "trainer": {"val_check_interval": 11}}, "trainer.val_check_interval: 11 is more than the 10"),
        ({"steps": 10, "trainer": {"check_val_every_n_epoch": 2}}, "trainer.check_val_every_n_epoch: counts epochs"),
        ({"trainer": {"max_steps": 10}}, "trainer.max_steps: is set by steps: 2000"),
    ],
)
def test_what_contradicts_a_length_is_refused_in_words(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        study(**keys)

    assert problem in str(caught.value)


def test_a_study_as_an_earlier_release_stored_it_is_read() -> None:
    stored = {key: value for key, value in study(epochs=7).model_dump(mode="json").items() if key != "steps"}

    spec = StudySpec.model_validate(stored)

    assert spec == study(epochs=7)
    assert spec.max_epochs == 7


def test_a_study_in_steps_is_read_as_it_was_stored() -> None:
    spec = study(steps={"low": 100, "high": 300})

    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_rungs_are_at_the_third_validation_by_default() -> None:
    in_epochs, in_steps = make_rungs(study()), make_rungs(study(steps=2000))

    assert in_epochs is not None
    assert in_steps is not None
    assert (in_epochs.first, in_steps.first) == (3, 300)


def test_options_of_pruners_have_the_studys_unit() -> None:
    rungs = make_rungs(study(steps=2000, pruner={"name": "asha", "min_steps": 50}))
    hyperband: Any = make_pruner(study(steps=2000, pruner="hyperband"), Path())
    halving: Any = make_pruner(study(steps=2000, pruner={"name": "asha", "mode": "stop", "min_steps": 70}), Path())

    assert rungs is not None
    assert rungs.first == 50
    assert (hyperband._min_resource, hyperband._max_resource) == (300, 2000)
    assert halving._min_resource == 70


@pytest.mark.parametrize("mode", ["promote", "stop"])
def test_a_rung_in_epochs_of_a_study_in_steps_is_refused_with_the_right_name(mode: str) -> None:
    with pytest.raises(SpecError, match="asha has no option 'min_epochs', did you mean 'min_steps'"):
        make_pruner(study(steps=2000, pruner={"name": "asha", "mode": mode, "min_epochs": 3}), Path())
